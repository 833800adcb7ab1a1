"""Devices by name, and the device of an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DeviceError
from .cpu import cpu
from .protocol import Array, Backend

__all__ = ["Array", "Backend", "backend_of", "get_backend"]


def get_backend(device: str) -> Backend:
    """The backend called `device` ("cpu"). Raises DeviceError with the remedy when it can't be had."""
    if device == "cpu":
        return cpu
    if device.split(":")[0] in ("cuda", "gpu"):
        raise DeviceError(
            f"device '{device}' is not available: this version computes on the CPU only; use device=\"cpu\""
        )
    raise DeviceError(f"there is no device '{device}': use \"cpu\"")


def backend_of(array: Any) -> Backend:
    """The backend that owns an array."""
    if type(array) is np.ndarray or cpu.owns(array):
        return cpu
    raise DeviceError(f"no backend owns an array of type {type(array).__module__}.{type(array).__name__}")
