"""Elementwise ops of one and of two inputs: nearly all calls there are, hence the shortest way.

The steps are those of `ElementwiseOp.__call__`, unrolled. On eight elements the Python around a kernel is the time, so
the kernel's machine code looks at the inputs itself (`short`, see `backends.cpu.Elementwise`): arrays on the CPU, of
float32 or the dtype met first, and Python numbers beside float32. Whatever is not so, and every first call, goes the
general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd import RECORDING, Node, modes
from .elementwise import ElementwiseOp
from .record import meta
from .tensor import Tensor

ndarray = np.ndarray
MISSING = object()


class UnaryOp(ElementwiseOp):
    """y = f(x)."""

    def __call__(self, x: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        if isinstance(x, Tensor) and not rest and not params:
            now, a = modes().value, x.data
            y = self._kernel.short(a) if now <= RECORDING else NotImplemented
            if y is NotImplemented:
                return self._unusual((x,), (a,), self.params)
            if not (now and x.requires_grad and self.differentiable):
                return Tensor(y)
            saved, y_saved = (a if self.keep[0] else None,), y if self.keep_y else None
            node = Node(self, (x.node or x,), saved, None, self.params, y_saved, None, y.shape, y.dtype)
            return Tensor(y, True, node)
        return super().__call__(*(() if x is MISSING else (x,)), *rest, **params)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        pulls = self._pulls
        if pulls is not None and not create_graph and node.params is self.params:
            pull = pulls[0]
            if pull is not None:
                x_bar = pull.kernel.short(g, node.arrays[0], node.y)
                if x_bar is not NotImplemented:
                    return (x_bar,)
        return super().pull(node, g, create_graph)


class BinaryOp(ElementwiseOp):
    """y = f(x1, x2)."""

    def __call__(self, x1: Any = MISSING, x2: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        if x2 is not MISSING and not rest and not params:
            a, a_wanted, b, b_wanted = x1, False, x2, False
            if isinstance(x1, Tensor):
                a, a_wanted = x1.data, x1.requires_grad
            if isinstance(x2, Tensor):
                b, b_wanted = x2.data, x2.requires_grad
            now = modes().value
            try:
                y = self._kernel.short(a, b) if now <= RECORDING else NotImplemented
            except ValueError:  # shapes that don't broadcast: to be explained with care
                y = NotImplemented
            if y is NotImplemented:
                return self._unusual((x1, x2), (a, b), self.params)
            if not (now and (a_wanted or b_wanted) and self.differentiable):
                return Tensor(y)
            parents = (x1.node or x1) if a_wanted else None, (x2.node or x2) if b_wanted else None
            (a_kept, b_kept), metas, shape = self.keep, None, y.shape
            if not (type(a) is type(b) is ndarray and shape == a.shape == b.shape):
                metas = meta(a), meta(b)
                a_kept, b_kept = a_kept or type(a) is not ndarray, b_kept or type(b) is not ndarray  # a number
            saved, y_saved = (a if a_kept else None, b if b_kept else None), y if self.keep_y else None
            node = Node(self, parents, saved, metas, self.params, y_saved, None, shape, y.dtype)
            return Tensor(y, True, node)
        return super().__call__(*[v for v in (x1, x2) if v is not MISSING], *rest, **params)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        pulls = self._pulls
        if pulls is not None and not create_graph and node.params is self.params:
            (pull_1, pull_2), (parent_1, parent_2), (a, b), y = pulls, node.parents, node.arrays, node.y
            x1_bar = None if parent_1 is None or pull_1 is None else pull_1.kernel.short(g, a, b, y)
            x2_bar = None if parent_2 is None or pull_2 is None else pull_2.kernel.short(g, a, b, y)
            if x1_bar is not NotImplemented and x2_bar is not NotImplemented:
                return x1_bar, x2_bar
        return super().pull(node, g, create_graph)
