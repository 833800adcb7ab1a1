"""Elementwise ops of one and of two inputs: nearly all calls there are, hence the shortest way.

The steps are those of `ElementwiseOp`, unrolled, for what is usual: small float32 arrays on the CPU, and numbers. On
eight elements the Python around a kernel is the time, so the kernel's machine code is called directly. Whatever is not
as usual, and every first call, goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
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
NO_PARAMS: dict[str, Any] = {}  # of a node that came the short way


def none(*_: Any) -> None:
    """The cotangent that nobody wants."""


class UnaryOp(ElementwiseOp):
    """y = f(x)."""

    def __call__(self, x: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        run, now = self._kernel.direct, mode()
        if run is not None and self.plain and isinstance(x, Tensor) and now <= RECORDING and not rest and not params:
            a = x.data
            if type(a) is ndarray and a.dtype is float32 and a.size < SMALL and a.ndim:
                y = run(a)
                if not (now and x.requires_grad and self.differentiable):
                    return Tensor(y)
                saved, y_saved = (a if self.keep[0] else None,), y if self.keep_y else None
                node = Node(self, (x.node or x,), saved, None, NO_PARAMS, y_saved, None, y.shape, float32)
                return Tensor(y, True, node)
        return super().__call__(*(() if x is MISSING else (x,)), *rest, **params)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        if node.params is NO_PARAMS and not create_graph and g.dtype is float32 and "cpu" in self._pulls:
            pull = self._pulls["cpu"][0]
            if pull is None:
                return (None,)
            run = pull.kernel.direct
            if run is not None:
                return (pull.short(run, g, node.arrays[0], node.y),)
        return super().pull(node, g, create_graph)


class BinaryOp(ElementwiseOp):
    """y = f(x1, x2)."""

    def __call__(self, x1: Any = MISSING, x2: Any = MISSING, /, *rest: Any, **params: Any) -> Tensor:
        run, now = self._kernel.direct, mode()
        if run is not None and self.plain and now <= RECORDING and not rest and not params:
            a, a_wanted = (x1.data, x1.requires_grad) if isinstance(x1, Tensor) else (x1, False)
            b, b_wanted = (x2.data, x2.requires_grad) if isinstance(x2, Tensor) else (x2, False)
            if (
                (type(a) is ndarray and a.dtype is float32 and a.size < SMALL and a.ndim)
                and (type(b) is float or (type(b) is ndarray and b.dtype is float32 and b.size < SMALL))
            ) or (type(a) is float and type(b) is ndarray and b.dtype is float32 and b.size < SMALL and b.ndim):
                try:
                    y = run(a, b)
                except ValueError:  # shapes that don't broadcast: to be explained with care
                    return super().__call__(x1, x2)
                if not (now and (a_wanted or b_wanted) and self.differentiable):
                    return Tensor(y)
                parents = (x1.node or x1) if a_wanted else None, (x2.node or x2) if b_wanted else None
                alike = isinstance(a, ndarray) and isinstance(b, ndarray) and a.shape == b.shape
                metas = None if alike else (meta(a), meta(b))
                a_kept, b_kept = self.keep
                saved, y_saved = (a if a_kept else None, b if b_kept else None), y if self.keep_y else None
                node = Node(self, parents, saved, metas, NO_PARAMS, y_saved, None, y.shape, float32)
                return Tensor(y, True, node)
        return super().__call__(*[v for v in (x1, x2) if v is not MISSING], *rest, **params)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        if node.params is NO_PARAMS and not create_graph and g.dtype is float32 and "cpu" in self._pulls:
            (pull_1, pull_2), (parent_1, parent_2), (a, b) = self._pulls["cpu"], node.parents, node.arrays
            run_1 = none if parent_1 is None or pull_1 is None else pull_1.kernel.direct
            run_2 = none if parent_2 is None or pull_2 is None else pull_2.kernel.direct
            if run_1 is not None and run_2 is not None:
                return (
                    None if run_1 is none else pull_1.short(run_1, g, a, b, node.y),  # type: ignore[union-attr]
                    None if run_2 is none else pull_2.short(run_2, g, a, b, node.y),  # type: ignore[union-attr]
                )
        return super().pull(node, g, create_graph)
