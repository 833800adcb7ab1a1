"""Cross-entropy of rows of logits: one pass for the losses, one for their gradient; float32 rows, all else in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .buffers import empty
from .jit import array_at, kernel, number_at, real_at
from .softmax import NOTHING, SIZE, L, buffer_memory, copy, fits, launch_rows, mine, peak, plain_peak, sum_exp, tail
from .vector import exp, fill, largest, load, log, store, total

Array = np.ndarray[Any, Any]


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


def plain_label_losses(labels: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """Losses -ln softmax(z)_k, and what the gradient needs: ln Sum(r, exp(z_r)) of each row."""
    lse = _log_sum_exp(z)
    losses = _minus(lse, np.take_along_axis(z, labels[..., None], -1).squeeze(-1))
    if smoothing:
        losses = (1 - smoothing) * losses + smoothing * _minus(lse[..., None], z).mean(-1)
    return losses, lse


def plain_label_losses_gradient(g: Array, labels: Array, z: Array, lse: Array, smoothing: float) -> Array:
    """(softmax(z) - (1 - a) e_k - a / K) g"""
    p, at = _probabilities(z, lse), labels[..., None]
    np.put_along_axis(p, at, np.take_along_axis(p, at, -1) - (1 - smoothing), -1)
    return (p - smoothing / z.shape[-1]) * g[..., None]


def plain_probability_losses(q: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """Losses -Sum(k, q_k ln softmax(z)_k), and ln Sum(r, exp(z_r)) of each row."""
    lse = _log_sum_exp(z)
    return (_smooth(q, smoothing) * _minus(lse[..., None], z)).sum(-1), lse


def plain_probability_losses_gradient(g: Array, q: Array, z: Array, lse: Array, smoothing: float) -> Array:
    """z_bar = g (p Sum(k, q_k) - q)"""
    smoothed = _smooth(q, smoothing)
    return g[..., None] * (_probabilities(z, lse) * smoothed.sum(-1, keepdims=True) - smoothed)


def _log_sum_exp(z: Array) -> Array:
    m = plain_peak(z, -1)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(z - m).sum(-1)) + m.squeeze(-1)


def _minus(lse: Array, z: Array) -> Array:
    """lse - z = -ln softmax(z): infinite where z is -inf, even if the whole row is."""
    with np.errstate(invalid="ignore"):
        return np.where(z == -np.inf, z.dtype.type(np.inf), lse - z)


def _probabilities(z: Array, lse: Array) -> Array:
    return np.exp(-_minus(lse[..., None], z))


def _smooth(q: Array, smoothing: float) -> Array:
    return q * (1 - smoothing) + smoothing / q.shape[-1] if smoothing else q


# --- kernels ---------------------------------------------------------------------------------------------------------


@kernel
def label_loss_rows(block, part):  # type: ignore[no-untyped-def]
    labels, z, losses = array_at(block, 0, np.int64), number_at(block, 2), array_at(block, 4, np.float32)
    lses, smoothing = array_at(block, 6, np.float32), np.float32(real_at(block, 8))
    n, whole, first, behind = mine(block, 9, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a = z + r * n * SIZE
        m = peak(a, n, buffer)
        s = sum_exp(a, n, m, buffer)
        lse = m + largest(log(fill(s, load(buffer, np.float32)))) if s != 0 else NOTHING
        shift = np.float32(0) if lse == NOTHING else lse  # a masked row has infinite losses
        picked = tail(a + labels[r] * SIZE, 1, NOTHING, buffer)
        losses[r] = shift - largest(picked)
        lses[r] = lse
        if smoothing != 0:
            sums = fill(shift, picked) - tail(a + whole * SIZE, n - whole, shift, buffer)
            for i in range(0, whole, L):
                sums = sums + (fill(shift, picked) - load(a + i * SIZE, np.float32))
            losses[r] = (np.float32(1) - smoothing) * losses[r] + smoothing * (total(sums) / np.float32(n))


@kernel
def label_gradient_rows(block, part):  # type: ignore[no-untyped-def]
    labels, z, g = array_at(block, 0, np.int64), number_at(block, 2), array_at(block, 4, np.float32)
    lses, y, smoothing = array_at(block, 6, np.float32), number_at(block, 8), np.float32(real_at(block, 10))
    n, whole, first, behind = mine(block, 11, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a, b = z + r * n * SIZE, y + r * n * SIZE
        last = tail(a + whole * SIZE, n - whole, NOTHING, buffer)
        shift = fill(np.float32(0) if lses[r] == NOTHING else lses[r], last)
        scale, share = fill(g[r], last), fill(smoothing / np.float32(n), last)
        for i in range(0, whole, L):
            store(b + i * SIZE, (exp(load(a + i * SIZE, np.float32) - shift) - share) * scale)
        store(buffer, (exp(last - shift) - share) * scale)
        copy(buffer, b + whole * SIZE, n - whole)
        at = b + labels[r] * SIZE
        last = tail(at, 1, np.float32(0), buffer)
        store(buffer, last - fill((np.float32(1) - smoothing) * g[r], last))
        copy(buffer, at, 1)


@kernel
def probability_loss_rows(block, part):  # type: ignore[no-untyped-def]
    q, z, losses = number_at(block, 0), number_at(block, 2), array_at(block, 4, np.float32)
    lses, smoothing = array_at(block, 6, np.float32), np.float32(real_at(block, 8))
    n, whole, first, behind = mine(block, 9, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a, b = z + r * n * SIZE, q + r * n * SIZE
        m = peak(a, n, buffer)
        s = sum_exp(a, n, m, buffer)
        lse = m + largest(log(fill(s, load(buffer, np.float32)))) if s != 0 else NOTHING
        shift = np.float32(0) if lse == NOTHING else lse
        lses[r] = lse
        last = fill(shift, load(buffer, np.float32)) - tail(
            a + whole * SIZE, n - whole, shift, buffer
        )  # 0 beyond the row
        kept, share = fill(np.float32(1) - smoothing, last), fill(smoothing / np.float32(n), last)
        sums = last * (kept * tail(b + whole * SIZE, n - whole, np.float32(0), buffer) + share)
        for i in range(0, whole, L):
            v = load(a + i * SIZE, np.float32)
            sums = sums + (fill(shift, v) - v) * (kept * load(b + i * SIZE, np.float32) + share)
        losses[r] = total(sums)


@kernel
def probability_gradient_rows(block, part):  # type: ignore[no-untyped-def]
    q, z, g = number_at(block, 0), number_at(block, 2), array_at(block, 4, np.float32)
    lses, y, smoothing = array_at(block, 6, np.float32), number_at(block, 8), np.float32(real_at(block, 10))
    n, whole, first, behind = mine(block, 11, part)
    buffer = buffer_memory()
    for r in range(first, behind):
        a, b, c = z + r * n * SIZE, q + r * n * SIZE, y + r * n * SIZE
        q_last = tail(b + whole * SIZE, n - whole, np.float32(0), buffer)
        sums = q_last
        for i in range(0, whole, L):
            sums = sums + load(b + i * SIZE, np.float32)
        weight = fill((np.float32(1) - smoothing) * total(sums) + smoothing, sums)  # the sum of the smoothed q
        kept, share = fill(np.float32(1) - smoothing, sums), fill(smoothing / np.float32(n), sums)
        shift = fill(np.float32(0) if lses[r] == NOTHING else lses[r], sums)
        scale = fill(g[r], sums)
        for i in range(0, whole, L):
            p = exp(load(a + i * SIZE, np.float32) - shift)
            store(c + i * SIZE, (p * weight - (kept * load(b + i * SIZE, np.float32) + share)) * scale)
        p = exp(tail(a + whole * SIZE, n - whole, NOTHING, buffer) - shift)
        store(buffer, (p * weight - (kept * q_last + share)) * scale)
        copy(buffer, c + whole * SIZE, n - whole)


# --- the functions ---------------------------------------------------------------------------------------------------


def label_losses(labels: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """labels (*B), z (*B,K) -> losses (*B), ln Sum(r, exp(z_r)) (*B)."""
    if not fits(z, z.ndim - 1):
        return plain_label_losses(labels, z, smoothing)
    losses, lse = empty(labels.shape, np.float32), empty(labels.shape, np.float32)
    labels = np.ascontiguousarray(labels, np.int64)
    launch_rows(
        label_loss_rows, z.shape[-1], labels.size, labels, np.ascontiguousarray(z), losses, lse, float(smoothing)
    )
    return losses, lse


def label_losses_gradient(g: Array, labels: Array, z: Array, lse: Array, smoothing: float) -> Array:
    """The cotangent of z (*B,K) from that of the losses, g (*B)."""
    if not fits(z, z.ndim - 1):
        return plain_label_losses_gradient(g, labels, z, lse, smoothing)
    y, labels, g = empty(z.shape, np.float32), np.ascontiguousarray(labels, np.int64), np.ascontiguousarray(g)
    z = np.ascontiguousarray(z)
    launch_rows(label_gradient_rows, z.shape[-1], labels.size, labels, z, g, lse, y, float(smoothing))
    return y


def probability_losses(q: Array, z: Array, smoothing: float) -> tuple[Array, Array]:
    """q, z (*B,K) -> losses (*B), ln Sum(r, exp(z_r)) (*B)."""
    if not fits(z, z.ndim - 1):
        return plain_probability_losses(q, z, smoothing)
    losses, lse = empty(z.shape[:-1], np.float32), empty(z.shape[:-1], np.float32)
    q, z = np.ascontiguousarray(q), np.ascontiguousarray(z)
    launch_rows(probability_loss_rows, z.shape[-1], losses.size, q, z, losses, lse, float(smoothing))
    return losses, lse


def probability_losses_gradient(
    g: Array, q: Array, z: Array, lse: Array, smoothing: float, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None]:
    """The cotangents of q and z (*B,K) from that of the losses, g (*B)."""
    q_bar = (1 - smoothing) * g[..., None] * _minus(lse[..., None], z) if needs[0] else None
    if not needs[1] or not fits(z, z.ndim - 1):
        return q_bar, plain_probability_losses_gradient(g, q, z, lse, smoothing) if needs[1] else None
    y, q, z, g = (
        empty(z.shape, np.float32),
        np.ascontiguousarray(q),
        np.ascontiguousarray(z),
        np.ascontiguousarray(g),
    )
    launch_rows(probability_gradient_rows, z.shape[-1], lse.size, q, z, g, lse, y, float(smoothing))
    return q_bar, y
