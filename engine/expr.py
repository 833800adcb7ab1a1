"""Symbolic scalars: nodes of a formula, their simplification, expansion and derivative.

A `Sym` is a node of a formula: the name of an atom and its arguments. Atoms are the elementwise ops themselves: calling
`exp` with a Sym makes a node, calling it with a Tensor runs it. What a target calls an atom, its derivative and, for an
atom made of others, its expansion stand in the op's one record (`engine/op.py`), which enters them in `ATOMS`.

Equal formulas are one object (hash-consing), so common subexpressions are found by identity.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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

    __slots__ = ("_digest", "args", "name", "__weakref__")
    __array_ufunc__ = None  # np.float32(2) * sym comes to us, not to NumPy

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """16 bytes, the same for the same formula in every process."""
        stack = [self]
        while not self._digest:
            e = stack[-1]
            missing = [a for a in e.args if isinstance(a, Sym) and not a._digest]
            if missing:
                stack += missing
            else:
                parts = [a._digest if isinstance(a, Sym) else repr(a).encode() for a in e.args]
                e._digest = hashlib.blake2b(b"\0".join([e.name.encode(), *parts]), digest_size=16).digest()
                stack.pop()
        return self._digest

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
        from .formula import latex

        return latex(self)


_table: WeakValueDictionary[tuple[Any, ...], Sym] = WeakValueDictionary()


def node(name: str, *args: Any) -> Sym:
    """The one Sym with this name and these arguments. A node keeps its arguments alive, so their ids stay theirs."""
    if name == "const":
        key: tuple[Any, ...] = (name, type(args[0]), args[0], math.copysign(1, args[0]))
    else:
        key = (name, *[id(a) if isinstance(a, Sym) else a for a in args])
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
    if isinstance(v, (int, np.integer)):
        return node("const", int(v))
    if isinstance(v, (float, np.floating)):
        return node("const", float(v))
    raise TypeError(f"a formula is made of its inputs and of numbers, not of a {type(v).__name__}: pass it as an input")


def number(e: Sym) -> Any:
    """The value of a constant, else None."""
    return e.args[0] if e.name == "const" else None


def make(name: str, *args: Any) -> Sym:
    """A node, simplified by the identities that hold for every float (x + 0, 1 * x, --x and the like)."""
    syms = tuple([a if isinstance(a, Sym) else lift(a) for a in args])
    rule = SIMPLIFY.get(name)
    simpler = rule(*syms) if rule else None
    return node(name, *syms) if simpler is None else simpler


def _add(a: Sym, b: Sym) -> Sym | None:
    if number(a) == 0:
        return b
    if number(b) == 0:
        return a
    if a is b:
        return make("multiply", 2, a)
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


def _abs(a: Sym) -> Sym | None:
    if a.name == "negative":
        return make("abs", a.args[0])
    return a if a.name == "abs" else None


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
    "abs": _abs,
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


def pulled(e: Sym, g: Sym) -> Iterator[tuple[Sym, Sym]]:
    """Each argument of e that is differentiated, and its share ā of e's cotangent g."""
    atom = ATOMS[e.name]
    head = inputs_of(atom, e.args)
    for a, rule in zip(head, atom.vjp, strict=False):
        if rule is not None and a.name != "const":
            yield a, lift(call_with_params(rule, atom, (g, *head, e), e.args))


def vjp(y: Sym, xs: Sequence[Sym], g: Sym) -> list[Sym]:
    """Reverse mode on a formula: the cotangents of xs, given the cotangent g of y.

    x̄ = Σ over the uses u of x: ū · ∂u/∂x, each factor the used atom's own (stable) vjp.
    """
    bar: dict[Sym, Sym] = {y: lift(g)}
    for e in reversed(topological([y])):
        if e not in bar or e.name in ("var", "const"):
            continue
        for a, d in pulled(e, bar[e]):
            if number(d) != 0:
                bar[a] = make("add", bar[a], d) if a in bar else d
    return [bar.get(x, lift(0.0)) for x in xs]
