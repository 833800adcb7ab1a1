"""Noise in training, against overfitting; nothing in use."""

from __future__ import annotations

from typing import Any

from engine import ops
from engine.errors import ArgumentError
from engine.random import Generator
from engine.tensor import Tensor

from .layer import Layer


class Dropout(Layer):
    r"""In training each number becomes 0 with probability `rate`, the others grow by 1 / (1 - rate): any shape.

    .. math:: y = \frac{m \odot x}{1 - r}, \quad m_i \sim \operatorname{Bernoulli}(1 - r), \quad \mathbb{E}[y] = x

    The masks come from a stream of the model's generator at this layer's path (or from `seed`), one substream a call;
    `random_state()` of the layer or model holds where it stands. [Srivastava et al., JMLR 15, 2014]
    """

    supports_masking = True

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= rate <= 1:
            raise ArgumentError(f"Dropout: rate is the probability of becoming 0, 0 <= rate <= 1, got {rate}")
        self.rate, self.seed = float(rate), seed
        self.masks: Generator | None = None

    def build(self, input_shape: Any) -> None:
        self.masks = self.stream("masks") if self.seed is None else Generator(self.seed)

    def call(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        assert self.masks is not None
        seed, stream = self.masks.split().key
        return ops.dropout(x, rate=self.rate, seed=seed, stream=stream)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)
