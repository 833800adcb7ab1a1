"""A driver for `engine.kernels.cuda.launch`: NumPy's arrays, and kernels on the shim, every access checked.

A launch copies each array into guarded memory and back. What is read-only on the host kernels may not write; what came
from `xp.empty` and has not met a kernel yet nobody may read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import Function, array, empty, load


class Driver:
    """One schedule. `edit` changes the text of every module, as a mutant's author would."""

    def __init__(self, schedule: int = 0, edit: Callable[[str], str] = lambda source: source) -> None:
        self.schedule, self.edit, self.xp = schedule, edit, Namespace()
        self.launched: set[str] = set()  # names of kernels

    def product(self, a: Any, b: Any) -> Any:
        wide = np.promote_types(a.dtype, np.float32) if a.dtype.kind == "f" else np.float32
        return np.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)  # 16 bits are added up in 32

    def load(self, source: str, options: Sequence[str]) -> Any:
        return _Module(self, load(self.edit(source), options, checked=True))


class Namespace:
    """NumPy, but that `empty` is poisoned."""

    def __init__(self) -> None:
        self.fresh: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = np.float32) -> Any:
        y = np.empty(shape, dtype)
        y.reshape(-1).view(np.uint8).fill(0xFF)
        key = id(y)
        self.fresh[key] = weakref.ref(y, lambda _: self.fresh.pop(key, None))
        return y


class _Module:
    def __init__(self, driver: Driver, module: Any) -> None:
        self._driver, self._module = driver, module

    def get_function(self, name: str) -> Any:
        return _Function(self._driver, self._module.function(name))


class _Function:
    def __init__(self, driver: Driver, function: Function) -> None:
        self._driver, self._function = driver, function
        self._touched: list[int] = []

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0) -> None:
        fresh, copies, passed = self._driver.xp.fresh, [], []
        for a in args:
            if not isinstance(a, np.ndarray) or a.dtype.names:  # a record goes by value
                passed.append(a)
                continue
            root = a
            while isinstance(root.base, np.ndarray):
                root = root.base
            if not a.flags.c_contiguous:  # read where it lies: the kernel knows the steps
                copy = array(root.reshape(-1), root.dtype)
                passed.append(copy.ctypes.data + a.ctypes.data - root.ctypes.data)
                copies.append((root, copy, False))
                continue
            flat = a.reshape(-1)  # an array without axes has an address, too
            new = id(root) in fresh
            copy = empty(flat.shape, a.dtype) if new else array(flat, a.dtype, read_only=not a.flags.writeable)
            passed.append(copy)
            copies.append((a, copy, a.flags.writeable))
            self._touched.append(id(root))
        self._driver.launched.add(self._function.name)
        self._function(grid, block, passed, shared_mem, schedule=self._driver.schedule)
        for a, copy, writeable in copies:
            if writeable:
                a.reshape(-1)[...] = copy
        for key in self._touched:
            fresh.pop(key, None)
        self._touched.clear()
