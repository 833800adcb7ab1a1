"""A case: what a kernel is called with, and the plain form that it must equal.

The plain forms are NumPy's, the contracts of the CPU's kernels. They run in float64 on the very numbers that the kernel
is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from engine.kernels.cuda import launch
from engine.replay import Word

Rng = np.random.Generator
DTYPES = np.float32, np.float64, np.float16, ml_dtypes.bfloat16
WIDE = np.float32, np.float64  # of what is given 16 bits in 32
HALF_BOUND = 16  # 16 bits are computed in 32, and rounded where they are stored: their own units, whatever is added


@dataclass
class Case:
    """A function of engine.kernels.cuda.<module>, and lists of arguments for it."""

    module: str
    name: str
    plain: Callable[..., Any]
    calls: Callable[[Rng], Iterator[tuple[Any, ...]]]
    bound: float = 8  # units of the dtype's last place, of 1, or of the largest number of a result
    dtypes: tuple[Any, ...] = DTYPES
    wide: tuple[int, ...] = ()  # places of arguments that are kept in what is computed in
    run: Callable[..., Any] | None = None  # what calls it, where it gives no result

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def check(self, rng: Rng, dtypes: tuple[Any, ...] = DTYPES) -> None:
        """Every call in these dtypes."""
        run = self.run or getattr(importlib.import_module(f"engine.kernels.cuda.{self.module}"), self.name)
        for args in self.calls(rng):
            for dtype in [d for d in self.dtypes if d in dtypes]:
                given = [cast(a, launch.wide(dtype) if i in self.wide else dtype) for i, a in enumerate(args)]
                expected = self.plain(*[cast(a, np.float64) for a in given])
                close(run(*given), expected, self.bound, dtype, f"{self} of {dtype.__name__}{shapes(args)}")


def cast(a: Any, dtype: Any) -> Any:
    """Floats in this dtype, read-only; all else as it is."""
    if isinstance(a, tuple):
        return tuple(cast(part, dtype) for part in a)
    if not isinstance(a, np.ndarray):
        return a
    a = a.astype(dtype) if launch.is_float(a.dtype) else a.copy()
    a.flags.writeable = False
    return a


def close(found: Any, expected: Any, bound: float, dtype: Any, what: str) -> None:
    """Equal but for rounding, in shape, too; integers and None exactly."""
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected), what
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            close(a, b, bound, dtype, f"{what}[{i}]")
        return
    if expected is None:
        assert found is None, what
        return
    expected = np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: {found.shape}, not {expected.shape}"
    if expected.dtype.kind != "f":
        assert found.dtype == expected.dtype and (found == expected).all(), what
        return
    assert found.dtype in (dtype, np.float32 if dtype != np.float64 else dtype), f"{what}: {found.dtype}"
    finite = np.isfinite(expected)
    assert (np.isnan(found) == np.isnan(expected)).all(), f"{what}: NaN"
    size = np.abs(expected[finite]).max(initial=0)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(found == expected, 0, np.abs(found.astype(np.float64) - expected))
    worst = np.nanmax(error, initial=0)
    bound = min(bound, HALF_BOUND) if np.dtype(dtype).itemsize == 2 else bound
    assert worst <= bound * ml_dtypes.finfo(dtype).eps * max(size, 1), f"{what}: off by {worst} of {size}"


def shapes(args: Any) -> str:
    return str([a.shape if isinstance(a, np.ndarray) else a for a in args])


def normal(rng: Rng, shape: Any) -> Any:
    return rng.standard_normal(shape)


def replayed(kernel: str, at: int) -> Any:
    """A kernel that is given the stream as in a replayed step: a number of before, and the present one in memory."""

    def run(*args: Any) -> Any:
        stream = Word((args[at] + 1) % 2**63)
        stream.memory = np.array([args[at]], np.uint64)
        function = getattr(importlib.import_module(f"engine.kernels.cuda.{kernel.split('_')[0]}"), kernel)
        return function(*args[:at], stream, *args[at + 1 :])

    return run
