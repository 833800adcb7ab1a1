"""Sums of many numbers, without losing the small ones beside a large total.

NumPy adds an array's last axis pairwise, but any other axis row after row: of 4,000,000 rows of 0.1 in float32 it makes
384,525. Here such an axis is summed in blocks, then the sums of blocks: the error grows with the block, not the axis.
"""

from __future__ import annotations

from typing import Any

BLOCK = 256  # rows added one after the other


def total(x: Any, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    """x.sum(axis=axes, keepdims=keepdims), axis by axis and block by block where that would add many rows in a row.

    x: array of any shape. axes: non-negative, distinct. The order of the sum depends on the shape alone.
    """
    rows = 1
    for a in axes:
        rows *= x.shape[a]
    if rows <= BLOCK or len(axes) == x.ndim or x.dtype.kind != "f":
        return x.sum(axis=axes, keepdims=keepdims)
    for a in sorted(axes, reverse=True):
        while x.shape[a] > BLOCK and a != x.ndim - 1:
            x = _block_sums(x, a)
        x = x.sum(axis=a, keepdims=True)
    return x if keepdims else x.reshape([n for a, n in enumerate(x.shape) if a not in axes])


def _block_sums(x: Any, axis: int) -> Any:
    """(.., n, ..) -> (.., ceil(n / BLOCK), ..)"""
    before, n, behind = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    blocks = n // BLOCK
    every = (slice(None),) * axis
    whole = x[(*every, slice(0, blocks * BLOCK))].reshape(*before, blocks, BLOCK, *behind).sum(axis=axis + 1)
    if n % BLOCK:  # the last, shorter block goes to the first block's sum
        whole[(*every, slice(0, 1))] += x[(*every, slice(blocks * BLOCK, n))].sum(axis=axis, keepdims=True)
    return whole
