"""Devices by name, and the device of an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DeviceError
from .cpu import cpu
from .protocol import Array, Backend

__all__ = ["Array", "Backend", "backend_of", "empty_cache", "get_backend", "get_num_threads", "set_num_threads"]


def get_backend(device: str) -> Backend:
    """The backend called `device` ("cpu"). Raises DeviceError with the remedy when it can't be had."""
    if device == "cpu":
        return cpu
    if device.split(":")[0] in ("cuda", "gpu"):
        raise DeviceError(
            f"device '{device}' is not available: this version computes on the CPU only; use device=\"cpu\""
        )
    raise DeviceError(f"there is no device '{device}': use \"cpu\"")


def get_num_threads() -> int:
    """How many threads the CPU's kernels may use."""
    from ..kernels.cpu import threads

    return threads.get_num_threads()


def set_num_threads(n: int) -> None:
    """Let the CPU's kernels use n threads, 1 to the number of cores. Results don't depend on it, to the last bit.

    Raises ArgumentError if there are not that many.
    """
    from ..kernels.cpu import threads

    threads.set_num_threads(n)


def empty_cache() -> None:
    """Give memory that waits to be used again back to the system."""
    from ..kernels.cpu import buffers

    buffers.empty_cache()


def backend_of(array: Any) -> Backend:
    """The backend that owns an array."""
    if type(array) is np.ndarray or cpu.owns(array):
        return cpu
    raise DeviceError(f"no backend owns an array of type {type(array).__module__}.{type(array).__name__}")
