r"""Terms of a derivation: expressions that know how to be printed, how to be computed, and how exact that can be.

A term has a type and a value in float64; LaTeX and `evaluate` are two printers of the same tree, and `scale` says what
its rounding errors are in proportion to. Nothing is computed when a term is made.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from .. import expr
from ..formula import Formula, latex
from .numbers import latex_digits, matrix
from .typeset import upright

SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly a term binds
FACTOR = re.compile(r"(?<![\w.^_{}\\])(\d+(?:\.\d+)?) \\odot ")  # a number that multiplies each element


class Term:
    """A mathematical expression."""

    binds = ATOM

    def evaluate(self) -> Any:
        raise NotImplementedError

    def scale(self) -> Any:
        """The sum of the magnitudes of what is added up to the value: rounding errors are in proportion to it."""
        return np.abs(self.evaluate())

    def latex(self) -> str:
        raise NotImplementedError

    def within(self, binds: int) -> str:
        """In brackets, where what stands around it binds more tightly."""
        return self.latex() if self.binds >= binds else rf"\left({self.latex()}\right)"


@dataclass(frozen=True, eq=False)
class Symbol(Term):
    """A letter and what it stands for. made: the scale of what it was computed from, where it is not as it was kept."""

    name: str
    value: Any
    made: Callable[[], Any] | None = None

    def evaluate(self) -> Any:
        return self.value

    def scale(self) -> Any:
        return np.abs(self.value) if self.made is None else np.maximum(np.abs(self.value), self.made())

    def latex(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Numbers(Term):
    """The value itself."""

    value: Any

    def evaluate(self) -> Any:
        return self.value

    def latex(self) -> str:
        return matrix(self.value)


class One(Numbers):
    """∂J/∂J, where every chain begins."""


@dataclass(frozen=True, eq=False)
class Transposed(Term):
    """A^T"""

    of: Term

    def evaluate(self) -> Any:
        return self.of.evaluate().T

    def scale(self) -> Any:
        return self.of.scale().T

    def latex(self) -> str:
        body = self.of.latex()
        bare = isinstance(self.of, Symbol) and "^" not in body and not body.startswith(r"\frac")
        return rf"{body}^{{\top}}" if bare else rf"\left({body}\right)^{{\top}}"


@dataclass(frozen=True, eq=False)
class Product(Term):
    """A B, of matrices"""

    left: Term
    right: Term
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.left.evaluate() @ self.right.evaluate()

    def scale(self) -> Any:
        return self.left.scale() @ self.right.scale()

    def latex(self) -> str:
        return rf"{self.left.within(PRODUCT)} \, {self.right.within(PRODUCT)}"


@dataclass(frozen=True, eq=False)
class Hadamard(Term):
    """A ⊙ B, element by element; a number multiplies each"""

    left: Term
    right: Term
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.left.evaluate() * self.right.evaluate()

    def scale(self) -> Any:
        return self.left.scale() * self.right.scale()

    def latex(self) -> str:
        left = self.left.latex() if isinstance(self.left, Hadamard) else self.left.within(ATOM)
        times = r"\," if _number(self.left) or _number(self.right) else r"\odot"
        return rf"{left} {times} {self.right.within(ATOM)}"


@dataclass(frozen=True, eq=False)
class Scaled(Term):
    """c A, with a number c"""

    factor: float
    of: Term

    @property
    def binds(self) -> int:  # type: ignore[override]
        return SUM if self.factor < 0 else PRODUCT

    def evaluate(self) -> Any:
        return self.factor * self.of.evaluate()

    def scale(self) -> Any:
        return abs(self.factor) * self.of.scale()

    def latex(self) -> str:
        sign = "-" if self.factor == -1 else rf"{latex_digits(self.factor)} \, "
        return f"{sign}{self.of.within(PRODUCT)}"


@dataclass(frozen=True, eq=False)
class Total(Term):
    """A + B + ..."""

    terms: tuple[Term, ...]
    binds = SUM

    def evaluate(self) -> Any:
        return reduce(operator.add, [t.evaluate() for t in self.terms])

    def scale(self) -> Any:
        return reduce(operator.add, [t.scale() for t in self.terms])

    def latex(self) -> str:
        return " + ".join(t.within(SUM) for t in self.terms)


@dataclass(frozen=True, eq=False)
class Applied(Term):
    """A scalar formula of the record, applied to every element"""

    formula: Formula
    names: Mapping[str, Term]

    @property
    def binds(self) -> int:  # type: ignore[override]
        body = self.formula.outs[0]
        return ATOM if body.name in ("var", "const") or expr.ATOMS[body.name].precedence >= 9 else SUM

    def evaluate(self) -> Any:
        return self.formula.numpy(np.float64)(*(self.names[n].evaluate() for n in self.formula.inputs))

    def scale(self) -> Any:
        bound = roundings(self.formula)
        terms = [self.names[n] for n in self.formula.inputs]
        return bound.numpy(np.float64)(*(t.evaluate() for t in terms), *(t.scale() for t in terms))

    def latex(self) -> str:
        latex = with_names(self.formula, {n: t.latex() for n, t in self.names.items()}).replace(r" \, ", r" \odot ")
        return FACTOR.sub(r"\1 \\, ", latex)


def _number(term: Term) -> bool:
    """Is it one number, or made of such?"""
    if isinstance(term, Applied):
        return all(_number(term.names[n]) for n in term.formula.inputs)
    return isinstance(term, Numbers) and np.ndim(term.evaluate()) == 0


@dataclass(frozen=True, eq=False)
class Spread(Term):
    """One number for each element: c 1, divided by `divisor`"""

    of: Term
    shape: tuple[int, ...]
    divisor: int = 1
    binds = PRODUCT

    def evaluate(self) -> Any:
        return np.full(self.shape, float(self.of.evaluate()) / self.divisor)

    def scale(self) -> Any:
        return np.full(self.shape, float(self.of.scale()) / self.divisor)

    def latex(self) -> str:
        share = "" if self.divisor == 1 else rf"\frac{{1}}{{{self.divisor}}} \, "
        what = "" if isinstance(self.of, One) else rf"{self.of.within(PRODUCT)} \, "
        return rf"{share}{what}\mathbf{{1}}"


@dataclass(frozen=True, eq=False)
class Summed(Term):
    """Over what was repeated when shapes were broadcast. collect: array -> array"""

    of: Term
    collect: Callable[[Any], Any]
    over: str
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.collect(self.of.evaluate())

    def scale(self) -> Any:
        return self.collect(self.of.scale())

    def latex(self) -> str:
        return rf"\sum_{{{self.over}}} {self.of.within(PRODUCT)}"


@dataclass(frozen=True, eq=False)
class Indexed(Term):
    """A sum of products in index notation. compute: the values of `of` -> the result"""

    text: str
    of: tuple[Term, ...]
    compute: Callable[..., Any]
    binds = SUM

    def evaluate(self) -> Any:
        return self.compute(*(t.evaluate() for t in self.of))

    def scale(self) -> Any:
        return self.compute(*(t.scale() for t in self.of))

    def latex(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Called(Term):
    """An op by its name, of these inputs"""

    op: str
    inputs: tuple[str, ...]
    compute: Callable[[], Any]
    of: tuple[Term, ...] = ()

    def evaluate(self) -> Any:
        return self.compute()

    def scale(self) -> Any:
        """Nothing is known of the op: its result is as uncertain as its largest input."""
        value = np.abs(self.compute())
        return np.maximum(value, max((largest(t.scale()) for t in self.of), default=0.0))

    def latex(self) -> str:
        name = upright(self.op).replace(r"\_", r"\,")
        return rf"{name}\left({', '.join(self.inputs)}\right)"


@dataclass(frozen=True, eq=False)
class Pulled(Term):
    """(∂y/∂x)^T ȳ by the op's own vjp. composed: is it a step of a fused op, whose kernel takes another way?"""

    y: str
    x: str
    of: Term
    pull: Callable[[Any], Any]
    composed: bool = False
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.pull(self.of.evaluate())

    def scale(self) -> Any:
        """What cancels out of ȳ does not cancel out of its magnitudes, or not of these with every other sign turned.
        What cancels within the Jacobian does so in both ways, unless these are two.
        """
        whole = np.asarray(self.of.scale())
        turned = whole * np.where(np.arange(whole.size) % 2, -1, 1).reshape(whole.shape)
        found = np.maximum.reduce([np.abs(self.pull(g)) for g in (self.of.evaluate(), whole, turned)])
        return np.maximum(found, largest(whole)) if self.composed else found

    def latex(self) -> str:
        of = "" if isinstance(self.of, One) else f" {self.of.within(PRODUCT)}"
        return rf"\left({partial(self.y, self.x)}\right)^{{\top}}{of}"


