"""Symbolic scalars: one lambda becomes NumPy, mpmath, CUDA C, LaTeX and its own derivative.

    f = Formula.trace(lambda x: 1 / (1 + exp(-x)))
    f.latex()        \\frac{1}{1 + e^{-x}}
    f.numpy(dtype)   a function of arrays
    f.mpmath()       a function of 50-digit numbers, the oracle of the tests
    f.cuda("name")   a CUDA kernel's text
    f.derivative(0)  the formula of dy/dx, by the chain rule

A `Sym` is a node of a formula: the name of an atom and its arguments. Atoms are the elementwise ops themselves: calling
`exp` with a Sym makes a node, calling it with a Tensor runs it. What a target calls an atom, its derivative and, for an
atom made of others, its expansion stand in the op's one record (`engine/op.py`), which enters them in `ATOMS`.

Equal formulas are one object (hash-consing), so common subexpressions are found by identity.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import numpy as np

Number = float | int | bool


@dataclass(frozen=True)
class Atom:
    """What the printers know of one elementwise op. `{0}`, `{1}` ... in a template stand for the arguments."""

    name: str
    numpy: str | None = None  # None: expand, this target has no word for it
    mpmath: str | None = None
    cuda: str | None = None
    latex: str = ""
    precedence: int = 9  # of the LaTeX form: 1 comparison, 2 sum, 4 product, 9 closed
    boolean: bool = False
    definition: Callable[..., Any] | None = None  # in other atoms, as the textbook has it
    forward: Callable[..., Any] | None = None  # in other atoms, numerically stable
    vjp: Sequence[Callable[..., Any] | None] = field(default=())
    params: tuple[str, ...] = ()  # names of trailing arguments that are not differentiated


ATOMS: dict[str, Atom] = {}


# ------------------------------------------------------------------------------------------------ symbols
class Sym:
    """A node of a formula. Branching on it is refused: both branches must stay in the formula."""

    __slots__ = ("args", "name", "__weakref__")
    __array_ufunc__ = None  # np.float32(2) * sym comes to us, not to NumPy

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args

    def __bool__(self) -> NoReturn:
        raise TypeError("a formula cannot branch on a symbol: write where(cond, a, b)")

    __float__ = __int__ = __index__ = __bool__
    __hash__ = object.__hash__

    def __add__(self, o: Any) -> Sym:
        return make("add", self, o)

    def __radd__(self, o: Any) -> Sym:
        return make("add", o, self)

    def __sub__(self, o: Any) -> Sym:
        return make("subtract", self, o)

    def __rsub__(self, o: Any) -> Sym:
        return make("subtract", o, self)

    def __mul__(self, o: Any) -> Sym:
        return make("multiply", self, o)

    def __rmul__(self, o: Any) -> Sym:
        return make("multiply", o, self)

    def __truediv__(self, o: Any) -> Sym:
        return make("divide", self, o)

    def __rtruediv__(self, o: Any) -> Sym:
        return make("divide", o, self)

    def __pow__(self, o: Any) -> Sym:
        return make("pow", self, o)

    def __rpow__(self, o: Any) -> Sym:
        return make("pow", o, self)

    def __mod__(self, o: Any) -> Sym:
        return make("remainder", self, o)

    def __floordiv__(self, o: Any) -> Sym:
        return make("floor_divide", self, o)

    def __neg__(self) -> Sym:
        return make("negative", self)

    def __abs__(self) -> Sym:
        return make("abs", self)

    def __lt__(self, o: Any) -> Sym:
        return make("less", self, o)

    def __le__(self, o: Any) -> Sym:
        return make("less_equal", self, o)

    def __gt__(self, o: Any) -> Sym:
        return make("greater", self, o)

    def __ge__(self, o: Any) -> Sym:
        return make("greater_equal", self, o)

    def __eq__(self, o: Any) -> Sym:  # type: ignore[override]
        return make("equal", self, o)

    def __ne__(self, o: Any) -> Sym:  # type: ignore[override]
        return make("not_equal", self, o)

    def __and__(self, o: Any) -> Sym:
        return make("logical_and", self, o)

    def __or__(self, o: Any) -> Sym:
        return make("logical_or", self, o)

    def __invert__(self) -> Sym:
        return make("logical_not", self)

    def __repr__(self) -> str:
        return latex(self)


_table: WeakValueDictionary[tuple[Any, ...], Sym] = WeakValueDictionary()


def node(name: str, *args: Any) -> Sym:
    """The one Sym with this name and these arguments. A node keeps its arguments alive, so their ids stay theirs."""
    if name == "const":
        key: tuple[Any, ...] = (name, type(args[0]), args[0], math.copysign(1, args[0]))
    else:
        key = (name, *(id(a) if isinstance(a, Sym) else a for a in args))
    s = _table.get(key)
    if s is None:
        s = _table[key] = Sym(name, args)
    return s


def var(name: str) -> Sym:
    return node("var", name)


def lift(v: Any) -> Sym:
    """A number as a symbol; symbols pass."""
    if isinstance(v, Sym):
        return v
    if isinstance(v, (bool, np.bool_)):
        return node("const", bool(v))
    return node("const", int(v) if isinstance(v, (int, np.integer)) else float(v))


def number(e: Sym) -> Any:
    """The value of a constant, else None."""
    return e.args[0] if e.name == "const" else None


def make(name: str, *args: Any) -> Sym:
    """A node, simplified by the identities that hold for every float (x + 0, 1 * x, --x and the like)."""
    syms = tuple(lift(a) for a in args)
    rule = SIMPLIFY.get(name)
    simpler = rule(*syms) if rule else None
    return node(name, *syms) if simpler is None else simpler


def _add(a: Sym, b: Sym) -> Sym | None:
    if number(a) == 0:
        return b
    if number(b) == 0:
        return a
    if b.name == "negative":
        return make("subtract", a, b.args[0])
    if a.name == "negative":
        return make("subtract", b, a.args[0])
    return _fold(lambda x, y: x + y, a, b)


def _subtract(a: Sym, b: Sym) -> Sym | None:
    if number(b) == 0:
        return a
    if number(a) == 0:
        return make("negative", b)
    if b.name == "negative":
        return make("add", a, b.args[0])
    return _fold(lambda x, y: x - y, a, b)


def _multiply(a: Sym, b: Sym) -> Sym | None:
    if number(b) is not None and number(a) is None:  # constants lead
        return make("multiply", b, a)
    if number(a) is not None and number(a) == 1:
        return b
    if number(a) is not None and number(a) == -1:
        return make("negative", b)
    if number(a) is not None and b.name == "multiply" and number(b.args[0]) is not None:
        return make("multiply", number(a) * number(b.args[0]), b.args[1])
    for x, y in ((a, b), (b, a)):
        if x.name == "negative":
            return make("negative", make("multiply", x.args[0], y))
        if _has_zero_arm(x):  # into the chosen arm: 0 * inf must not meet in the other
            return _push(x, lambda arm, y=y: make("multiply", arm, y))  # type: ignore[misc]
    if b.name == "divide" and number(b.args[0]) == 1:
        return make("divide", a, b.args[1])
    return _fold(lambda x, y: x * y, a, b)


def _divide(a: Sym, b: Sym) -> Sym | None:
    if number(b) == 1:
        return a
    if _has_zero_arm(a):
        return _push(a, lambda arm: make("divide", arm, b))
    if a.name == "negative":
        return make("negative", make("divide", a.args[0], b))
    if b.name == "negative":
        return make("negative", make("divide", a, b.args[0]))
    return _fold(lambda x, y: x / y, a, b) if number(b) else None


def _negative(a: Sym) -> Sym | None:
    if a.name == "negative":
        return a.args[0]  # type: ignore[no-any-return]
    if a.name == "subtract":
        return make("subtract", a.args[1], a.args[0])
    return _fold(lambda x: -x, a)


def _where(c: Sym, a: Sym, b: Sym) -> Sym | None:
    return a if a is b else None


def _pow(a: Sym, n: Sym) -> Sym | None:
    """Small whole powers by repeated squaring; x ** 0.5 is the square root."""
    k = number(n)
    if k is None or isinstance(k, bool):
        return None
    if k == 0.5:
        return make("sqrt", a)
    if k != int(k) or not 0 < abs(k) <= 8:
        return None
    k = int(k)
    if k < 0:
        return make("divide", 1, make("pow", a, -k))
    if k == 1:
        return a
    half = make("pow", a, k // 2)
    square = make("multiply", half, half)
    return square if k % 2 == 0 else make("multiply", square, a)


def _has_zero_arm(w: Sym) -> bool:
    return w.name == "where" and any(number(arm) == 0 for arm in w.args[1:])


def _push(w: Sym, f: Callable[[Sym], Sym]) -> Sym:
    return make("where", w.args[0], *(arm if number(arm) == 0 else f(arm) for arm in w.args[1:]))


def _fold(f: Callable[..., float], *args: Sym) -> Sym | None:
    return lift(f(*map(number, args))) if all(a.name == "const" for a in args) else None


SIMPLIFY: dict[str, Callable[..., Sym | None]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _negative,
    "where": _where,
    "pow": _pow,
}


# ------------------------------------------------------------------------------------------------ walks
def topological(outs: Iterable[Sym]) -> list[Sym]:
    """Every distinct node below outs, arguments first."""
    seen: set[Sym] = set()
    order: list[Sym] = []
    stack = [(e, False) for e in reversed(list(outs))]
    while stack:
        e, done = stack.pop()
        if e in seen:
            continue
        if done or e.name in ("var", "const"):
            seen.add(e)
            order.append(e)
            continue
        stack.append((e, True))
        stack.extend((a, False) for a in reversed(e.args))
    return order


def rewrite(outs: Sequence[Sym], rule: Callable[[str, tuple[Sym, ...]], Any]) -> list[Sym]:
    """Rebuild outs from the leaves; rule(name, new_args) gives a replacement, or None to keep the node."""
    new: dict[Sym, Sym] = {}
    for e in topological(outs):
        if e.name in ("var", "const"):
            replacement = rule(e.name, e.args)
            new[e] = e if replacement is None else lift(replacement)
            continue
        args = tuple(new[a] for a in e.args)
        replacement = rule(e.name, args)
        new[e] = make(e.name, *args) if replacement is None else lift(replacement)
    return [new[e] for e in outs]


def call_with_params(f: Callable[..., Any], atom: Atom, head: Sequence[Any], args: Sequence[Any]) -> Any:
    """f(*head, **params): an atom's trailing arguments travel by keyword."""
    n = len(atom.params)
    return f(*head, **dict(zip(atom.params, args[len(args) - n :], strict=True))) if n else f(*head)


