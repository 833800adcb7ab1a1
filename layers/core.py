"""Layers without parameters: inputs, activations, shapes; and any op of the engine as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import ops
from engine.errors import ArgumentError, ShapeError
from engine.op import OPS
from engine.shapes import prod
from engine.tensor import Tensor

from . import activations
from .layer import Layer
from .spec import InputSpec, words
from .symbolic import Call, SymbolicTensor


# ------------------------------------------------------------------------------------------------ inputs
class InputLayer(Layer):
    """Where data comes in: passes on what it gets, after a look at its shape."""

    def __init__(
        self, shape: Sequence[int | None] | None = None, batch_size: int | None = None, **options: Any
    ) -> None:
        if shape is not None:
            options["batch_input_shape"] = (batch_size, *shape)
        super().__init__(**options)
        if self.batch_input_shape is None:
            raise ArgumentError("InputLayer: needs the shape of one sample, Input((28, 28, 1))")
        self.shape, self.batch_size = self.batch_input_shape[1:], self.batch_input_shape[0]
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        wanted = self.shape
        if x.ndim != len(wanted) + 1 or any(m not in (None, n) for m, n in zip(wanted, x.shape[1:], strict=True)):
            raise ShapeError(f"{self.title}: expected {words((None, *wanted))}, got {x.shape}; None is any length")
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = super().get_config()
        own.pop("batch_input_shape", None)
        return own


def Input(
    shape: Sequence[int | None], batch_size: int | None = None, dtype: Any = None, name: str | None = None
) -> SymbolicTensor:
    """A symbolic tensor (batch, *shape): where a functional model begins. `shape` is that of one sample."""
    layer = InputLayer(shape, batch_size, name=name or "input", dtype=dtype)
    return SymbolicTensor((batch_size, *shape), layer.dtype, layer, (), 0, Call(layer, (), {}))


# ------------------------------------------------------------------------------------------------ activations
class Activation(Layer):
    """y = f(x): any shape. `activation` is a name or a function."""

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x: Tensor) -> Tensor:
        return x if self.activation is None else self.activation(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class ReLU(Layer):
    r"""y = max(0, x): any shape. Below `threshold` y = negative_slope (x - threshold); above, at most `max_value`."""

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, x: Tensor) -> Tensor:
        if self.threshold == self.negative_slope == 0.0:
            y = ops.relu(x)
        else:
            y = ops.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return y if self.max_value is None else ops.minimum(y, self.max_value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class LeakyReLU(Layer):
    r"""y = x for x > 0, else negative_slope x. The slope's default is Keras', 0.3."""

    supports_masking = True

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = negative_slope

    def call(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, negative_slope=self.negative_slope)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class Softmax(Layer):
    r"""y_i = exp(x_i) / Σ_j exp(x_j) along `axis`: any shape."""

    supports_masking = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, x: Tensor) -> Tensor:
        return activations.softmax(x) if self.axis in (-1, x.ndim - 1) else ops.softmax(x, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


# ------------------------------------------------------------------------------------------------ shapes
class Flatten(Layer):
    """Each sample as one row: (N, H, W, C) -> (N, H*W*C)."""

    needs = InputSpec("(N,...)")

    def call(self, x: Tensor) -> Tensor:
        return ops.reshape(x, shape=(x.shape[0], prod(x.shape[1:])))  # (N,...) -> (N,P), N = 0 too

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest = tuple(input_shape[1:])
        return (input_shape[0], None if None in rest else prod(rest))


class Reshape(Layer):
    """Each sample in another shape: (N, ...) -> (N, *target_shape); one side may be -1."""

    needs = InputSpec("(N,...)")

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.target_shape = tuple(target_shape)

    def call(self, x: Tensor) -> Tensor:
        return ops.reshape(x, shape=self.compute_output_shape(x.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest, target = tuple(input_shape[1:]), self.target_shape
        if None in rest:
            return (input_shape[0], *(None if n == -1 else n for n in target))
        size, given = prod(rest), prod([n for n in target if n != -1])
        if target.count(-1) > 1 or (size != given if -1 not in target else given == 0 or size % given):
            raise ShapeError(
                f"{self.title}: a sample of shape {words(rest)} has {size} elements, which do not fill target_shape "
                f"{words(target)}; the products must agree, and at most one side may be -1"
            )
        return (input_shape[0], *(size // given if n == -1 else n for n in target))


class Permute(Layer):
    """The axes of each sample in another order, counted from 1: Permute((2, 1)) is (N, T, D) -> (N, D, T)."""

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(f"Permute: dims names each axis from 1 to {len(self.dims)} once, got {self.dims}")
        self.needs = InputSpec("(N,...)", len(self.dims) + 1)

    def call(self, x: Tensor) -> Tensor:
        return ops.permute_dims(x, axes=(0, *self.dims))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *(input_shape[d] for d in self.dims))


# ------------------------------------------------------------------------------------------------ any op
class Operation(Layer):
    """An op of the engine, by its name, as a layer: what `a + b` makes of symbolic tensors."""

    def __init__(self, op: str, params: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        if op not in OPS:
            raise ArgumentError(f"Operation: there is no op '{op}' in the engine; see engine.OPS")
        self.op, self.params = op, dict(params or {})
        self._name = self._name or op

    def call(self, *inputs: Any) -> Any:
        return OPS[self.op](*inputs, **self.params)

    @staticmethod
    def shapes_of(inputs: tuple[Any, ...]) -> list[Any]:
        """Numbers among the inputs count as scalars; a batch that is one known number stays."""
        return [(None, *x.shape[1:]) if isinstance(x, SymbolicTensor) else np.shape(x) for x in inputs]
