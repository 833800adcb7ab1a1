"""Einstein's summation: einsum("bij,bjk->bik", a, b). A letter names an axis; letters that the result lacks are summed.

It is lowered to what is fast and differentiable already: a letter twice in one operand becomes a diagonal, a letter
that
only one operand has is summed at once, and the operands are joined from left to right, each pair as one `matmul`.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..op import composite
from ..samples import Draw
from ..shapes import prod
from ..tensor import Tensor, asarray
from .arithmetic import multiply
from .index import getitem
from .matmul import matmul
from .reduce import sum as sum_
from .shape import moveaxis, permute_dims, reshape, squeeze


@dataclass
class Term:
    """A tensor whose axes bear letters, each once."""

    x: Tensor
    letters: str

    def size(self, letters: str) -> int:
        return prod([self.x.shape[self.letters.index(c)] for c in letters])

    def arranged(self, letters: str) -> Tensor:
        """Its axes in another order."""
        order = tuple(self.letters.index(c) for c in letters)
        return self.x if letters == self.letters else permute_dims(self.x, axes=order)

    def keep(self, letters: str) -> Term:
        """Sum over every axis not among these."""
        gone = tuple(i for i, c in enumerate(self.letters) if c not in letters)
        return Term(sum_(self.x, axis=gone), "".join(c for c in self.letters if c in letters)) if gone else self


# ------------------------------------------------------------------------------------------------ reading the equation
def parse(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with fresh letters in the place of "..."; errors in words."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    strange = set(left + right) - set(string.ascii_letters + ",.")
    if strange or any("." in t.replace("...", "", 1) for t in (*operands, right)):
        raise ArgumentError(
            f"einsum: '{equation}' holds {sorted(strange) or 'a stray dot'}; "
            "axes are named by letters, '...' stands for several"
        )
    if len(operands) != len(shapes):
        raise ArgumentError(f"einsum: '{equation}' names {len(operands)} operands, but {len(shapes)} were given")
    for i, (letters, shape) in enumerate(zip(operands, shapes, strict=True)):
        named = len(letters.replace("...", ""))
        if named > len(shape) or ("..." not in letters and named != len(shape)):
            raise ShapeError(f"einsum: operand {i} '{letters}' names {named} axes, but has shape {shape}")
    rests = [
        len(shape) - len(t.replace("...", "")) if "..." in t else 0 for t, shape in zip(operands, shapes, strict=True)
    ]
    fresh = "".join(c for c in string.ascii_letters if c not in equation)[: max(rests)]
    if not arrow:  # letters that stand once, in alphabetical order
        right = ("..." if "..." in left else "") + "".join(
            sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        )
    result = right.replace("...", fresh)
    expanded = [t.replace("...", fresh[len(fresh) - n :]) for t, n in zip(operands, rests, strict=True)]
    for c in result:
        if result.count(c) > 1 or not any(c in t for t in expanded):
            why = "stands twice in the result" if result.count(c) > 1 else "is in no operand"
            raise ArgumentError(f"einsum: '{c}' of '{equation}' {why}")
    return expanded, result


def check_sizes(equation: str, operands: list[str], shapes: list[tuple[int, ...]]) -> None:
    """ShapeError where a letter stands for two lengths. Only the axes of "..." broadcast."""
    known: dict[str, tuple[int, int]] = {}
    for i, (letters, shape) in enumerate(zip(operands, shapes, strict=True)):
        for c, n in zip(letters, shape, strict=True):
            length, where = known.setdefault(c, (n, i))
            if c not in equation and 1 in (n, length):
                known[c] = max((n, i), (length, where))
            elif n != length:
                raise ShapeError(
                    f"einsum: '{c}' of '{equation}' is {length} in operand {where} {shapes[where]}, "
                    f"but {n} in operand {i} {shapes[i]}"
                )


# ------------------------------------------------------------------------------------------------ computing it
def single(x: Tensor, letters: str) -> Term:
    """A letter twice in one operand: its diagonal, x[.., i, .., i, ..]."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            p, q = letters.index(c), letters.rindex(c)
            i = np.arange(x.shape[p])
            x = getitem(moveaxis(x, source=(p, q), destination=(0, 1)), index=(i, i))  # (.., n, .., n, ..) -> (n, ..)
            letters = c + letters[:p] + letters[p + 1 : q] + letters[q + 1 :]
    return Term(x, letters)


