"""Derivations: lines of terms that are equal, so that what each says can be checked against what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..dtypes import SEVERAL_ROUNDINGS
from .given import escape
from .terms import Term, largest
from .typeset import mathml

STYLE = (
    '.cr-derivation{font:14px/1.5 system-ui,"Segoe UI",Roboto,sans-serif;color:#1d2228;background:#fbfaf7;'
    "border:1px solid #e3e0d8;border-radius:10px;padding:10px 16px 14px}"
    ".cr-derivation p{margin:1em 0 .3em;color:#5f6b76}.cr-derivation small{color:#8a8f96;display:block}"
    ".cr-line{margin:.5em 0 .5em 1em;overflow-x:auto;overflow-y:hidden}"
    '.cr-line math{font-family:"STIX Two Math","Latin Modern Math","Cambria Math","TeX Gyre Termes Math",math;'
    "font-size:16px;text-align:left;margin:0;width:max-content}"
    '.cr-line mtd[columnalign="left"]{text-align:left}.cr-line mtd[columnalign="right"]{text-align:right}'
)
NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}  # less: fewer digits


def _distance(a: Any, b: Any) -> float:
    """The largest difference; none where both are infinite."""
    if a.shape != b.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b)).max(initial=0.0))


@dataclass
class Line:
    """left = terms[0] = terms[1] = ...; if left is empty, the first term stands there."""

    note: str
    terms: list[Term]

    def errors(self, least: float = NORMAL["float64"]) -> list[float]:
        """How far each term is from the one before it, relative to the largest sum of magnitudes in the line: of what
        cancels, a rounding error is left. `least`: what they are compared with at least. Terms whose value the tape
        did not keep are left out.
        """
        known = [(t, np.asarray(x, np.float64)) for t in self.terms if (x := t.evaluate()) is not None]
        scale = max([largest(t.scale()) for t, _ in known] + [least])
        return [_distance(a, b) / scale for (_, a), (_, b) in pairwise(known)]

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
        return all(error <= tolerance for line in self.lines for error in line.errors(NORMAL[self.dtype]))

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
def _words(text: str) -> str:
    """Text as LaTeX shows it: what would be a command is a letter."""
    special = {"\\": r"\backslash ", "{": r"\{", "}": r"\}", "$": r"\$", "%": r"\%", "&": r"\&", "#": r"\#",
               "_": r"\_", "^": r"\hat{}", "~": " "}  # fmt: skip
    return "".join(special.get(c, c) for c in text)
