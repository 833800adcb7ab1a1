"""Cross-entropy of rows of logits: one kernel for the losses, one for their gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import rows, run, wide, xp

Array = Any


def label_losses(labels: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """labels (*B), z (*B,K) -> losses (*B), ln Sum(r, exp(z_r)) (*B)."""
    return _losses("label_losses", _integers(labels), z, smoothing)


def label_losses_gradient(g: Array, labels: Array, z: Array, lse: Array, smoothing: float) -> Array:
    """The cotangent of z (*B,K) from that of the losses, g (*B)."""
    return _gradient("label_losses_gradient", z, smoothing, g, _integers(labels), z, lse)


def probability_losses(q: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """q, z (*B,K) -> losses (*B), ln Sum(r, exp(z_r)) (*B)."""
    return _losses("probability_losses", q, z, smoothing)


def probability_losses_gradient(
    g: Array, q: Array, z: Array, lse: Array, smoothing: float, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None]:
    """The cotangents of q and z (*B,K) from that of the losses, g (*B)."""
    return (
        _gradient("probability_losses_slope", z, smoothing, g, z, lse) if needs[0] else None,
        _gradient("probability_losses_gradient", z, smoothing, g, q, z, lse) if needs[1] else None,
    )


def _losses(kernel: str, truth: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    K, shape = z.shape[-1], z.shape[:-1]
    losses, lse = xp().empty(shape, z.dtype), xp().empty(shape, wide(z.dtype))
    arrays = map(xp().ascontiguousarray, (truth, z))
    run("cross_entropy", kernel, z.dtype, rows(lse.size, K), *arrays, losses, lse, lse.size, K, float(smoothing))
    return losses, lse


def _gradient(kernel: str, z: Array, smoothing: float, *arrays: Array) -> Array:
    K, count, y = z.shape[-1], arrays[-1].size, xp().empty(z.shape, z.dtype)
    arrays = tuple(map(xp().ascontiguousarray, arrays))
    run("cross_entropy", kernel, z.dtype, rows(count, K), *arrays, y, count, K, float(smoothing))
    return y


def _integers(labels: Array) -> Array:
    return labels.astype(np.int64, copy=False)
