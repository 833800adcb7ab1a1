"""A GPU: CuPy arrays; formulas and structured kernels in CUDA C++, compiled when they are first needed.

Nothing here waits for the device but `to_numpy` and `synchronize`. What is found wrong on the device (an index out of
range) is remembered there, and raised by the next of these two.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .. import replay
from ..errors import DeviceError
from ..formula import Formula
from . import detect, products
from .assign import assign_last
from .graph import CUDAGraph
from .protocol import Array, Graph


class GPU:
    """See `protocol.Backend`."""

    name: str

    def __init__(self, number: int = 0) -> None:
        self._number, self.name = number, f"cuda:{number}"
        try:
            self._cupy = detect.usable()
            there = detect.gpus()
        except DeviceError as problem:
            device = "cuda" if number == 0 else self.name
            raise DeviceError(f"device '{device}' is not available: {problem}; or use device=\"cpu\"") from problem
        if self.name not in there:
            raise DeviceError(f"device '{self.name}' is not available: there are {', '.join(there)}, and \"cpu\"")
        self._device = self._cupy.cuda.Device(number)
        with self._device:
            products.follow(self._cupy)
        from ..kernels.cuda.bounds import Bounds

        self._bounds = Bounds(self)

    @property
    def xp(self) -> Any:
        return self._cupy

    def owns(self, array: object) -> bool:
        return isinstance(array, self._cupy.ndarray) and array.device.id == self._number

    def active(self) -> AbstractContextManager[None]:
        return self._active()

    @contextmanager
    def _active(self) -> Iterator[None]:
        # CuPy's pool has given its free memory back and tried again before it says that there is none
        try:
            with self._device:
                yield
        except self._cupy.cuda.memory.OutOfMemoryError as e:
            with self._device:
                pool = self._cupy.get_default_memory_pool()
                free, all_there = self._cupy.cuda.runtime.memGetInfo()
            raise DeviceError(
                f"{self.name} is out of memory: {' '.join(str(e).split())}. Tensors hold {pool.used_bytes():,} bytes, "
                f"{free:,} of the device's {all_there:,} are free; use smaller batches, or let go of tensors"
            ) from e

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Array:
        if not isinstance(data, self._cupy.ndarray):
            replay.refuse(*replay.HOST_VALUES)
        with self.active():
            if isinstance(data, self._cupy.ndarray) and data.device.id != self._number:
                data = data.copy()  # to the current device
            return self._cupy.asarray(data, dtype=dtype, copy=copy)

    def to_numpy(self, array: Array) -> Any:
        replay.refuse(*replay.READING)
        with self.active():
            values = array.get()
            self._bounds.raise_found()
        return values

    def compile(self, formula: Formula) -> Callable[..., Array]:
        from ..kernels.cuda.elementwise import Elementwise

        return Elementwise(formula, self)

    def compile_sum(self, formula: Formula) -> Callable[..., Array]:
        each, total = self.compile(formula), self.kernel("reduce", "total")
        return lambda *xs, axes, keepdims=False: total(each(*xs), axes, keepdims)

    def compile_update(self, formula: Formula) -> Callable[..., None]:
        from ..kernels.cuda.elementwise import Update

        return Update(formula, self)

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(importlib.import_module(f"engine.kernels.cuda.{module}"), name)
        return found

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        with self.active():
            self.kernel("embedding", "add_at")(target, index, values)

    def assign(self, target: Array, index: Any, values: Array) -> None:
        with self.active():
            assign_last(self.xp, target, index, values)

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Array:
        with self.active():
            return self.kernel("random", "philox_bits")(seed, stream, start, n)

    def check_bounds(self, indices: Array, low: int, high: int, explain: Callable[..., Exception]) -> None:
        with self.active():
            self._bounds.check(indices, low, high, explain)

    def synchronize(self) -> None:
        replay.refuse(*replay.WAITING)
        with self.active():
            self._device.synchronize()
            self._bounds.raise_found()

    def graph(self) -> Graph | None:
        with self.active():
            self._bounds.prepare()
        return CUDAGraph(self._cupy, self._device)

    def empty_cache(self) -> None:
        with self.active():
            self._cupy.get_default_memory_pool().free_all_blocks()
