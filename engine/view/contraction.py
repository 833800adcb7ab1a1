"""Derivatives in index notation: the cotangent of one input of an op whose definition is linear in it.

    y[n,k] = Sum(j, a[n,j] * b[j,k])     ⇒     ā[n,j] = Sum(k, ȳ[n,k] * b[j,k])
                                               b̄[j,k] = Sum(n, ȳ[n,k] * a[n,j])

The definition is a sum of terms, each a product under a Sum. The term that reads the input gives, without it and with ȳ
in its place, the cotangent; the sum runs over all indices that the input does not have. A product of two matrices is
recognised and written as one.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..index import parse, runs
from ..record import Op

COTANGENT = "g"  # the letter of ȳ among the factors


@dataclass(frozen=True)
class Factor:
    """x[i,j]: an array and its indices, one letter an axis."""

    array: str
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Contraction:
    """result[axes] = Σ over all other letters of the product of the factors."""

    axes: tuple[str, ...]
    factors: tuple[Factor, ...]

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """In float64. Axes that the result has and no factor does are broadcast by the caller."""
        letters = {a: chr(97 + k) for k, a in enumerate(dict.fromkeys(x for f in self.factors for x in f.axes))}
        terms = ",".join("".join(letters[a] for a in f.axes) for f in self.factors)
        operands = [np.asarray(values[f.array], np.float64) for f in self.factors]
        return np.einsum(f"{terms}->{''.join(letters[a] for a in self.axes)}", *operands)

    @property
    def summed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(a for f in self.factors for a in f.axes if a not in self.axes))

    def latex(self, names: Mapping[str, str]) -> str:
        """With indices: \\sum_k \\bar{y}_{n,k} b_{j,k}."""
        product = r" \, ".join(_indexed(names[f.array], f.axes) for f in self.factors)
        return rf"\sum_{{{','.join(self.summed)}}} {product}" if self.summed else product

    def as_matrices(self) -> list[tuple[str, bool]] | None:
        """[(array, transposed), ...] whose matrix product this is, in order; or None."""
        if len(self.factors) == 1 and len(self.axes) == 2 and set(self.factors[0].axes) == set(self.axes):
            return [(self.factors[0].array, self.factors[0].axes != self.axes)]
        if len(self.factors) != 2 or len(self.axes) != 2 or len(self.summed) != 1:
            return None
        if any(len(f.axes) != 2 or len(set(f.axes)) != 2 for f in self.factors):
            return None
        row, column = self.axes
        left = next((f for f in self.factors if row in f.axes), None)
        right = next((f for f in self.factors if column in f.axes), None)
        if left is None or right is None or left is right:
            return None
        return [(left.array, left.axes[0] != row), (right.array, right.axes[1] != column)]


def _indexed(name: str, axes: Sequence[str]) -> str:
    whole = f"{{{name}}}" if "_" in name else name  # LaTeX takes no second subscript
    return f"{whole}_{{{','.join(axes)}}}" if axes else name


@lru_cache(maxsize=4096)
def forward(op: Op, ranks: tuple[int | None, ...]) -> tuple[Contraction, ...] | None:
    """The definition of an op as a sum of contractions, for inputs of these ranks; None where it is not one."""
    return _terms(op, ranks)


@lru_cache(maxsize=4096)
def cotangent(op: Op, slot: int, ranks: tuple[int | None, ...]) -> Contraction | None:
    """x̄ of input `slot`, if the definition is linear in it and each index stands alone; else None."""
    terms = _terms(op, ranks)
    name = _name(op, slot)
    if terms is None or name is None:
        return None
    reading = [t for t in terms if any(f.array == name for f in t.factors)]
    if len(reading) != 1 or sum(f.array == name for f in reading[0].factors) != 1:
        return None
    (term,) = reading
    own = next(f for f in term.factors if f.array == name)
    others = tuple(f for f in term.factors if f is not own)
    found = Contraction(own.axes, (Factor(COTANGENT, term.axes), *others))
    known = {a for f in found.factors for a in f.axes}
    return found if len(set(own.axes)) == len(own.axes) and set(own.axes) <= known else None


def _name(op: Op, slot: int) -> str | None:
    inputs = getattr(op, "inputs", ())
    return inputs[slot] if slot < len(inputs) and not getattr(op, "variadic", False) else None


def _terms(op: Op, ranks: tuple[int | None, ...]) -> tuple[Contraction, ...] | None:
    """Batch axes (`*B` in the shapes), which the definition does not name, get the letters n, n_2 ..."""
    if op.signature is None or not runs(op.note.definition):
        return None
    definition = parse(op.note.definition)
    reads = definition.reads
    extra = {}
    for slot, rank in enumerate(ranks):
        name = _name(op, slot)
        if name in reads and rank is not None:
            extra[name] = rank - reads[name]
    if any(k < 0 for k in extra.values()):
        return None
    most = max(extra.values(), default=0)
    taken = {n.id for n in ast.walk(definition.body) if isinstance(n, ast.Name)} | set(definition.axes)
    free = [a for a in ("n", "t", "h", "p", "q", "v") if a not in taken]
    if most > len(free):
        return None
    batch = tuple(free[:most])
    lead = {name: batch[most - k :] for name, k in extra.items()}
    try:
        parts = _sum(definition.body, lead)
    except ValueError:
        return None
    return tuple(Contraction((*batch, *definition.axes), factors) for factors in parts)


def _sum(n: ast.expr, lead: Mapping[str, tuple[str, ...]]) -> list[tuple[Factor, ...]]:
    match n:
        case ast.BinOp(op=ast.Add()):
            return [*_sum(n.left, lead), *_sum(n.right, lead)]
        case ast.Call(func=ast.Name(id="Sum")):
            return _sum(n.args[1], lead)
        case ast.BinOp(op=ast.Mult()):
            left, right = _sum(n.left, lead), _sum(n.right, lead)
            if len(left) == len(right) == 1:
                return [(*left[0], *right[0])]
        case ast.Subscript(value=ast.Name(id=name)) if name in lead:
            axes = n.slice.elts if isinstance(n.slice, ast.Tuple) else [n.slice]
            if all(isinstance(a, ast.Name) for a in axes):
                return [(Factor(name, (*lead[name], *(a.id for a in axes))),)]  # type: ignore[attr-defined]
    raise ValueError("not a sum of products")
