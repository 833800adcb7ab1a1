"""What the tests of layers share: fixed draws, a net with parts of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from engine import ops
from engine.random import Generator, default_generator, manual_seed
from engine.tensor import Tensor
from layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
)


@pytest.fixture(autouse=True)
def seeded():
    before = default_generator().state()
    manual_seed(3)
    yield
    default_generator().set_state(before)


def draw(*shape: int, at: str = "x") -> np.ndarray:
    return Generator(23).at(at).normal(shape)


class SmallNet(Layer):
    """Layers in a list, in a dict and as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = [Conv2D(4, 3, activation="relu"), MaxPooling2D(), Flatten(), Dropout(0.5)]
        self.heads = {"left": Dense(3), "right": Dense(2, activation="softmax")}
        self.norm = BatchNormalization()

    def call(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x)
        return self.norm(self.heads["left"](x) + ops.sum(self.heads["right"](x), axis=-1, keepdims=True))


IMAGES = draw(5, 8, 8, 1)
PATHS = [
    "body.0.kernel", "body.0.bias", "heads.left.kernel", "heads.left.bias", "heads.right.kernel", "heads.right.bias",
    "norm.gamma", "norm.beta", "norm.moving_mean", "norm.moving_variance",
]  # fmt: skip
