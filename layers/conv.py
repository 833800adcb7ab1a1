"""Convolution of images, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine import ops
from engine.errors import ArgumentError, ShapeError
from engine.ops.window import window
from engine.parameter import Parameter
from engine.tensor import Tensor

from . import activations, initializers, regularizers
from .dense import positive
from .layer import Layer
from .spec import InputSpec, known

Pair = int | Sequence[int]


class Conv2D(Layer):
    r"""Learnt filters W slide over images: (N, H, W, C) -> (N, H', W', filters).

    .. math:: y_{nijf} = f\Bigl(\sum_{u,v,c} x_{n,\, s i + u,\, s j + v,\, c} W_{uvcf} + b_f\Bigr)

    strides s; padding "valid": H' = ⌊(H - kh) / s⌋ + 1, or "same": H' = ⌈H / s⌉; dilation_rate: the distance between
    taps; groups: channels and filters in so many groups that do not see each other. Words and defaults are Keras 3's.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Pair = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        channels_last("Conv2D", data_format)
        self.filters, self.groups = positive("Conv2D", "filters", filters), positive("Conv2D", "groups", groups)
        self.kernel_size = pair("Conv2D", "kernel_size", kernel_size)
        self.strides = pair("Conv2D", "strides", strides)
        self.dilation_rate = pair("Conv2D", "dilation_rate", dilation_rate)
        self.padding, self.data_format = one_of("Conv2D", "padding", padding, ("valid", "same")), data_format
        self.activation, self.use_bias = activations.get(activation), use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.needs = InputSpec("(N,H,W,C)", 4)
        self.kernel = self.add_weight(None, self.kernel_initializer, regularizer=self.kernel_regularizer)
        self.bias: Parameter | None = None
        if use_bias:
            self.bias = self.add_weight((filters,), self.bias_initializer, regularizer=self.bias_regularizer)

    def build(self, input_shape: Any) -> None:
        C = known(self, "the number of channels", input_shape[-1])
        if C % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"{self.title}: groups={self.groups} must divide the {C} channels of the input and the "
                f"{self.filters} filters"
            )
        self.kernel.declare((*self.kernel_size, C // self.groups, self.filters))
        self.needs.channels = C

    def call(self, x: Tensor, activation: Any = None, pooling: Any = None) -> Tensor:
        """`activation` and `pooling` (keywords of `conv2d_bias_relu_max_pool`) are those of the layers behind this one,
        where a model has found that one kernel does them all.
        """
        activation = activation or self.activation
        how = {
            "stride": self.strides,
            "padding": self.padding,
            "dilation": self.dilation_rate,
            "groups": self.groups,
        }
        if pooling is not None:
            return ops.conv2d_bias_relu_max_pool(x, self.kernel, self.bias, **how, **pooling)
        if self.bias is None:
            z = ops.conv2d(x, self.kernel, **how)  # (N,H,W,C) * (kh,kw,C,F) -> (N,H',W',F)
        elif activation is ops.relu:
            return ops.conv2d_bias_relu(x, self.kernel, self.bias, **how)  # one kernel
        else:
            z = ops.conv2d_bias(x, self.kernel, self.bias, **how)
        return z if activation is None else activation(z)

    def compute_output_shape(self, input_shape: Any) -> Any:
        sides = window_shape(self, input_shape, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return (input_shape[0], *sides, self.filters)


def window_shape(layer: Layer, shape: Any, size: Any, stride: Any, padding: str, dilation: Any = 1) -> list[int | None]:
    """(H', W') of windows on an image (N,H,W,C), None where H or W is not known."""
    image = [10**6 if n is None else n for n in shape[1:3]]
    at = window(layer.title, image, size, stride, padding, dilation)
    return [None if n is None else m for n, m in zip(shape[1:3], at.out, strict=True)]


def pair(who: str, what: str, value: Any) -> tuple[int, int]:
    """One number for both axes, or two."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2:
        raise ArgumentError(f"{who}: {what} is a number or a pair (height, width), got {value!r}")
    return positive(who, what, both[0]), positive(who, what, both[1])


def one_of(who: str, what: str, word: Any, words: Sequence[str]) -> str:
    if not isinstance(word, str) or word.lower() not in words:
        raise ArgumentError(f"{who}: {what} is one of {', '.join(words)}, got {word!r}")
    return word.lower()


def channels_last(who: str, data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ArgumentError(
            f"{who}: images are channels-last, (N,H,W,C), got data_format='{data_format}'; "
            "transpose the data once, x.transpose(0, 2, 3, 1)"
        )
