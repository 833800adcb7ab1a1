"""Elementwise ops of one and of two inputs: nearly all calls there are, hence the shortest way.

The steps are those of `ElementwiseOp.__call__`, unrolled, for what is usual: arrays of one dtype on the CPU, and
numbers. On eight elements the Python around a kernel is the time, so the kernel's machine code is called directly.
Whatever is not as usual, and every first call, goes the general way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .autograd import RECORDING, Node, mode
from .backends.protocol import SMALL
from .dtypes import float32
from .elementwise import ElementwiseOp
from .record import meta
from .tensor import Tensor

ndarray = np.ndarray
MISSING = object()


class UnaryOp(ElementwiseOp):
    """y = f(x)."""

    def __call__(self, x: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        if isinstance(x, Tensor) and not rest and not params:
            a = x.data
            if type(a) is ndarray:
                run, now = self._ready.get(a.dtype), mode()
                if run is not None and now <= RECORDING:
                    y = run(a) if a.size < SMALL else self._large(run, (a,))
                    if type(y) is not ndarray:
                        y = np.asarray(y)
                    if not (now and x.requires_grad and self.differentiable):
                        return Tensor(y)
                    saved, y_saved = (a if self.keep[0] else None,), y if self.keep_y else None
                    node = Node(self, (x.node or x,), saved, None, self.params, y_saved, None, y.shape, y.dtype)
                    return Tensor(y, True, node)
        return super().__call__(*(() if x is MISSING else (x,)), *rest, **params)


class BinaryOp(ElementwiseOp):
    """y = f(x1, x2)."""

    def __call__(self, x1: Any = MISSING, x2: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        if not rest and not params:
            a, a_wanted = (x1.data, x1.requires_grad) if isinstance(x1, Tensor) else (x1, False)
            b, b_wanted = (x2.data, x2.requires_grad) if isinstance(x2, Tensor) else (x2, False)
            dtype, small = _common(a, b)
            run, now = self._ready.get(dtype), mode()
            if run is not None and now <= RECORDING:
                try:
                    y = run(a, b) if small else self._large(run, (a, b))
                except (ValueError, OverflowError):  # shapes that don't broadcast: to be explained with care
                    return super().__call__(x1, x2)
                if type(y) is not ndarray:
                    y = np.asarray(y)
                if not (now and (a_wanted or b_wanted) and self.differentiable):
                    return Tensor(y)
                parents = (x1.node or x1) if a_wanted else None, (x2.node or x2) if b_wanted else None
                alike = type(a) is ndarray and type(b) is ndarray and a.shape == b.shape
                metas = None if alike else (meta(a), meta(b))
                a_kept, b_kept = self.keep
                saved, y_saved = (a if a_kept else None, b if b_kept else None), y if self.keep_y else None
                node = Node(self, parents, saved, metas, self.params, y_saved, None, y.shape, y.dtype)
                return Tensor(y, True, node)
        return super().__call__(*[v for v in (x1, x2) if v is not MISSING], *rest, **params)


def _common(a: Any, b: Any) -> tuple[Any, bool]:
    """The one dtype of two arrays, or of a float32 array and a Python number, else None; and are they small?"""
    if type(a) is ndarray:
        if type(b) is ndarray:
            return a.dtype if a.dtype is b.dtype else None, a.size < SMALL and b.size < SMALL
        return float32 if a.dtype is float32 and type(b) in NUMBERS else None, a.size < SMALL
    if type(b) is ndarray:
        return float32 if b.dtype is float32 and type(a) in NUMBERS else None, b.size < SMALL
    return None, True


NUMBERS = (float, int)
