r"""Penalties on the size of parameters, added to the loss: a call with a tensor w gives one number."""

from __future__ import annotations

from typing import Any

from engine import config, ops
from engine.errors import ArgumentError
from engine.tensor import Tensor


class Regularizer(config.Configurable, family="regularizer"):
    """Base class: `__call__(w)` is the penalty."""

    def __call__(self, w: Tensor) -> Tensor:
        raise NotImplementedError


def get(what: Any) -> Any:
    """A regularizer from its name ("l2"), class or description; None and functions pass."""
    return config.get(Regularizer, what)


class L1(Regularizer):
    r"""l1 Σ \|w\|: pushes each weight by the same amount, so small ones reach zero."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _penalty("L1", "l1", l1)

    def __call__(self, w: Tensor) -> Tensor:
        return self.l1 * ops.sum(ops.abs(w))


class L2(Regularizer):
    r"""l2 Σ w²: pushes each weight in proportion to its size; its gradient is 2 l2 w."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _penalty("L2", "l2", l2)

    def __call__(self, w: Tensor) -> Tensor:
        return self.l2 * ops.sum(ops.square(w))


class L1L2(Regularizer):
    r"""l1 Σ \|w\| + l2 Σ w². [Zou and Hastie 2005, "elastic net"]"""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = _penalty("L1L2", "l1", l1), _penalty("L1L2", "l2", l2)

    def __call__(self, w: Tensor) -> Tensor:
        return self.l1 * ops.sum(ops.abs(w)) + self.l2 * ops.sum(ops.square(w))


l1, l2, l1_l2 = L1, L2, L1L2  # Keras' second names


def _penalty(who: str, name: str, value: float) -> float:
    if not value >= 0:
        raise ArgumentError(f"{who}: {name} is a penalty, 0 or more, got {value}: less would reward large weights")
    return float(value)