def inputs_of(atom: Atom, args: Sequence[Any]) -> Sequence[Any]:
    return args[: len(args) - len(atom.params)]


def expand(outs: Sequence[Sym], target: str) -> list[Sym]:
    """Replace atoms that `target` has no word for by their expansion, until none is left."""
    prefer_definition = target == "mpmath"

    def rule(name: str, args: tuple[Any, ...]) -> Any:
        if name in ("var", "const") or getattr(ATOMS[name], target) is not None:
            return None
        atom = ATOMS[name]
        f = atom.definition if prefer_definition else atom.forward or atom.definition
        if f is None:
            raise NotImplementedError(f"the op '{name}' has neither a {target} form nor a definition to expand")
        return call_with_params(f, atom, inputs_of(atom, args), args)

    outs = list(outs)
    while True:
        expanded = rewrite(outs, rule)
        if all(a is b for a, b in zip(expanded, outs, strict=True)):
            return outs
        outs = expanded


def vjp(y: Sym, xs: Sequence[Sym], g: Sym) -> list[Sym]:
    """Reverse mode on a formula: the cotangents of xs, given the cotangent g of y.

    x̄ = Σ over the uses u of x: ū · ∂u/∂x, each factor the used atom's own (stable) vjp.
    """
    bar: dict[Sym, Sym] = {y: lift(g)}
    for e in reversed(topological([y])):
        if e not in bar or e.name in ("var", "const"):
            continue
        atom = ATOMS[e.name]
        head = inputs_of(atom, e.args)
        for a, rule in zip(head, atom.vjp, strict=False):
            if rule is None or a.name == "const":
                continue
            d = lift(call_with_params(rule, atom, (bar[e], *head, e), e.args))
            if number(d) != 0:
                bar[a] = make("add", bar[a], d) if a in bar else d
    return [bar.get(x, lift(0.0)) for x in xs]


