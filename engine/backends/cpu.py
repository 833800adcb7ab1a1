"""The CPU: NumPy arrays; formulas as SIMD lanes or NumPy; structured kernels in Numba."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import bool_, float32, is_half, promote
from ..formula import Formula
from .protocol import Array


class CPU:
    """See `protocol.Backend`."""

    name = "cpu"

    @property
    def xp(self) -> Any:
        return np

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(data, dtype=dtype, copy=copy)

    def to_numpy(self, array: Array) -> Any:
        return array

    def compile(self, formula: Formula) -> Callable[..., Array]:
        return Elementwise(formula)

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        return _kernel(module, name)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        np.add.at(target, index, values)

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Array:
        return self.kernel("random", "philox_bits")(seed, stream, start, n)

    def synchronize(self) -> None:
        pass


@cache
def _kernel(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"engine.kernels.cpu.{module}"), name)
    return found


class Elementwise:
    """A formula, callable on arrays and weak Python scalars of one computing dtype.

    float32 goes to SIMD lanes where they can be built; other dtypes take NumPy's whole-array operations.
    """

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._numpy: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *xs: Any) -> Array:
        dtypes = [x.dtype for x in xs if isinstance(x, np.ndarray)]
        dtype = dtypes[0] if len(dtypes) == 1 else promote(*[d for d in dtypes if d != bool_] or dtypes)
        if is_half(dtype):  # storage only: compute in float32, round once
            y = self(*(x.astype(float32) if isinstance(x, np.ndarray) and is_half(x.dtype) else x for x in xs))
            return y if y.dtype == bool_ else y.astype(dtype)
        run = self._numpy.get(dtype)
        if run is None:
            run = self._numpy[dtype] = self.formula.numpy(dtype)
        y = run(*xs)
        return y if type(y) is np.ndarray else np.asarray(y)


cpu = CPU()
