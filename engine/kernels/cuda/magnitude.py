"""Sums of powers in range: the largest magnitude is divided out. To look whether that was needed would be to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any


def in_range(sums: Callable[..., Array], largest: Callable[[], Array], n: int) -> tuple[Array, Any]:
    """Σ |x_r / m|^p, sums(m), and m, the `largest`: no power in it overflows, none that counts vanishes."""
    m = largest()
    return sums(m), m
