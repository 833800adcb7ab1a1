r"""What flows back along an edge: the op's vjp as an equation, and the same with numbers put in.

    \bar{x} = \bar{y} \, y \, (1 - y)          from the record's formula, elementwise
    \bar{a}_{n,j} = \sum_k \bar{y}_{n,k} b_{j,k}     from the record's index notation, where it is linear in the input
    \bar{x}_r = \sum_i \bar{y}_i ∂y_i/∂x_r       else: the chain rule itself

Numbers are those of one element, the one whose cotangent is largest.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .. import expr
from ..autograd import unbroadcast
from ..formula import Formula, latex
from ..index import parse, runs
from ..op import ElementwiseOp, Op
from ..shapes import prod
from .contraction import COTANGENT, Contraction, cotangent
from .graph import Edge, Vertex, input_values
from .numbers import latex_digits, plain

TERMS = 3  # of a sum with its numbers, more are dots


@dataclass(frozen=True)
class Rule:
    """The vjp of one edge: LaTeX, and what it says of one element of the input."""

    symbols: str
    numbers: str = ""


def rule(edge: Edge) -> Rule:
    """The vjp along an edge. `numbers` is empty where a value is not known."""
    op = edge.target.node.op  # type: ignore[union-attr]
    if isinstance(op, ElementwiseOp):
        return Rule(_derivative(op, edge.slot), _elementwise_numbers(op, edge))
    found = contraction_of(edge)
    if found is not None:
        names = letters(edge)
        bar = rf"\bar{{{names[op_input(edge)]}}}"
        symbols = f"{_with_indices(bar, found.axes)} = {found.latex(names)}"
        return Rule(symbols, _contraction_numbers(found, edge))
    x = letter(op_input(edge))
    if divided := averaged(op):
        symbols = rf"\bar{{{x}}}_{{r}} = " + (r"\frac{\bar{y}}{n}" if divided == "mean" else r"\bar{y}")
        return Rule(symbols, _spread_numbers(edge, divided))
    generic = rf"\bar{{{x}}}_{{r}} = \sum_{{i}} \bar{{y}}_{{i}} \, \frac{{\partial y_{{i}}}}{{\partial {x}_{{r}}}}"
    return Rule(generic, _result_only(edge))


@lru_cache(maxsize=1024)
def _derivative(op: ElementwiseOp, slot: int) -> str:
    return op.derivative_latex(slot)


def contraction_of(edge: Edge) -> Contraction | None:
    """The edge's vjp in index notation, where the record gives it."""
    target: Any = edge.target
    ranks = tuple(None if dtype is None else len(shape) for shape, dtype in target.node.inputs)
    found = cotangent(target.node.op, edge.slot, ranks)
    if found is None or len(found.axes) != len(edge.source.shape):
        return None
    if any(len(f.axes) != len(target.shape) for f in found.factors if f.array == COTANGENT):
        return None
    return found


def averaged(op: Op) -> str:
    """ "sum" or "mean", where the definition is one over the whole of x; else nothing."""
    if not runs(op.note.definition):
        return ""
    match parse(op.note.definition).body:
        case ast.Call(func=ast.Name(id="Sum"), args=[ast.Name(), ast.Subscript()]):
            return "sum"
        case ast.BinOp(
            left=ast.Call(func=ast.Name(id="Sum"), args=[ast.Name(), ast.Subscript()]),
            op=ast.Div(),
            right=ast.Call(func=ast.Name(id="len")),
        ):
            return "mean"
    return ""


def op_input(edge: Edge) -> str:
    """What the op calls the input that the edge leads to."""
    op: Any = edge.target.node.op  # type: ignore[union-attr]
    names: list[str] = list(getattr(op, "inputs", ()))
    if getattr(op, "variadic", False):
        return f"{names[0]}^{{({edge.slot})}}"
    return names[edge.slot] if edge.slot < len(names) else "x"


def letter(name: str) -> str:
    """An input's name in LaTeX."""
    return name if "^" in name else latex(expr.var(name))


def letters(edge: Edge) -> dict[str, str]:
    names = getattr(edge.target.node.op, "inputs", ())  # type: ignore[union-attr]
    return {COTANGENT: r"\bar{y}", **{n: letter(n) for n in names}}


def _with_indices(name: str, axes: tuple[str, ...]) -> str:
    return f"{name}_{{{','.join(axes)}}}" if axes else name


# ------------------------------------------------------------------------------------------------ numbers
def share(edge: Edge) -> Any:
    """The cotangent that this edge alone contributes to its source, float64; None where it can't be known."""
    target = edge.target
    if target.gradient is None or target.gradient.size == 0 or target.node is None:
        return None
    try:
        pulled = target.node.op.pull(target.node, target.gradient, False)[edge.slot]
    except (TypeError, ValueError, AttributeError):
        return None
    return None if pulled is None else plain(unbroadcast(pulled, edge.source.shape))


def _largest(a: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(int(np.abs(np.nan_to_num(a)).argmax()), a.shape))


