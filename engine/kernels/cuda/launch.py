"""From the text of a kernel to a kernel that runs: one place for sources, compilers, grids and arguments.

    run("softmax", "softmax_rows", x.dtype, rows(count, n), x, y, count, n, 1)

A module's text is `<module>.cu` behind `common.cuh`, which is read with two type names: T, what arrays hold, and A,
what is computed in (float for 16 bits). So each kernel exists once, and is compiled for the dtypes that are met.

    x, y (arrays)         their address: C-contiguous, of the kernel's type
    None                  a null pointer
    int, bool             Int (64 bits)
    float                 A
    NumPy scalars         themselves; a record of them: a struct, by value
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

HERE = Path(__file__).parent
OPTIONS = ("-std=c++17",)
HALVES = {"float16": ("cuda_fp16.h", "__half", "__half2float", "__float2half_rn"),
          "bfloat16": ("cuda_bf16.h", "__nv_bfloat16", "__bfloat162float", "__float2bfloat16_rn")}  # fmt: skip
FLOATS = ("float32", "float64", *HALVES)
C = {"float32": "float", "float64": "double", "int64": "long long"}

Array = Any
Grid = tuple[tuple[int, ...], tuple[int, ...]]


# --- compilers -------------------------------------------------------------------------------------------------------


class Driver(Protocol):
    """Arrays, and what makes kernels of text: CuPy; in tests, something that behaves like it."""

    @property
    def xp(self) -> Any:
        """The array namespace."""
        ...

    def product(self, a: Any, b: Any) -> Any:
        """(..,M,K) @ (..,K,N), where the first axes broadcast."""
        ...

    def load(self, source: str, options: Sequence[str]) -> Any:
        """A module: `module.get_function(name)(grid, block, args)` launches a kernel of it."""
        ...


class CuPy:
    """The driver of real devices. Modules are compiled at their first launch, per device, and cached on disk."""

    @property
    def xp(self) -> Any:
        import cupy

        return cupy

    def product(self, a: Any, b: Any) -> Any:
        from .cublas import product

        return product(a, b)

    def load(self, source: str, options: Sequence[str]) -> Any:
        return self.xp.RawModule(code=source, options=tuple(options))


_driver: Any = CuPy()  # a Driver


def xp() -> Any:
    """The array namespace that kernels' arrays belong to."""
    return _driver.xp


def product(a: Array, b: Array) -> Array:
    """(..,M,K) @ (..,K,N) -> (..,M,N): floats of one dtype; 16 bits are added up in 32."""
    return _driver.product(a, b)


@contextlib.contextmanager
def using(driver: Driver) -> Iterator[None]:
    """Kernels run by another driver."""
    global _driver
    before, _driver = _driver, driver
    try:
        yield
    finally:
        _driver = before


# --- texts -----------------------------------------------------------------------------------------------------------


def modules() -> list[str]:
    """The modules that have kernels."""
    return sorted(path.stem for path in HERE.glob("*.cu"))


@functools.cache
def dtypes(module: str) -> tuple[str, ...]:
    """What a module is compiled for: the first line of its text says it, where that is not all floats."""
    named = re.match(r"// (?:for|For) ([\w, ]+) only", _text(f"{module}.cu"))
    return tuple(named.group(1).split(", ")) if named else FLOATS


@functools.cache
def source(module: str, dtype: str) -> str:
    """The whole text of a module for one dtype."""
    included = re.sub(r'#include "(\w+\.cuh)"\n', lambda match: _text(match.group(1)), _text(f"{module}.cu"))
    return f'{_types(dtype)}\n{_text("common.cuh")}\n#line 1 "{module}.cu"\n{included}'


def _types(dtype: str) -> str:
    """T, A, and the way between them."""
    if dtype not in HALVES:
        return f"typedef {C[dtype]} T, A;\n#define TO_A(x) (x)\n#define TO_T(x) (x)"
    header, name, widen, narrow = HALVES[dtype]
    types = f"#include <{header}>\ntypedef {name} T;\ntypedef float A;"
    return f"{types}\n#define TO_A(x) {widen}(x)\n#define TO_T(x) {narrow}(x)"


@functools.cache
def _text(name: str) -> str:
    return (HERE / name).read_text()


# --- launches --------------------------------------------------------------------------------------------------------

WARP, BLOCK, ROWS = 32, 256, 8
LONG = 1024  # numbers of a row that is worth a block of its own
MOST_BLOCKS = 1 << 16  # of elements: threads then take several


def elements(n: int) -> Grid:
    """A thread for each of n elements, or for every so many."""
    return (min(-(-n // BLOCK), MOST_BLOCKS),), (BLOCK,)


def rows(count: int, n: int) -> Grid:
    """A warp for each of `count` rows of n numbers, eight of them in a block; where rows are long, a block for each."""
    return ((count,), (BLOCK, 1)) if n > LONG else ((-(-count // ROWS),), (WARP, ROWS))


def columns(width: int, parts: int) -> Grid:
    """For each of `parts` stretches of rows, one after the other: 32 columns side by side, 8 of the rows at a time."""
    return (-(-width // WARP) * parts,), (WARP, ROWS)


def run(module: str, kernel: str, dtype: Any, grid: Grid, *args: Any) -> None:
    """Launch a kernel on the current device and stream. A grid without blocks is nothing to do."""
    if 0 in grid[0]:
        return
    name = np.dtype(dtype).name
    real = np.float64 if name == "float64" else np.float32
    _kernel(_driver, module, kernel, name)(*grid, tuple([_argument(a, real) for a in args]))


def place_of_mask(seed: int, stream: int) -> tuple[Any, Any, Array | None]:
    """What a kernel that makes a mask takes: two words, and where the second one lies in a replayed step."""
    return np.uint64(seed), np.uint64(stream), getattr(stream, "memory", None)


def wide(dtype: Any) -> Any:
    """The dtype of A: what statistics and partial sums are kept in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def is_float(dtype: Any) -> bool:
    """Have kernels been written for it?"""
    return np.dtype(dtype).name in FLOATS


@functools.cache
def _module(driver: Any, module: str, dtype: str) -> Any:
    return driver.load(source(module, dtype), OPTIONS)


@functools.cache
def _kernel(driver: Any, module: str, kernel: str, dtype: str) -> Any:
    return _module(driver, module, dtype).get_function(kernel)


def _argument(a: Any, real: Any) -> Any:
    if isinstance(a, bool | int):
        return np.int64(a)
    return real(a) if isinstance(a, float) and not isinstance(a, np.floating) else a