@dataclass(frozen=True, eq=False)
class Chain(Term):
    """∂J/∂v ∂v/∂u ... ∂t/∂x: the product of Jacobian matrices, one a step; the result takes x's shape"""

    names: tuple[str, ...]  # J, v, u, ..., x
    composed: tuple[bool, ...]  # of each Jacobian: is it a step of a fused op?
    jacobians: Callable[[], Sequence[Any]]
    shape: Callable[[Any], Any]
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.shape(reduce(operator.matmul, self.jacobians(), np.ones((1, 1))))

    def scale(self) -> Any:
        row = np.ones((1, 1))
        for jacobian, composed in zip(self.jacobians(), self.composed, strict=True):
            row, before = row @ np.abs(jacobian), row
            row = np.maximum(row, largest(before)) if composed else row
        return self.shape(row)

    def latex(self) -> str:
        return r" \, ".join(partial(y, x) for y, x in zip(self.names, self.names[1:], strict=False))


# ------------------------------------------------------------------------------------------------ scales
def roundings(f: Formula) -> Formula:
    """How far roundings on the way move f, of its inputs and then of their scales: E(e) = max(|e|, |∂e/∂a| E(a))."""
    scales = {n: f"{n}_scale" for n in f.inputs}
    bound: dict[expr.Sym, expr.Sym] = {}
    for e in expr.topological(f.outs):
        bound[e] = abs(e) if e.name != "var" else expr.var(scales[e.args[0]])
        if e.name not in ("var", "const"):
            for a, slope in expr.pulled(e, expr.lift(1.0)):
                bound[e] = expr.make("maximum", bound[e], abs(slope) * bound[a])
    return Formula((*f.inputs, *scales.values()), (bound[f.outs[0]],), f.params)


def largest(a: Any) -> float:
    """The largest finite magnitude."""
    finite = np.abs(np.asarray(a, np.float64))
    return float(finite[np.isfinite(finite)].max(initial=0.0))


# ------------------------------------------------------------------------------------------------ words
def partial(y: str, x: str) -> str:
    return rf"\frac{{\partial {y}}}{{\partial {x}}}"


def with_names(formula: Formula, names: Mapping[str, str]) -> str:
    """The formula's LaTeX with other names for its inputs, by way of letters that stand nowhere else."""
    marks = {name: chr(0xE000 + k) for k, name in enumerate(sorted(names))}

    def marked(kind: str, args: tuple[Any, ...]) -> Any:
        return expr.var(marks[args[0]]) if kind == "var" and args[0] in marks else None

    (out,) = expr.rewrite(formula.outs, marked)
    text = latex(out)
    for name, mark in marks.items():
        text = text.replace(rf"{mark}^", rf"{{{mark}}}^") if "^" in names[name] else text
        text = text.replace(mark, names[name])
    return text
