"""Pooling: one number for each window of an image, channel by channel."""

from __future__ import annotations

from typing import Any

from engine import ops
from engine.tensor import Tensor

from .conv import Pair, channels_last, one_of, pair, window_shape
from .layer import Layer
from .spec import InputSpec


class _Pooling2D(Layer):
    """What the two have in common: the windows."""

    needs = InputSpec("(N,H,W,C)", 4)

    def __init__(
        self,
        pool_size: Pair = (2, 2),
        strides: Pair | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        who = type(self).__name__
        channels_last(who, data_format)
        self.pool_size = pair(who, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair(who, "strides", strides)
        self.padding, self.data_format = one_of(who, "padding", padding, ("valid", "same")), data_format

    def compute_output_shape(self, input_shape: Any) -> Any:
        sides = window_shape(self, input_shape, self.pool_size, self.strides, self.padding)
        return (input_shape[0], *sides, input_shape[3])


class MaxPooling2D(_Pooling2D):
    r"""The largest number in each window: (N, H, W, C) -> (N, H', W', C).

    .. math:: y_{nijc} = \max_{u,v} x_{n,\, s i + u,\, s j + v,\, c}

    strides: the window's own size unless given. Equation E7 of the documents.
    """

    def call(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, window=self.pool_size, stride=self.strides, padding=self.padding)


class AveragePooling2D(_Pooling2D):
    r"""The mean of each window, padding not counted: (N, H, W, C) -> (N, H', W', C).

    .. math:: y_{nijc} = \frac{1}{|W|} \sum_{u,v} x_{n,\, s i + u,\, s j + v,\, c}
    """

    def call(self, x: Tensor) -> Tensor:
        return ops.average_pool2d(x, window=self.pool_size, stride=self.strides, padding=self.padding)


class _GlobalPooling2D(Layer):
    needs = InputSpec("(N,H,W,C)", 4)

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        channels_last(type(self).__name__, data_format)
        self.data_format, self.keepdims = data_format, keepdims

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], 1, 1, input_shape[3]) if self.keepdims else (input_shape[0], input_shape[3])


class GlobalAveragePooling2D(_GlobalPooling2D):
    r"""The mean of each channel over the whole image, y_nc = 1/(HW) Σ_ij x_nijc: (N, H, W, C) -> (N, C)."""

    def call(self, x: Tensor) -> Tensor:
        return ops.global_average_pool2d(x, keepdims=self.keepdims)


class GlobalMaxPooling2D(_GlobalPooling2D):
    r"""The largest number of each channel, y_nc = max_ij x_nijc: (N, H, W, C) -> (N, C)."""

    def call(self, x: Tensor) -> Tensor:
        return ops.global_max_pool2d(x, keepdims=self.keepdims)
