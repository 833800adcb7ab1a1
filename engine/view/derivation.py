r"""Derivations: terms that know how to be printed and how to be computed, and lines of terms that are equal.

A term has a type and a value in float64; LaTeX and `evaluate` are two printers of the same tree. Nothing is computed
when a term is made, so what a line says can be checked against what it is worth, term by term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import expr
from ..dtypes import SEVERAL_ROUNDINGS
from ..formula import Formula, latex
from .given import escape
from .numbers import latex_digits, matrix
from .typeset import mathml, upright

STYLE = (
    '.cr-derivation{font:14px/1.5 system-ui,"Segoe UI",Roboto,sans-serif;color:#1d2228;background:#fbfaf7;'
    "border:1px solid #e3e0d8;border-radius:10px;padding:10px 16px 14px}"
    ".cr-derivation p{margin:1em 0 .3em;color:#5f6b76}.cr-derivation small{color:#8a8f96;display:block}"
    ".cr-line{margin:.5em 0 .5em 1em;overflow-x:auto;overflow-y:hidden}"
    '.cr-line math{font-family:"STIX Two Math","Latin Modern Math","Cambria Math","TeX Gyre Termes Math",math;'
    "font-size:16px;text-align:left;margin:0;width:max-content}"
    '.cr-line mtd[columnalign="left"]{text-align:left}.cr-line mtd[columnalign="right"]{text-align:right}'
)
LEAST = 1e-6  # what a line's terms are compared with where they are all but zero
FLOAT16_NORMAL = 6.1e-5  # below it float16 has fewer digits
SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly a term binds


class Term:
    """A mathematical expression."""

    binds = ATOM

    def evaluate(self) -> Any:
        raise NotImplementedError

    def latex(self) -> str:
        raise NotImplementedError

    def within(self, binds: int) -> str:
        """In brackets, where what stands around it binds more tightly."""
        return self.latex() if self.binds >= binds else rf"\left({self.latex()}\right)"


@dataclass(frozen=True, eq=False)
class Symbol(Term):
    """A letter and what it stands for."""

    name: str
    value: Any

    def evaluate(self) -> Any:
        return self.value

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

    def latex(self) -> str:
        left = self.left.latex() if isinstance(self.left, Hadamard) else self.left.within(ATOM)
        return rf"{left} \odot {self.right.within(ATOM)}"


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

    def latex(self) -> str:
        sign = "-" if self.factor == -1 else rf"{latex_digits(self.factor)} \, "
        return f"{sign}{self.of.within(PRODUCT)}"


@dataclass(frozen=True, eq=False)
class Total(Term):
    """A + B + ..."""

    terms: tuple[Term, ...]
    binds = SUM

    def evaluate(self) -> Any:
        first, *rest = (t.evaluate() for t in self.terms)
        for value in rest:
            first = first + value
        return first

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

    def latex(self) -> str:
        return with_names(self.formula, {n: t.latex() for n, t in self.names.items()}).replace(r" \, ", r" \odot ")


@dataclass(frozen=True, eq=False)
class Spread(Term):
    """One number for each element: c 1, divided by `divisor`"""

    of: Term
    shape: tuple[int, ...]
    divisor: int = 1
    binds = PRODUCT

    def evaluate(self) -> Any:
        return np.full(self.shape, float(self.of.evaluate()) / self.divisor)

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

    def latex(self) -> str:
        return rf"\sum_{{{self.over}}} {self.of.within(PRODUCT)}"


@dataclass(frozen=True, eq=False)
class Indexed(Term):
    """A sum of products in index notation. compute: the arrays -> the result"""

    text: str
    compute: Callable[[], Any]
    binds = SUM

    def evaluate(self) -> Any:
        return self.compute()

    def latex(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Called(Term):
    """An op by its name, of these inputs"""

    op: str
    inputs: tuple[str, ...]
    compute: Callable[[], Any]

    def evaluate(self) -> Any:
        return self.compute()

    def latex(self) -> str:
        name = upright(self.op).replace(r"\_", r"\,")
        return rf"{name}\left({', '.join(self.inputs)}\right)"


@dataclass(frozen=True, eq=False)
class Pulled(Term):
    """(∂y/∂x)^T ȳ by the op's own vjp"""

    y: str
    x: str
    of: Term
    pull: Callable[[Any], Any]
    binds = PRODUCT

    def evaluate(self) -> Any:
        return self.pull(self.of.evaluate())

    def latex(self) -> str:
        of = "" if isinstance(self.of, One) else f" {self.of.within(PRODUCT)}"
        return rf"\left({partial(self.y, self.x)}\right)^{{\top}}{of}"