# ------------------------------------------------------------------------------------------------ printers
def _straight_line(outs: Sequence[Sym], target: str, literal: Callable[[Any], str]) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """A temporary for every node used more than once: [(name, text, is boolean)], and the texts of outs."""
    outs = expand(outs, target)
    order = topological(outs)
    uses: dict[Sym, int] = {}
    for e in order:
        for a in e.args:
            if isinstance(a, Sym):
                uses[a] = uses.get(a, 0) + 1
    for e in outs:
        uses[e] = uses.get(e, 0) + 1
    text: dict[Sym, str] = {}
    lines: list[tuple[str, str, bool]] = []
    for e in order:
        if e.name == "var":
            text[e] = e.args[0]
        elif e.name == "const":
            text[e] = literal(e.args[0])
        else:
            atom = ATOMS[e.name]
            s = getattr(atom, target).format(*(text[a] for a in e.args))
            if uses[e] > 1:
                text[e] = f"t{len(lines)}"
                lines.append((text[e], s, atom.boolean))
            else:
                text[e] = f"({s})"
    return lines, [text[e] for e in outs]


def numpy_source(inputs: Sequence[str], outs: Sequence[Sym]) -> str:
    """Source of `bind(T)`, which gives the function for the scalar type T with its literals made once."""
    constants: dict[str, str] = {}

    def literal(v: Any) -> str:
        if isinstance(v, bool):
            return str(v)
        if v != v or v in (math.inf, -math.inf):
            value = "T(np.nan)" if v != v else "T(np.inf)" if v > 0 else "T(-np.inf)"
        else:
            value = f"T({v!r})"
        return constants.setdefault(value, f"c{len(constants)}")

    lines, results = _straight_line(outs, "numpy", literal)
    made = "".join(f"    {name} = {value}\n" for value, name in constants.items())
    body = "".join(f"        {t} = {s}\n" for t, s, _ in lines)
    return (
        f"def bind(T):\n{made}    def formula({', '.join(inputs)}):\n{body}        return {', '.join(results)}\n    return formula\n"
    )


