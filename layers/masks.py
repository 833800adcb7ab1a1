"""Sequences of different lengths in one batch: a tensor that remembers which of its steps are real.

    Embedding(..., mask_zero=True) or Masking()     make the mask
    layers that treat each step alone               pass it on (`supports_masking`: Dense, Dropout, Activation ...)
    layers of several inputs                        make one of theirs (`Add`, `Concatenate` ...)
    recurrent layers, attention                     leave out the steps that are not real
    BatchNormalization, losses and metrics          count the real steps only
    all others                                      see a tensor as any other, and their result has no mask

The rules are Keras 3's.
"""

from __future__ import annotations

from typing import Any

from engine.tensor import Tensor


class Masked(Tensor):
    """A tensor (N,T,...) with its `mask` (N,T): False at steps that only fill up. Ops on it give plain tensors."""

    __slots__ = ("mask",)

    def __init__(self, x: Tensor, mask: Tensor) -> None:
        super().__init__(x.data, x.requires_grad, x.node)
        self.mask = mask


def mask_of(x: Any) -> Tensor | None:
    """The mask that x brings along, or None."""
    return getattr(x, "mask", None)


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x with this mask: itself, where it can hold one."""
    if type(x) is Tensor or isinstance(x, Masked):
        return Masked(x, mask)
    x.mask = mask  # type: ignore[attr-defined]
    return x
