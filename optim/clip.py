"""Clipping gradients by hand, between `backward` and `step`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine import replay
from engine.errors import ArgumentError
from engine.tensor import Tensor

from .optimizer import cut, length, shorten


def clip_grad_value_(params: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut each element of each gradient to ±clip_value."""
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value is 0 or more, got {clip_value}")
    for p in _with_gradient(params):
        # a new array: gradients may share memory
        replay.put(p, "grad", Tensor(cut(p.grad.data, clip_value)))


def clip_grad_norm_(params: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> float:
    """Shorten all gradients by one factor so that together, as one vector, they are no longer than max_norm.

    Returns the norm before: Euclidean, or that of norm_type (infinity: the largest element).
    """
    if not max_norm >= 0 or not norm_type > 0:
        raise ArgumentError(f"clip_grad_norm_: max_norm >= 0 and norm_type > 0, got {max_norm} and {norm_type}")
    replay.refuse("reads the gradients' norm back (clip_grad_norm_)", "give the optimiser global_clipnorm=")
    wanted = _with_gradient(params)
    gradients = [p.grad.data for p in wanted]
    if not gradients:
        return 0.0
    with wanted[0].backend.active():
        if norm_type == 2.0:
            total = length(gradients)
        elif norm_type == np.inf:
            total = max((abs(g).max() for g in gradients if g.size), key=float, default=np.float64(0.0))
        else:
            total = sum((abs(g).astype(np.float64) ** norm_type).sum() for g in gradients) ** (1 / norm_type)
    for p, g in zip(wanted, gradients, strict=True):
        replay.put(p, "grad", Tensor(shorten(g, total, max_norm)))
    return float(total)


def _with_gradient(params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    every = [params] if isinstance(params, Tensor) else list(params)
    return [p for p in {id(p): p for p in every}.values() if p.grad is not None]
