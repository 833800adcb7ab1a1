"""What a device must be able to do. Two objects fulfil it: `cpu.py` (NumPy + Numba) and `gpu.py` (CuPy)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..formula import Formula

SMALL = 1 << 14  # elements: of fewer, the Python around a kernel is what takes the time
Array = Any  # numpy.ndarray or cupy.ndarray: whatever the namespace xp makes


class Graph(Protocol):
    """Work that is recorded once, and launched as often as wanted."""

    def record(self) -> AbstractContextManager[None]:
        """Inside, work given to the device is written down and not done. An error leaves the graph empty."""
        ...

    def made(self, array: Array) -> bool:
        """Was this array's memory allocated by the recorded work? Then it stays for as long as the graph."""
        ...

    def launch(self) -> None:
        """Do the work, on the same memory; it does not wait."""
        ...


class Backend(Protocol):
    """One device's arrays and kernels. Arrays in and out are that device's own; only the first three methods
    convert.
    """

    name: str  # "cpu", "cuda:0"

    @property
    def xp(self) -> Any:
        """The array namespace: numpy or cupy."""
        ...

    def owns(self, array: object) -> bool:
        """Is this one of this device's arrays?"""
        ...

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Array:
        """Data from anywhere as this device's array, in C order unless it is one already."""
        ...

    def to_numpy(self, array: Array) -> Any:
        """A NumPy array with these values; waits for the device."""
        ...

    def compile(self, formula: Formula) -> Callable[..., Array]:
        """An elementwise kernel of a formula: arrays and Python scalars in (they broadcast), one new array out."""
        ...

    def compile_sum(self, formula: Formula) -> Callable[..., Array]:
        """`total(*inputs, axes=, keepdims=False)`: the sum of a formula over axes of the shape that its inputs
        broadcast to. A sum of truth values is a count, in int64.
        """
        ...

    def compile_update(self, formula: Formula) -> Callable[..., None]:
        """`update(*inputs, out=arrays)`: each result of a formula, written over an array (that may be an input)."""
        ...

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        """The function `name` of kernels/<device>/<module>.py."""
        ...

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """target[index] += values, where equal indices add up (in a fixed order)."""
        ...

    def assign(self, target: Array, index: Any, values: Array) -> None:
        """target[index] = values; where indices are equal, the last value stays."""
        ...

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Array:
        """n uint32 of Philox-4x32-10, the elements start .. start + n of (seed, stream): equal on every device."""
        ...

    def check_bounds(self, indices: Array, low: int, high: int, explain: Callable[..., Exception]) -> None:
        """Raise explain(place, index) of an index that is not low <= index < high; a GPU does so at the next read."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """Inside, this is the device that arrays are made on; what memory is too small for raises DeviceError."""
        ...

    def synchronize(self) -> None:
        """Return when all work given to the device is done; raise what it found wrong."""
        ...

    def graph(self) -> Graph | None:
        """A recording of work, still empty; None where work is not launched but done, on the CPU."""
        ...

    def empty_cache(self) -> None:
        """Give memory that waits to be used again back to the system."""
        ...
