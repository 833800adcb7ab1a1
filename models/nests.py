"""One array or several: how data, batches and outputs are nested, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.tensor import Tensor


def as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def single(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 else parts


def argument(parts: Sequence[Any]) -> Any:
    """What the model is called with: one array, or a list of them."""
    return parts[0] if len(parts) == 1 else list(parts)


def flat(y: Any) -> tuple[Tensor, ...]:
    """The outputs one after the other."""
    return (y,) if isinstance(y, Tensor) else tuple(y.values() if isinstance(y, dict) else y)


def names(y: Any) -> tuple[str, ...]:
    return tuple(y) if isinstance(y, dict) else tuple(f"output_{i}" for i in range(len(flat(y))))


def shaped_like(y: Any, arrays: list[np.ndarray]) -> Any:
    """Arrays in the nest that the model's outputs have."""
    return arrays[0] if isinstance(y, Tensor) else dict(zip(y, arrays, strict=True)) if isinstance(y, dict) else arrays


def unpacked(batch: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], Any]:
    x, y, weight = batch if len(batch) == 3 else (*batch, None)
    return as_tuple(x), as_tuple(y), weight