def joined(a: Term, b: Term, needed: str) -> Term:
    """The product of two terms, summed over the letters not needed any more: a matmul of (batch, own, meeting) axes."""
    a = a.keep(needed + b.letters)
    b = b.keep(needed + a.letters)
    both = "".join(c for c in a.letters if c in b.letters)
    batch, meet = "".join(c for c in both if c in needed), "".join(c for c in both if c not in needed)
    own_a, own_b = "".join(c for c in a.letters if c not in both), "".join(c for c in b.letters if c not in both)
    sides = tuple(a.size(c) for c in batch)
    n, j, k = a.size(own_a), a.size(meet), b.size(own_b)
    left, right = a.arranged(batch + own_a + meet), b.arranged(batch + meet + own_b)
    left, right = reshape(left, shape=(*sides, n, j)), reshape(right, shape=(*sides, j, k))
    y = (
        matmul(left, right) if meet else multiply(left, right)
    )  # (*B,N,J) @ (*B,J,K), or (*B,N,1) * (*B,1,K) -> (*B,N,K)
    return Term(
        reshape(y, shape=(*sides, *(a.size(c) for c in own_a), *(b.size(c) for c in own_b))), batch + own_a + own_b
    )


_EQUATIONS = [
    "ij,jk->ik",
    "bij,bjk->bik",
    "bij,jk->bik",
    "i,j->ij",
    "ij->ji",
    "ij->j",
    "ii->i",
    "ii->",
    "iij,j->i",
    "bi,ij,bj->b",
    "ij,ij->",
    "...ij,...jk->...ik",
    "...i->i...",
    "ij,kj",
    "i...->...",
    "i,i",
    ",i->i",
    "bhqd,bhkd->bhqk",
    "i,ij,jk,k->",
]


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    equation = draw.choice(_EQUATIONS)
    lengths = {c: draw.integer(0, 3) for c in string.ascii_letters}
    rests = iter(draw.broadcastable(4, max_rank=2))
    shapes = []
    for letters in equation.partition("->")[0].split(","):
        before, dots, after = letters.partition("...")
        shapes.append((*(lengths[c] for c in before), *(next(rests) if dots else ()), *(lengths[c] for c in after)))
    return [draw.array(s) for s in shapes], {"equation": equation}


@composite(
    "einsum",
    shapes="x:(*B) -> y:(*R)",
    definition=r"y_{\text{result}} = \sum_{\text{letters not in it}} \prod_k x^{(k)}_{\text{letters of } k}",
    samples=_sample,
    reference=lambda *xs, equation: np.einsum(equation, *xs),
    source="A. Einstein, Annalen der Physik 49 (1916), section 5",
    errors=[
        (
            lambda f: f("ij,jk->ik", np.zeros((2, 3)), np.zeros((4, 2))),
            r"einsum: 'j' of 'ij,jk->ik' is 3 in operand 0 \(2, 3\), but 4 in operand 1 \(4, 2\)",
        ),
        (lambda f: f("ij->k", np.zeros((2, 3))), "einsum: 'k' of 'ij->k' is in no operand"),
        (lambda f: f("ij->ii", np.zeros((2, 3))), "einsum: 'i' of 'ij->ii' stands twice in the result"),
        (lambda f: f("ij", np.zeros(3)), r"einsum: operand 0 'ij' names 2 axes, but has shape \(3,\)"),
        (lambda f: f("ij,j", np.zeros((2, 3))), "einsum: 'ij,j' names 2 operands, but 1 were given"),
        (lambda f: f("i1->i", np.zeros((2, 3))), r"einsum: 'i1->i' holds \['1'\]; axes are named by letters"),
    ],
)
def einsum(*operands: Any, equation: str | None = None) -> Tensor:
    """Sum of products in Einstein's notation: einsum("ij,jk->ik", a, b).

    Without "->", letters that stand once are kept, sorted.

    "..." stands for any number of axes, which broadcast. Raises ArgumentError for an equation that can't be read, and
    ShapeError where a letter stands for two lengths.
    """
    if equation is None:
        equation, *rest = operands
        operands = tuple(rest)
    xs = [asarray(x) for x in operands]
    shapes = [x.shape for x in xs]
    letters, result = parse(equation, shapes)
    check_sizes(equation, letters, shapes)
    terms = [single(x, t) for x, t in zip(xs, letters, strict=True)]
    dots = {c: max(t.size(c) for t in terms if c in t.letters) for c in result if c not in equation}
    terms = [_without_ones(t, dots) for t in terms]
    y = terms[0]
    for i, term in enumerate(terms[1:], 1):
        y = joined(y, term, result + "".join(t.letters for t in terms[i + 1 :]))
    return y.keep(result).arranged(result)


def _without_ones(term: Term, dots: dict[str, int]) -> Term:
    """Axes of "..." that have length 1 here and more elsewhere broadcast: leave them out."""
    ones = [i for i, c in enumerate(term.letters) if dots.get(c, 1) != 1 and term.x.shape[i] == 1]
    if not ones:
        return term
    return Term(squeeze(term.x, axis=tuple(ones)), "".join(c for i, c in enumerate(term.letters) if i not in ones))
