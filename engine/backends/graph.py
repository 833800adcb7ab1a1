"""A CUDA graph: work that CuPy's stream records instead of doing it, to be launched again as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ChainRuleError, DeviceError


def explain(problem: BaseException) -> None:
    """Raise DeviceError for what the device, not we, refused to record."""
    if "captur" in str(problem) and not isinstance(problem, ChainRuleError):  # CUDA's words, or CuPy's
        raise DeviceError(
            f"capture: the step does what can't be recorded ({problem}); "
            "it may only launch work: move what waits, or copies from the host, out of it"
        ) from problem


class CUDAGraph:
    """See `protocol.Graph`.

    What the work allocates comes from a pool of its own, that lives as long as the graph: nobody else is given this
    memory, so each launch finds it at the same addresses.
    """

    def __init__(self, cupy: Any, device: Any) -> None:
        self._cupy, self._device = cupy, device
        with device:
            self._stream, self._pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
            cupy.get_default_memory_pool().free_all_blocks()  # what the plain steps used; this pool needs as much
        self._graph: Any = None
        self._own: set[int] = set()  # addresses that the pool has given out

    @contextmanager
    def record(self) -> Iterator[None]:
        cuda = self._cupy.cuda
        with self._device, self._stream, cuda.using_allocator(self._allocate):
            self._stream.begin_capture()
            try:
                yield
            except BaseException as problem:
                self._drop()
                explain(problem)
                raise
            self._graph = self._stream.end_capture()

    def _allocate(self, size: int) -> Any:
        memory = self._pool.malloc(size)
        self._own.add(memory.ptr)
        return memory

    def made(self, array: Any) -> bool:
        return array.data.mem.ptr in self._own

    def _drop(self) -> None:
        with suppress(self._cupy.cuda.runtime.CUDARuntimeError):  # what was forbidden has ended it already
            self._stream.end_capture()

    def launch(self) -> None:
        with self._device:
            self._graph.launch(self._cupy.cuda.get_current_stream())