def _elementwise_numbers(op: ElementwiseOp, edge: Edge) -> str:
    """x̄[at] = the formula with the numbers of that element."""
    formula = op.vjps[edge.slot] if edge.slot < len(op.vjps) else None
    pulled = share(edge)
    values = input_values(edge.target) if formula is not None else None
    if formula is None or pulled is None or pulled.size == 0:
        return ""
    target: Vertex = edge.target
    alone = edge.source.shape == target.shape  # else several elements of y share one of x, and this is one of its terms
    at = _largest(pulled if alone else target.gradient)
    known: dict[str, Any] = {"g": target.gradient, "y": target.value, **target.node.params}  # type: ignore[union-attr]
    if values is not None:
        known |= dict(zip(op.inputs, values, strict=False))
    else:
        known |= dict(zip(op.inputs, target.node.arrays, strict=False))  # type: ignore[union-attr]
    scope = {}
    for name in formula.used:
        if known.get(name) is None:
            return ""
        array = np.asarray(plain(known[name]) if hasattr(known[name], "shape") else known[name], np.float64)
        scope[name] = float(np.broadcast_to(array, target.shape)[at])
    result = float(formula.numpy(np.float64)(*(np.float64(scope[n]) for n in formula.inputs)))
    index = _subscript(letter(op.inputs[edge.slot]), at)
    sign = "=" if alone else r"\leftarrow"
    return f"{index} {sign} {_substituted(formula, scope)} = {latex_digits(result)}"


def _substituted(formula: Formula, scope: dict[str, float]) -> str:
    """The formula's LaTeX, each name a number: by way of names that stand nowhere else."""
    marks = {name: chr(0xE000 + k) for k, name in enumerate(sorted(scope))}

    def marked(name: str, args: tuple[Any, ...]) -> Any:
        return expr.var(marks[args[0]]) if name == "var" else None

    (out,) = expr.rewrite(formula.outs, marked)
    text = latex(out)
    for name, mark in marks.items():
        text = text.replace(rf"\mathrm{{{mark}}}", mark).replace(mark, _bracketed(latex_digits(scope[name])))
    return text.replace(r"\, ", r"\cdot ")


def _bracketed(number: str) -> str:
    return rf"({number})" if number.startswith("-") or r"\cdot" in number else number


def _contraction_numbers(found: Contraction, edge: Edge) -> str:
    """x̄[at] = the first terms of the sum."""
    pulled = share(edge)
    target = edge.target
    values = input_values(target)
    if pulled is None or pulled.size == 0 or target.node is None:
        return ""
    known = dict(zip(getattr(target.node.op, "inputs", ()), values or target.node.arrays, strict=False))
    known[COTANGENT] = target.gradient
    arrays: dict[str, Any] = {f.array: known.get(f.array) for f in found.factors}
    if any(a is None for a in arrays.values()):
        return ""
    at = _largest(pulled)
    fixed = dict(zip(found.axes, at, strict=True))
    sizes = {a: n for f in found.factors for a, n in zip(f.axes, np.shape(arrays[f.array]), strict=True)}
    count = int(np.prod([sizes[a] for a in found.summed], dtype=np.int64))
    numbers = {name: plain(a) for name, a in arrays.items()}
    terms = []
    for k in range(min(count, TERMS)):
        where = fixed | dict(
            zip(
                found.summed, np.unravel_index(k, [sizes[a] for a in found.summed]) if found.summed else (), strict=True
            )
        )
        terms.append(
            r" \cdot ".join(
                _bracketed(latex_digits(numbers[f.array][tuple(int(where[a]) for a in f.axes)])) for f in found.factors
            )
        )
    total = " + ".join(terms) + (r" + \dots" if count > TERMS else "")
    index = _subscript(letter(op_input(edge)), at)
    return f"{index} = {total} = {latex_digits(float(pulled[at]))}"


def _spread_numbers(edge: Edge, kind: str) -> str:
    """Each element of x gets the cotangent of the result it went into; of a mean, one nth of it."""
    pulled = share(edge)
    if pulled is None or pulled.size == 0:
        return ""
    at = _largest(pulled)
    n = prod(edge.source.shape) // max(prod(edge.target.shape), 1)
    top = latex_digits(float(pulled[at]) * n) if kind == "mean" else latex_digits(float(pulled[at]))
    middle = rf" = \frac{{{top}}}{{{n}}}" if kind == "mean" else ""
    return f"{_subscript(letter(op_input(edge)), at)}{middle} = {latex_digits(float(pulled[at]))}"


def _result_only(edge: Edge) -> str:
    pulled = share(edge)
    if pulled is None or pulled.size == 0:
        return ""
    at = _largest(pulled)
    return f"{_subscript(letter(op_input(edge)), at)} = {latex_digits(float(pulled[at]))}"


def _subscript(name: str, at: tuple[int, ...]) -> str:
    return rf"\bar{{{name}}}_{{{','.join(map(str, at))}}}" if at else rf"\bar{{{name}}}"
