"""Sums of powers in range: as they stand where that went well, else with the largest magnitude divided out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def in_range(sums: Callable[..., Array], largest: Callable[[], Array], n: int) -> tuple[Array, Any]:
    """Σ |x_r / m|^p, sums(m) or sums() for m = 1, of n numbers each, and m: no power in it overflows, none that counts
    vanishes. `largest` makes the m that is always right.
    """
    s = sums()
    least = max(n, 1) * np.finfo(s.dtype).tiny / np.finfo(s.dtype).eps  # n powers that vanished are no digit of it
    if s.size == 0 or (s.min() > least and s.max() < np.inf):
        return s, s.dtype.type(1)
    m = largest()
    return sums(m), m