@dataclass(frozen=True, eq=False)
class Chain(Term):
    """∂J/∂v ∂v/∂u ... ∂t/∂x: the product of Jacobian matrices, one a step; the result takes x's shape"""

    names: tuple[str, ...]  # J, v, u, ..., x
    jacobians: Callable[[], Sequence[Any]]
    shape: Callable[[Any], Any]
    binds = PRODUCT

    def evaluate(self) -> Any:
        row = np.ones((1, 1))
        for matrix_ in self.jacobians():
            row = row @ matrix_
        return self.shape(row)

    def latex(self) -> str:
        return r" \, ".join(partial(y, x) for y, x in zip(self.names, self.names[1:], strict=False))


# ------------------------------------------------------------------------------------------------ lines
@dataclass
class Line:
    """left = terms[0] = terms[1] = ...; if left is empty, the first term stands there."""

    note: str
    terms: list[Term]

    def errors(self, least: float = LEAST) -> list[float]:
        """How far each term is from the one before it, relative to the largest element (`least` at least). Terms whose
        value the tape did not keep are left out.
        """
        values = [np.asarray(x, np.float64) for t in self.terms if (x := t.evaluate()) is not None]
        scale = max([float(np.abs(v).max(initial=0.0)) for v in values] + [least])
        return [
            float(np.abs(a - b).max(initial=0.0)) / scale if a.shape == b.shape else np.inf
            for a, b in zip(values, values[1:], strict=False)
        ]

    def latex(self) -> str:
        first, *rest = self.terms
        return " = ".join([first.latex(), *(t.latex() for t in rest)])

    def rows(self) -> str:
        first, *rest = self.terms
        return r" \\ ".join(rf"{first.latex() if k == 0 else ''} &= {t.latex()}" for k, t in enumerate(rest))


@dataclass
class Derivation:
    """A chain rule, step by step. In a notebook it shows itself; `str()` is its LaTeX.

    parts: (heading, lines)
    value: what the last line comes to, in the layout of the tensor that was asked for
    dtype: the coarsest of the graph, which says how nearly the lines' numbers can agree
    """

    title: str
    dtype: str = "float64"
    parts: list[tuple[str, list[Line]]] = field(default_factory=list)
    value: Any = None

    @property
    def lines(self) -> list[Line]:
        return [line for _, lines in self.parts for line in lines]

    def latex(self) -> str:
        """One `aligned` block a line, with headings as text."""
        blocks = []
        for heading, lines in self.parts:
            blocks.append(rf"\text{{{_words(heading)}}}")
            blocks += [rf"\begin{{aligned}} {line.rows()} \end{{aligned}}" for line in lines]
        return "\n\n".join(blocks)

    def check(self, tolerance: float | None = None) -> bool:
        """Does each term come to the same as the one before it? By default as nearly as the graph's dtype can say."""
        if tolerance is None:
            tolerance = SEVERAL_ROUNDINGS[self.dtype]
        least = FLOAT16_NORMAL if self.dtype == "float16" else LEAST
        return all(error <= tolerance for line in self.lines for error in line.errors(least))

    def _repr_html_(self) -> str:
        out = [f"<style>{STYLE}</style><b>{escape(self.title)}</b>"]
        for heading, lines in self.parts:
            out.append(f"<p>{escape(heading)}</p>")
            for line in lines:
                note = f"<small>{escape(line.note)}</small>" if line.note else ""
                formula = mathml(rf"\begin{{aligned}} {line.rows()} \end{{aligned}}")
                out.append(f'<div class="cr-line">{note}{formula}</div>')
        return f'<div class="cr-derivation">{"".join(out)}</div>'

    def __str__(self) -> str:
        return self.latex()

    def __repr__(self) -> str:
        return f"<derivation of {self.title}, {len(self.lines)} lines: .latex(), .check(), .value>"


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


def _words(text: str) -> str:
    """Text as LaTeX shows it: what would be a command is a letter."""
    special = {"\\": r"\backslash ", "{": r"\{", "}": r"\}", "$": r"\$", "%": r"\%", "&": r"\&", "#": r"\#",
               "_": r"\_", "^": r"\hat{}", "~": " "}  # fmt: skip
    return "".join(special.get(c, c) for c in text)
