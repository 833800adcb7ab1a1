"""How GPUs multiply float32 matrices: a choice of the process, which CuPy keeps for all of its users."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError

_precision = "highest"
_told: list[Any] = []  # the module cupy, once a GPU is in use


def set_float32_matmul_precision(precision: str) -> None:
    """How GPUs multiply float32 matrices: "highest" in float32 (the default), or "high" in TF32, on tensor cores: ten
    bits of each factor, sums in float32. It holds for the whole process, and for CuPy's own products. The CPU is always
    "highest".

    Raises ArgumentError for another word. The name is PyTorch's.
    """
    global _precision
    if precision not in ("highest", "high"):
        raise ArgumentError(f"set_float32_matmul_precision: precision is {precision!r}; choose 'highest' or 'high'")
    _precision = precision
    for cupy in _told:
        _tell(cupy)


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` chose."""
    return _precision


def follow(cupy: Any) -> None:
    """Let CuPy know, now and when it changes. (It asks the device for what it can do.)"""
    if cupy not in _told:
        _told.append(cupy)
        _tell(cupy)


def _tell(cupy: Any) -> None:
    kinds = cupy._core._routines_linalg
    chosen = kinds.COMPUTE_TYPE_TF32 if _precision == "high" else kinds.COMPUTE_TYPE_DEFAULT
    cupy._core.set_compute_type(np.float32, chosen)
