"""Devices by name, the device of an array, and the device of what is made without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..blocks import Setting
from ..errors import DeviceError
from .cpu import cpu
from .products import get_float32_matmul_precision, set_float32_matmul_precision
from .protocol import Array, Backend

__all__ = [
    "Array", "Backend", "backend_of", "concatenate", "current_device", "device", "devices", "empty_cache",
    "get_backend", "get_float32_matmul_precision", "get_num_threads", "is_device", "is_owned", "move", "register",
    "scalar", "set_float32_matmul_precision", "set_num_threads",
]  # fmt: skip

_backends: dict[str, Backend] = {"cpu": cpu}  # those in use, by name
_kinds: dict[str, Callable[[int], Backend]] = {}  # "cuda" -> what makes the backend of device number i
_current = Setting("chainrule_device", "cpu")


def register(kind: str, make: Callable[[int], Backend]) -> Callable[[], None]:
    """Let `make(number)` make the backends "kind:number", once for each; returns what takes them away again."""
    _kinds[kind] = make

    def remove() -> None:
        del _kinds[kind]
        for name in [name for name in _backends if name.split(":")[0] == kind]:
            del _backends[name]

    return remove


def _cuda(number: int) -> Backend:
    from .gpu import GPU

    return GPU(number)


register("cuda", _cuda)


def is_device(name: str) -> bool:
    """Is this how a device is called, whether it can be had or not? ("cpu", "cuda", "cuda:1")"""
    kind, _, number = name.partition(":")
    return name == "cpu" or (kind in _kinds and (number.isdigit() or name == kind))


def get_backend(device: str) -> Backend:
    """The backend called `device`: "cpu", "cuda" (which is "cuda:0"), "cuda:1" ...

    Raises DeviceError with the remedy when it can't be had.
    """
    found = _backends.get(device)
    if found is not None:
        return found
    if not is_device(device):
        names = " or ".join(f'"{kind}"' for kind in ("cpu", *_kinds))
        raise DeviceError(f"there is no device '{device}': use {names}")
    kind, _, number = device.partition(":")
    backend = _backends.get(f"{kind}:{number or 0}") or _kinds[kind](int(number or 0))
    _backends[device] = _backends[backend.name] = backend
    return backend


def backend_of(array: Any) -> Backend:
    """The backend that owns an array."""
    if type(array) is np.ndarray or cpu.owns(array):
        return cpu
    for backend in _backends.values():
        if backend.owns(array):
            return backend
    if type(array).__module__.split(".")[0] == "cupy":  # an array from outside, before we were asked for its device
        return get_backend(f"cuda:{array.device.id}")
    kind = f"{type(array).__module__}.{type(array).__name__}"
    raise DeviceError(f"no backend owns an array of type {kind}; engine.tensor(...) takes numbers and lists")


def is_owned(array: Any) -> bool:
    """Is this an array of a device that is in use?"""
    return any(backend.owns(array) for backend in _backends.values())


def move(array: Any, to: Backend) -> Array:
    """An array on another device: the array itself if it is there."""
    owner = backend_of(array)
    if owner is to:
        return array
    alike = owner.name.partition(":")[0] == to.name.partition(":")[0]  # from GPU to GPU it does not pass the CPU
    return to.asarray(array if alike else owner.to_numpy(array))


def scalar(backend: Backend, value: float, dtype: Any = None) -> Array:
    """A Python number as an array without axes. On a GPU it is filled in, with nothing sent there."""
    if backend is cpu:
        return np.asarray(value, dtype)
    with backend.active():
        return backend.xp.full((), value, dtype)


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """Arrays of one dtype and device end to end."""
    return backend_of(arrays[0]).kernel("arrange", "concatenate")(arrays, axis)


# ------------------------------------------------------------------------------------------------ which one is used
def current_device() -> str:
    """Where tensors are made of numbers, lists and NumPy arrays, when no device= is given."""
    return _current.block().value


@contextmanager
def device(name: str) -> Iterator[None]:
    """`with device("cuda"):` tensors and parameters are made there. Per thread and per async task.

    Raises DeviceError when there is no such device.
    """
    begun = _current.begin(get_backend(name).name)
    try:
        yield
    finally:
        _current.end(begun)


def devices() -> dict[str, str]:
    """Every device by name, with what it is; and "cuda" with the reason and the remedy where no GPU can be used.

    """
    from . import detect

    return {"cpu": detect.processor(), **detect.gpus()}


# ------------------------------------------------------------------------------------------------ the CPU's resources
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
    """Give memory that waits to be used again back to the system, on every device in use."""
    for backend in set(_backends.values()):
        backend.empty_cache()
