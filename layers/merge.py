"""Layers of several inputs, given as one list: Add()([a, b]).

Masks meet as in Keras: a step of the result is real where it is real in any input. An input without a mask is real
throughout, so Add and its like then give none, and Concatenate of features one that is True everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from engine import ones, ops
from engine.errors import ShapeError
from engine.shapes import normalize_axis
from engine.tensor import Tensor

from .layer import Layer
from .masks import mask_of
from .spec import words


class _Merge(Layer):
    """Elementwise, two at a time from the left; shapes broadcast."""

    supports_masking = True
    pairwise: ClassVar[Callable[[Tensor, Tensor], Tensor]]
    least = 2

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        self._check([x.shape for x in self._several(inputs)])
        return functools.reduce(type(self).pairwise, inputs)

    def mask_for(self, inputs: Sequence[Tensor]) -> Tensor | None:
        masks = [mask_of(x) for x in inputs]
        return None if any(m is None for m in masks) else functools.reduce(ops.logical_or, masks)

    def compute_output_shape(self, input_shapes: Any) -> Any:
        shapes = [tuple(s) for s in self._several(input_shapes)]
        self._check(shapes)
        return functools.reduce(_broadcast, shapes)

    def _several(self, inputs: Any) -> Any:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < self.least or not hasattr(inputs[0], "__len__"):
            call = f"{type(self).__name__}()([a, b])"
            raise ShapeError(f"{self.title}: takes one list of {self.least} inputs or more, {call}")
        return inputs

    def _check(self, shapes: Sequence[Any]) -> None:
        rank = max(map(len, shapes))
        for axis in range(1, rank + 1):
            lengths = {s[-axis] for s in shapes if len(s) >= axis and s[-axis] is not None} - {1}
            if len(lengths) > 1:
                raise ShapeError(
                    f"{self.title}: the shapes {', '.join(map(words, shapes))} do not fit: axis {-axis} has the "
                    f"lengths {sorted(lengths)}; they must be equal, or 1"
                )


class Add(_Merge):
    """y = a + b + ..."""

    pairwise = staticmethod(lambda a, b: a + b)


class Subtract(_Merge):
    """y = a - b."""

    pairwise = staticmethod(lambda a, b: a - b)


class Multiply(_Merge):
    """y = a b ..."""

    pairwise = staticmethod(lambda a, b: a * b)


class Maximum(_Merge):
    """y = max(a, b, ...)"""

    pairwise = staticmethod(lambda a, b: ops.maximum(a, b))


class Minimum(_Merge):
    """y = min(a, b, ...)"""

    pairwise = staticmethod(lambda a, b: ops.minimum(a, b))


class Average(_Merge):
    """y = (a + b + ...) / n"""

    pairwise = staticmethod(lambda a, b: a + b)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        return super().call(inputs) / len(inputs)


class Concatenate(_Merge):
    """One after the other along `axis`, all other sides equal: (N, ..., D1), (N, ..., D2) -> (N, ..., D1 + D2)."""

    least = 1

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        self.compute_output_shape([x.shape for x in inputs])
        return ops.concat(list(inputs), axis=self.axis)

    def mask_for(self, inputs: Sequence[Tensor]) -> Tensor | None:
        masks = [mask_of(x) for x in inputs]
        if all(m is None for m in masks):
            return None
        axis = normalize_axis(self.title, self.axis, inputs[0].ndim)
        real = [
            ones(x.shape[:2], dtype="bool", device=x.device) if mask is None else mask
            for x, mask in zip(inputs, masks, strict=True)
        ]  # (N,T) each
        return ops.concat(real, axis=axis) if axis < 2 else functools.reduce(ops.logical_or, real)

    def compute_output_shape(self, input_shapes: Any) -> Any:
        shapes = [list(s) for s in self._several(input_shapes)]
        axis = normalize_axis(self.title, self.axis, len(shapes[0]))
        others = [s[:axis] + s[axis + 1 :] for s in shapes]
        if not all(_compatible(rest, others[0]) for rest in others):
            raise ShapeError(
                f"{self.title}: the shapes {', '.join(map(words, shapes))} can't be joined along axis {self.axis}: "
                "all other sides must be equal"
            )
        along = [s[axis] for s in shapes]
        return (*shapes[0][:axis], None if None in along else sum(along), *shapes[0][axis + 1 :])


def _compatible(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(m is None or n is None or m == n for m, n in zip(a, b, strict=True))


def _broadcast(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...]:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))