# Atoms that may warn inside an arm that where() does not take, or on values whose IEEE result is meant (log 0 = -inf).
_QUIET = {"add", "subtract", "multiply", "negative", "abs", "where", "less", "less_equal", "greater", "greater_equal"}
_QUIET |= {"equal", "not_equal", "maximum", "minimum", "sign", "copysign", "logical_and", "logical_or", "logical_not"}


@dataclass(frozen=True, eq=False)
class Formula:
    """Named inputs and the scalars computed of them; `params` names the inputs that arrive as plain numbers."""

    inputs: tuple[str, ...]
    outs: tuple[Sym, ...]
    params: tuple[str, ...] = ()

    @classmethod
    def trace(cls, f: Callable[..., Any], *, inputs: Sequence[str] | None = None) -> Formula:
        """Run f on symbols named as its parameters; keyword-only parameters come last and are `params`."""
        signature = inspect.signature(f).parameters.values()
        names = tuple(inputs or (p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD))
        params = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
        out = f(*map(var, names), **{p: var(p) for p in params})
        outs = out if isinstance(out, (tuple, list)) else (out,)
        return cls(names + params, tuple(lift(o) for o in outs), params)

    @cached_property
    def used(self) -> frozenset[str]:
        """The inputs that the result depends on."""
        return frozenset(e.args[0] for e in topological(self.outs) if e.name == "var")

    @cached_property
    def quiet(self) -> bool:
        """True where no atom can raise a floating-point warning that the formula does not mean."""
        return all(e.name in _QUIET or e.name in ("var", "const") for e in topological(expand(self.outs, "numpy")))

    @cached_property
    def boolean(self) -> bool:
        return self.outs[0].name in ATOMS and ATOMS[self.outs[0].name].boolean

    @cached_property
    def key(self) -> str:
        """A text equal for equal formulas, in every process."""
        order = {e: i for i, e in enumerate(topological(self.outs))}
        rows = [(e.name, *(order[a] if isinstance(a, Sym) else repr(a) for a in e.args)) for e in order]
        return repr((self.inputs, rows, [order[o] for o in self.outs]))

    def numpy(self, dtype: Any) -> Callable[..., Any]:
        """A function of arrays (or scalars) of `dtype`: whole-array operations in NumPy."""
        environment: dict[str, Any] = dict(_numpy_environment())
        exec(compile(numpy_source(self.inputs, self.outs), "<formula>", "exec"), environment)
        run: Callable[..., Any] = environment["bind"](np.dtype(dtype).type)
        if self.quiet:
            return run

        def quietly(*xs: Any) -> Any:
            with np.errstate(all="ignore"):
                return run(*xs)

        return quietly

    def mpmath(self) -> Callable[..., Any]:
        """A function of mpmath numbers, at whatever precision is set when it is called."""
        import mpmath as mp

        text: dict[Sym, str] = {}
        outs = expand(self.outs, "mpmath")
        for e in topological(outs):
            if e.name == "var":
                text[e] = e.args[0]
            elif e.name == "const":
                text[e] = repr(e.args[0]) if isinstance(e.args[0], (bool, int)) else f"mp.mpf({float(e.args[0])!r})"
            else:  # nested, not in lines: only the arm that is taken is computed
                text[e] = f"({(ATOMS[e.name].mpmath or '').format(*(text[a] for a in e.args))})"
        code = f"lambda {', '.join(self.inputs)}: {', '.join(text[o] for o in outs)}"
        return eval(code, {"mp": mp, "inf": mp.inf, "nan": mp.nan})  # type: ignore[no-any-return]

    def cuda(self, name: str) -> str:
        """Text of a CUDA kernel over T, a grid-stride loop; an input of stride 0 is a scalar."""

        def literal(v: Any) -> str:
            if isinstance(v, bool):
                return "true" if v else "false"
            if v != v:
                return "T(NAN)"
            return "T(INFINITY)" if v == math.inf else "T(-INFINITY)" if v == -math.inf else f"T({v!r})"

        lines, results = _straight_line(self.outs, "cuda", literal)
        parameters = [f"const T* __restrict__ {n}_, long {n}_s" for n in self.inputs]
        parameters += [f"T* y{k}_" for k in range(len(results))]
        load = "".join(f"        T {n} = {n}_[i * {n}_s];\n" for n in self.inputs)
        body = "".join(f"        {'bool' if b else 'T'} {t} = {s};\n" for t, s, b in lines)
        store = "".join(f"        y{k}_[i] = {r};\n" for k, r in enumerate(results))
        return (
            f'extern "C" __global__ void {name}({", ".join(parameters)}, long n) {{\n'
            "    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long)blockDim.x) {\n"
            f"{load}{body}{store}    }}\n}}\n"
        )

    def latex(self) -> str:
        return ", ".join(latex(e) for e in self.outs)

    def derivative(self, i: int | str) -> Formula:
        """The formula of ∂y/∂x_i."""
        name = self.inputs[i] if isinstance(i, int) else i
        return Formula(self.inputs, tuple(vjp(y, [var(name)], lift(1.0))[0] for y in self.outs), self.params)


