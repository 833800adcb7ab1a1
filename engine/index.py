"""Index notation that runs: y[n,i,j,f] = Sum((u,v,c), x[n, s*i+u, s*j+v, c] * w[u,v,c,f]).

A structural op states its definition so. From the one string come the LaTeX of the docs and plain loops, the oracle
of the tests and the contract of the kernels. It is a small part of Python's own expression syntax:

- the left side names the result's axes; each is a loop
- Sum, Prod, Max, Min, All, Any and Argmax, Argmin (first wins) loop over the indices in their first argument; an
index's range is
  the length of the axis where it stands alone, in any input
- an element outside of its array is left out of the reduction that reads it: what zero padding means for a sum
- other names are parameters of the op; functions are those of `FUNCTIONS`
- axes that stand before the named ones (`*B` in the shape string) are looped over, and broadcast
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from .forks import cached_property
from .shapes import broadcast_shapes

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": lambda x: math.exp(x) if x < 709 else math.inf,
    "log": lambda x: math.log(x) if x > 0 else -math.inf if x == 0 else math.nan,
    "sqrt": math.sqrt,
    "abs": abs,
    "max": max,
    "min": min,
    "floor": math.floor,
    "tanh": math.tanh,
    "erf": math.erf,
    "where": lambda c, a, b: a if c else b,
    "len": len,
}
REDUCTIONS = {"Sum", "Prod", "Max", "Min", "All", "Any", "Argmax", "Argmin"}


class OutOfRange(Exception):
    """An index left its array: the term does not exist."""


class Definition:
    """One parsed equation."""

    def __init__(self, text: str) -> None:
        self.text = text
        left, _, right = text.partition("=")
        target = ast.parse(left.strip(), mode="eval").body
        if isinstance(target, ast.Subscript):
            self.result = _name(target.value)
            self.axes = tuple(_name(a) for a in _subscripts(target))
        else:
            self.result, self.axes = _name(target), ()
        self.body = ast.parse(right.strip(), mode="eval").body

    @cached_property
    def reads(self) -> dict[str, int]:
        """Array name -> how many subscripts it is read with."""
        found = {}
        for n in ast.walk(self.body):
            if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name):
                found[n.value.id] = len(_subscripts(n))
        return found

    def __call__(
        self, shape: tuple[int, ...], arrays: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> Any:
        """The result of this shape, by plain loops over float64 inputs."""
        y = np.empty(shape, np.float64)
        arrays = {k: np.asarray(v) for k, v in arrays.items()}
        lead = {k: v.shape[: v.ndim - self.reads.get(k, v.ndim)] for k, v in arrays.items()}
        batch = broadcast_shapes(*lead.values())
        for b in np.ndindex(*batch):
            core = {
                k: v[tuple(i if n > 1 else 0 for i, n in zip(b[len(b) - len(lead[k]) :], lead[k], strict=True))]
                for k, v in arrays.items()
            }
            ranges = self._ranges(core)
            for i in np.ndindex(*shape[len(batch) :]):
                scope = {**(params or {}), **dict(zip(self.axes, i, strict=True))}
                y[b + i] = _evaluate(self.body, scope, core, ranges)
        return y

    def _ranges(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        ranges: dict[str, int] = {}
        for n in ast.walk(self.body):
            if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id in arrays:
                for k, s in enumerate(_subscripts(n)):
                    if isinstance(s, ast.Name):
                        ranges.setdefault(s.id, arrays[n.value.id].shape[k])
        return ranges

    def latex(self) -> str:
        left = f"{self.result}_{{{','.join(self.axes)}}}" if self.axes else self.result
        return f"{left} = {_latex(self.body)}"


@lru_cache(maxsize=512)
def parse(text: str) -> Definition:
    return Definition(text)


def latex_of(definition: str) -> str:
    """LaTeX of a definition: index notation is typeset, LaTeX (it has a backslash) passes."""
    return parse(definition).latex() if runs(definition) else definition


def runs(definition: str) -> bool:
    """Is it index notation, which can be computed, or LaTeX, which can only be read?"""
    if "\\" in definition or "=" not in definition:
        return False
    try:
        parse(definition)
    except (SyntaxError, ValueError):
        return False
    return True


def _name(n: ast.expr) -> str:
    if not isinstance(n, ast.Name):
        raise ValueError(f"expected a name in index notation, got '{ast.unparse(n)}'")
    return n.id


def _subscripts(n: ast.Subscript) -> list[ast.expr]:
    return list(n.slice.elts) if isinstance(n.slice, ast.Tuple) else [n.slice]


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b, ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: lambda a, b: a < b, ast.LtE: lambda a, b: a <= b, ast.Gt: lambda a, b: a > b, ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b,
}  # fmt: skip


def _evaluate(n: ast.expr, scope: Mapping[str, Any], arrays: Mapping[str, Any], ranges: Mapping[str, int]) -> Any:
    match n:
        case ast.Constant():
            return n.value
        case ast.Name():
            return arrays[n.id][()] if n.id in arrays else scope[n.id]
        case ast.Subscript():
            array = arrays[_name(n.value)]
            at = tuple(int(_evaluate(s, scope, arrays, ranges)) for s in _subscripts(n))
            if any(not 0 <= i < size for i, size in zip(at, array.shape, strict=True)):
                raise OutOfRange
            return array[at]
        case ast.BinOp():
            return _BINARY[type(n.op)](
                _evaluate(n.left, scope, arrays, ranges), _evaluate(n.right, scope, arrays, ranges)
            )
        case ast.UnaryOp():
            return -_evaluate(n.operand, scope, arrays, ranges)
        case ast.Compare():
            values = [_evaluate(v, scope, arrays, ranges) for v in (n.left, *n.comparators)]
            return all(_COMPARE[type(o)](a, b) for o, a, b in zip(n.ops, values, values[1:], strict=False))
        case ast.BoolOp():
            values = [_evaluate(v, scope, arrays, ranges) for v in n.values]
            return all(values) if isinstance(n.op, ast.And) else any(values)
        case ast.Call(func=ast.Name(id=name)) if name in REDUCTIONS:
            return _reduce(name, n, scope, arrays, ranges)
        case ast.Call(func=ast.Name(id="where")):
            c, a, b = n.args
            return _evaluate(a if _evaluate(c, scope, arrays, ranges) else b, scope, arrays, ranges)
        case ast.Call(func=ast.Name(id=name)):
            return FUNCTIONS[name](*(_evaluate(a, scope, arrays, ranges) for a in n.args))
    raise ValueError(f"'{ast.unparse(n)}' is not index notation")


def _reduce(
    name: str, n: ast.Call, scope: Mapping[str, Any], arrays: Mapping[str, Any], ranges: Mapping[str, int]
) -> Any:
    indices = [_name(i) for i in (n.args[0].elts if isinstance(n.args[0], ast.Tuple) else [n.args[0]])]
    sizes = [int(scope["range_" + i]) if "range_" + i in scope else ranges[i] for i in indices]
    terms, where = [], []
    for at in itertools.product(*map(range, sizes)):
        try:
            terms.append(_evaluate(n.args[1], {**scope, **dict(zip(indices, at, strict=True))}, arrays, ranges))
            where.append(at[0])
        except OutOfRange:
            continue
    match name:
        case "Sum":
            return math.fsum(terms) if all(map(math.isfinite, terms)) else sum(terms)
        case "Prod":
            return math.prod(terms)
        case "All" | "Any":
            return all(terms) if name == "All" else any(terms)
        case "Argmax" | "Argmin":
            best = max(terms) if name == "Argmax" else min(terms)
            return where[terms.index(best)]
    best = max(terms, default=-math.inf) if name == "Max" else min(terms, default=math.inf)
    return math.nan if any(t != t for t in terms) else best


_SYMBOL = {"Sum": r"\sum", "Prod": r"\prod", "Max": r"\max", "Min": r"\min", "All": r"\bigwedge", "Any": r"\bigvee",
           "Argmax": r"\operatorname*{arg\,max}", "Argmin": r"\operatorname*{arg\,min}"}  # fmt: skip
_GREEK = {"alpha", "beta", "gamma", "delta", "mu", "sigma", "tau", "lambda_"}


def _latex(n: ast.expr, outer: int = 0) -> str:
    match n:
        case ast.Constant():
            return str(n.value)
        case ast.Name():
            return (
                f"\\{n.id.rstrip('_')}"
                if n.id in _GREEK
                else n.id
                if len(n.id) == 1
                else rf"\mathrm{{{n.id}}}".replace("_", r"\_")
            )
        case ast.Subscript():
            return f"{_latex(n.value)}_{{{','.join(_latex(s) for s in _subscripts(n))}}}"
        case ast.BinOp(op=ast.Div()):
            return rf"\frac{{{_latex(n.left)}}}{{{_latex(n.right)}}}"
        case ast.BinOp(op=ast.Pow()):
            return f"{_latex(n.left, 9)}^{{{_latex(n.right)}}}"
        case ast.BinOp(op=ast.FloorDiv()):
            return rf"\lfloor {_latex(n.left)} / {_latex(n.right)} \rfloor"
        case ast.BinOp():
            sign, p = {ast.Add: (" + ", 1), ast.Sub: (" - ", 1), ast.Mult: (r" \, ", 2), ast.Mod: (r" \bmod ", 2)}[
                type(n.op)
            ]
            s = f"{_latex(n.left, p)}{sign}{_latex(n.right, p + isinstance(n.op, ast.Sub))}"
            return rf"\left({s}\right)" if p < outer else s
        case ast.UnaryOp():
            return f"-{_latex(n.operand, 2)}"
        case ast.Compare():
            signs = {ast.Lt: "<", ast.LtE: r"\le", ast.Gt: ">", ast.GtE: r"\ge", ast.Eq: "=", ast.NotEq: r"\ne"}
            return _latex(n.left) + "".join(
                f" {signs[type(o)]} {_latex(c)}" for o, c in zip(n.ops, n.comparators, strict=True)
            )
        case ast.BoolOp():
            return (r" \land " if isinstance(n.op, ast.And) else r" \lor ").join(_latex(v) for v in n.values)
        case ast.Call(func=ast.Name(id=name)) if name in REDUCTIONS:
            indices = n.args[0].elts if isinstance(n.args[0], ast.Tuple) else [n.args[0]]
            s = f"{_SYMBOL[name]}_{{{','.join(_latex(i) for i in indices)}}} {_latex(n.args[1], 2)}"
            return rf"\left({s}\right)" if outer > 2 else s
        case ast.Call(func=ast.Name(id="where")):
            c, a, b = n.args
            return rf"\begin{{cases}} {_latex(a)} & {_latex(c)} \\ {_latex(b)} & \text{{otherwise}} \end{{cases}}"
        case ast.Call(func=ast.Name(id="exp")):
            return f"e^{{{_latex(n.args[0])}}}"
        case ast.Call(func=ast.Name(id="sqrt")):
            return rf"\sqrt{{{_latex(n.args[0])}}}"
        case ast.Call(func=ast.Name(id="abs")):
            return rf"\left|{_latex(n.args[0])}\right|"
        case ast.Call(func=ast.Name(id=name)):
            word = rf"\{name}" if name in ("log", "tanh", "max", "min") else rf"\operatorname{{{name}}}"
            return rf"{word}\left({', '.join(_latex(a) for a in n.args)}\right)"
    raise ValueError(f"'{ast.unparse(n)}' is not index notation")
