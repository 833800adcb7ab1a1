"""Fully connected layers, and the table of vectors that begins a network on words."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import ops
from engine.errors import ArgumentError
from engine.parameter import Parameter
from engine.tensor import Tensor

from . import activations, initializers, regularizers
from .layer import Layer
from .masks import Masked
from .spec import InputSpec, known


class Dense(Layer):
    r"""y = f(x W + b), with the kernel W: (N, D) -> (N, units). Leading axes are free: (N, T, D) -> (N, T, units).

    .. math:: y_{nj} = f\Bigl(\sum_i x_{ni} W_{ij} + b_j\Bigr)

    Words and defaults are Keras 3's. Equation E1 of the documents, which write W on the left.
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units, self.use_bias = positive("Dense", "units", units), use_bias
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.needs = InputSpec("(N,...,D)", at_least=2)
        self.kernel = self.add_weight(None, self.kernel_initializer, regularizer=self.kernel_regularizer)
        self.bias: Parameter | None = None
        if use_bias:
            self.bias = self.add_weight((units,), self.bias_initializer, regularizer=self.bias_regularizer)

    def build(self, input_shape: Any) -> None:
        D = known(self, "the last axis of the input", input_shape[-1])
        self.kernel.declare((D, self.units))
        self.needs.channels = D

    def call(self, x: Tensor, activation: Any = None) -> Tensor:
        activation = activation or self.activation
        if self.bias is None:
            z = ops.matmul(x, self.kernel)  # (N,D) @ (D,U) -> (N,U)
        elif activation is ops.relu:
            return ops.linear_relu(x, self.kernel, self.bias)  # one kernel
        else:
            z = ops.linear(x, self.kernel, self.bias)  # (N,D) @ (D,U) + (U,) -> (N,U)
        return z if activation is None else activation(z)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)


class Tokens:
    """What a recurrent layer reads, (N,T,D), as rows of a table not written out: x[n, t] = table[ids[n, t]]."""

    def __init__(self, ids: Tensor, table: Tensor, mask: Tensor | None) -> None:
        self.ids, self.table, self.mask = ids, table, mask

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.ids.shape, self.table.shape[1])

    def backwards(self) -> Tokens:
        return Tokens(ops.flip(self.ids, axis=1), self.table, None)


class Embedding(Layer):
    r"""Integers 0 .. input_dim - 1 become the rows of a learnt table E: (N, ...) -> (N, ..., output_dim).

    .. math:: y_{nd} = E_{x_n, d}

    mask_zero: 0 is no word, it fills up short sequences; recurrent layers behind leave such steps out (`layers.masks`).
    In a `Sequential` a recurrent layer right behind reads the rows in its own kernel, each distinct one once.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        input_length = options.pop("input_length", None)  # Keras 2 listings pass it
        if input_length is not None:
            options.setdefault("input_shape", (input_length,))
        super().__init__(**options)
        self.input_dim = positive("Embedding", "input_dim", input_dim)
        self.output_dim = positive("Embedding", "output_dim", output_dim)
        self.mask_zero = mask_zero
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings = self.add_weight(
            (input_dim, output_dim), self.embeddings_initializer, regularizer=self.embeddings_regularizer
        )

    def build(self, input_shape: Any) -> None:
        """The table's shape is known from the start."""

    def call(self, x: Tensor, reader: Any = None) -> Any:
        """reader: a recurrent layer that reads the rows itself; its result is returned."""
        ids = x
        if x.dtype.kind == "f":  # Keras listings feed whole numbers as floats
            ids = x.astype("int64")
            if x.device == "cpu" and (fractions := x.data != ids.data).any():
                raise ArgumentError(
                    f"Embedding: takes whole numbers, the rows of its table; got {x.data[fractions].flat[0]:g} at "
                    f"{tuple(map(int, np.argwhere(fractions)[0]))} of {x.shape}: words are counted, not standardised"
                )
        mask = ids != 0 if self.mask_zero else None
        if reader is not None:
            return reader.read(Tokens(ids, self.embeddings, mask))
        y = ops.embedding(ids, self.embeddings)  # ids (N,...) -> (N,...,D)
        return y if mask is None else Masked(y, mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)


def positive(who: str, what: str, n: Any) -> int:
    """A count of at least 1."""
    if not hasattr(n, "__index__") or isinstance(n, bool) or int(n) < 1:
        raise ArgumentError(f"{who}: {what} is a whole number of 1 or more, got {n!r}")
    return int(n)