def _numpy_environment() -> Mapping[str, Any]:
    from scipy import special

    return {"np": np, "special": special}


GREEK = {"g": r"\bar{y}", "alpha": r"\alpha", "beta": r"\beta", "delta": r"\delta", "eps": r"\epsilon", "lambd": r"\lambda"}
KNOWN = {
    math.sqrt(2 / math.pi): r"\sqrt{\tfrac{2}{\pi}}",
    1 / math.sqrt(2): r"\tfrac{1}{\sqrt{2}}",
    2 / math.sqrt(math.pi): r"\tfrac{2}{\sqrt{\pi}}",
    1 / math.sqrt(math.pi): r"\tfrac{1}{\sqrt{\pi}}",
    1 / math.sqrt(2 * math.pi): r"\tfrac{1}{\sqrt{2\pi}}",
    math.log(2): r"\ln 2",
    math.log(10): r"\ln 10",
    math.pi: r"\pi",
    0.5: r"\tfrac{1}{2}",
}


def latex(e: Sym, outer: int = -1) -> str:
    """LaTeX, in as few brackets as precedence allows."""
    if e.name == "var":
        n: str = e.args[0]
        return GREEK.get(n, n if len(n) == 1 else r"\mathrm{%s}" % n.replace("_", r"\_"))
    if e.name == "const":
        return _latex_number(e.args[0], outer)
    if e.name == "multiply" and e.args[0] is e.args[1]:
        return "%s^2" % latex(e.args[0], 9)
    atom = ATOMS[e.name]
    closed = atom.precedence >= 9
    texts = []
    for i, a in enumerate(e.args):
        right_of_minus = e.name in ("subtract", "remainder", "floor_divide") and i == 1
        base_of_power = e.name == "pow" and i == 0
        inner = 9 if base_of_power else -1 if closed else atom.precedence + right_of_minus
        texts.append(latex(a, inner))
    s = atom.latex.format(*texts)
    return rf"\left({s}\right)" if atom.precedence < outer else s


def _latex_number(v: Any, outer: int) -> str:
    if isinstance(v, bool):
        return r"\text{%s}" % str(v).lower()
    for known, text in KNOWN.items():
        if abs(v - known) < 1e-12:
            return text
    if v != v:
        return r"\text{nan}"
    if v in (math.inf, -math.inf):
        return r"\infty" if v > 0 else r"-\infty"
    s = f"{v:.6g}"
    if "e" in s:
        mantissa, exponent = s.split("e")
        s = rf"{mantissa} \cdot 10^{{{int(exponent)}}}"
    return s if v >= 0 or outer <= 2 else rf"\left({s}\right)"
