"""Activations by name: `activation="relu"`. They are the engine's functions; the equations stand there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import ops
from engine.errors import ArgumentError, near
from engine.tensor import Tensor

Activation = Callable[[Tensor], Tensor]


class Probabilities(Tensor):
    """The result of a softmax or a sigmoid that remembers the `logits` it was made of.

    A cross-entropy then starts from those (`losses.logits_of`): log(softmax(z)) = z - logsumexp(z) has all its digits
    where softmax(z) has become 0, and its derivative is one subtraction. Anything done to it gives a plain tensor; once
    it, or the logits, are written to, the two no longer belong together, and `logits` is None. `mask`: see
    `layers.masks`.
    """

    __slots__ = ("_logits", "_version", "mask")

    def __init__(self, p: Tensor, logits: Tensor) -> None:
        super().__init__(p.data, p.requires_grad)
        self.node, self._logits, self._version, self.mask = p.node, logits, logits.storage.version, None

    @property
    def logits(self) -> Tensor | None:
        touched = self.storage.version or self._logits.storage.version != self._version
        return None if touched else self._logits


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis: (..., K) -> (..., K)."""
    return Probabilities(ops.softmax(x, axis=-1), x)


def sigmoid(x: Tensor) -> Tensor:
    return Probabilities(ops.sigmoid(x), x)


def leaky_relu(x: Tensor) -> Tensor:
    """Keras' slope for this name is 0.2."""
    return ops.leaky_relu(x, negative_slope=0.2)


def log_softmax(x: Tensor) -> Tensor:
    return ops.log_softmax(x, axis=-1)


OWN: dict[str, Activation] = {f.__name__: f for f in (softmax, sigmoid, leaky_relu, log_softmax)}
ENGINES = {  # our name -> the engine's
    name: name
    for name in (
        "relu", "relu6", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign",
        "log_sigmoid", "tanh", "hard_sigmoid", "hard_swish", "hard_tanh", "softshrink", "hardshrink",
        "tanhshrink",
    )
} | {"swish": "silu", "hard_silu": "hard_swish", "exponential": "exp", "soft_shrink": "softshrink",
     "hard_shrink": "hardshrink", "tanh_shrink": "tanhshrink"}  # fmt: skip
for _f in OWN.values():
    _f.name = _f.__name__  # type: ignore[attr-defined]


def get(what: Any) -> Activation | None:
    """The function called `what`; None and "linear" are no activation; functions and layers pass."""
    if what is None or what == "linear":
        return None
    if callable(what):
        return what
    if what in OWN:
        return OWN[what]
    if what in ENGINES:
        return getattr(ops, ENGINES[what])
    names = sorted({"linear", *OWN, *ENGINES})
    raise ArgumentError(f"there is no activation '{what}'; there are {', '.join(names)}{near(str(what), names)}")
