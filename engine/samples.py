"""How inputs for an op are drawn: its domain, its kinks, and a small vocabulary for its `samples`.

A record says where its inputs come from; the tests, the docs and `python -m engine.ops` draw from it. All randomness
reaches a `Draw` through one function `integer(lo, hi)`, so that a property-testing library can supply it and shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Domain:
    """Numbers between lo and hi (both included); `kind` "float", "integer" or "bool"."""

    lo: float
    hi: float
    kind: str = "float"

    def draw(self, rng: np.random.Generator, shape: Shape) -> Any:
        if self.kind == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if self.kind == "integer":
            return rng.integers(int(self.lo), int(self.hi) + 1, shape)
        return rng.uniform(self.lo, self.hi, shape)


def interval(lo: float, hi: float) -> Domain:
    return Domain(lo, hi)


def integers(lo: int, hi: int) -> Domain:
    return Domain(lo, hi, "integer")


real = Domain(-4.0, 4.0)
positive = Domain(0.05, 8.0)
nonzero = Domain(0.25, 4.0)
boolean = Domain(0, 1, "bool")


@dataclass(frozen=True)
class Kink:
    """A point where the derivative jumps.

    distance  of the inputs and params, zero at the kink: draws stay where it is larger than `margin`
    at        inputs on the kink, whose gradient is tested
    gradient  what backward gives there for each input (PyTorch's convention), for the cotangent 1
    """

    distance: Callable[..., Any]
    at: tuple[float, ...] | None = None
    gradient: tuple[float, ...] = ()
    margin: float = 1e-2


def kink(at: float, gradient: float) -> Kink:
    """A kink of a function of one input, at a number."""
    return Kink(lambda x, **_: x - at, (at,), (gradient,))


class Draw:
    """A source of test inputs, from a source of integers."""

    def __init__(self, integer: Callable[[int, int], int]) -> None:
        self.integer = integer
        self.rng = np.random.default_rng(integer(0, 2**32 - 1))

    @classmethod
    def seeded(cls, seed: int) -> Draw:
        rng = np.random.default_rng(seed)
        return cls(lambda lo, hi: int(rng.integers(lo, hi + 1)))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def shape(self, min_rank: int = 0, max_rank: int = 4, min_side: int = 0, max_side: int = 4) -> Shape:
        """Any shape; long ones of high rank are kept small by the sides."""
        rank = self.integer(min_rank, max_rank)
        return tuple(self.integer(min_side, max_side) for _ in range(rank))

    def broadcastable(self, n: int, max_rank: int = 3, min_side: int = 0) -> list[Shape]:
        """n shapes that broadcast against each other."""
        full = self.shape(0, max_rank, min_side)
        shapes = [full]
        for _ in range(n - 1):
            cut = self.integer(0, len(full))
            shapes.append(tuple(1 if self.integer(0, 3) == 0 else k for k in full[cut:]))
        first = self.integer(0, n - 1)
        return shapes[-first:] + shapes[:-first] if n > 1 else shapes

    def array(self, shape: Shape, domain: Domain = real) -> Any:
        """float64 numbers from the domain (integers or booleans where the domain says so)."""
        return np.asarray(domain.draw(self.rng, shape))

    def distinct(self, shape: Shape) -> Any:
        """Numbers of which no two are closer than 0.05: no ties for max, sort and the like."""
        n = int(np.prod(shape))
        return np.asarray((self.rng.permutation(n).reshape(shape) - n / 2) * 0.1 + self.rng.uniform(-0.02, 0.02, shape))

    def axis(self, rank: int) -> int:
        """One axis, counted from either end."""
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> Any:
        """None, one axis, or a tuple of distinct axes: what a reduction takes."""
        kind = self.integer(0, 2)
        if kind == 0 or rank == 0:
            return None
        if kind == 1:
            return self.axis(rank)
        return tuple(sorted(self.rng.choice(rank, self.integer(1, rank), replace=False).tolist()))
