"""Elementwise ops of one and of two inputs: nearly all calls there are, hence the shortest way.

The steps are those of `ElementwiseOp.__call__`, unrolled, for what is usual: arrays of one dtype on the CPU, and
numbers. On eight elements the Python around a kernel is the time, so the kernel's machine code is called directly.
Whatever is not as usual, and every first call, goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd import RECORDING, Node, modes
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
                run, now = self._ready.get(a.dtype), modes().value
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

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        pulls = self._pulls
        if pulls is not None and type(g) is ndarray and g.size < SMALL and g.ndim and node.params is self.params:
            pull = pulls[0]
            if pull is not None and not create_graph:
                run = pull.ready.get(g.dtype)
                if run is not None:
                    return (pull.short(run, g, node.arrays[0], node.y),)
        return super().pull(node, g, create_graph)


class BinaryOp(ElementwiseOp):
    """y = f(x1, x2)."""

    def __call__(self, x1: Any = MISSING, x2: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        if not rest and not params:
            a, a_wanted, b, b_wanted = x1, False, x2, False
            if isinstance(x1, Tensor):
                a, a_wanted = x1.data, x1.requires_grad
            if isinstance(x2, Tensor):
                b, b_wanted = x2.data, x2.requires_grad
            if both := type(a) is ndarray and type(b) is ndarray:
                dtype = a.dtype if a.dtype is b.dtype else None
                small = a.size < SMALL and b.size < SMALL
            else:
                dtype, small = _beside_a_number(a, b)
            run, now = self._ready.get(dtype), modes().value
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
                (a_kept, b_kept), metas, shape = self.keep, None, y.shape
                if not (both and shape == a.shape == b.shape):
                    metas = meta(a), meta(b)
                    a_kept, b_kept = a_kept or type(a) is not ndarray, b_kept or type(b) is not ndarray  # a number
                saved, y_saved = (a if a_kept else None, b if b_kept else None), y if self.keep_y else None
                node = Node(self, parents, saved, metas, self.params, y_saved, None, shape, y.dtype)
                return Tensor(y, True, node)
        return super().__call__(*[v for v in (x1, x2) if v is not MISSING], *rest, **params)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        pulls = self._pulls
        if pulls is not None and type(g) is ndarray and g.size < SMALL and g.ndim and node.params is self.params:
            (pull_1, pull_2), (parent_1, parent_2), (a, b), dtype = pulls, node.parents, node.arrays, g.dtype
            run_1 = nothing if parent_1 is None or pull_1 is None else pull_1.ready.get(dtype)
            run_2 = nothing if parent_2 is None or pull_2 is None else pull_2.ready.get(dtype)
            if run_1 is not None and run_2 is not None and not create_graph:
                return (
                    None if run_1 is nothing else pull_1.short(run_1, g, a, b, node.y),  # type: ignore[union-attr]
                    None if run_2 is nothing else pull_2.short(run_2, g, a, b, node.y),  # type: ignore[union-attr]
                )
        return super().pull(node, g, create_graph)


def nothing(*_: Any) -> None:
    """The cotangent that nobody wants."""


def _beside_a_number(a: Any, b: Any) -> tuple[Any, bool]:
    """float32 where one is an array of that and the other a Python number, else None; and is the array small?"""
    array, number = (a, b) if type(a) is ndarray else (b, a)
    if type(array) is not ndarray or type(number) not in NUMBERS:
        return None, True
    return float32 if array.dtype is float32 else None, array.size < SMALL


NUMBERS = (float, int)
