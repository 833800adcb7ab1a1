"""Elements that come to stand elsewhere: copied, turned round, repeated, joined, put into something larger.

Each is one or several strided copies (copy.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .buffers import empty
from .copy import LEAST, copied, copies

__all__ = ["concatenate", "copied", "diagonal", "pad", "put", "repeat", "reshape", "roll"]

JOINED = 5 << 20  # bytes, from which on cores share a join: a smaller one lies in the caches, where one core is enough

Array = np.ndarray[Any, Any]


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """In C order in another shape: a view where that can be."""
    if x.nbytes < LEAST:
        return x.reshape(shape)
    try:
        return np.reshape(x, shape, copy=False)
    except ValueError:
        return copied(x).reshape(shape)
    except TypeError:  # NumPy 2.0 can't be asked
        return x.reshape(shape)


def diagonal(x: Array, k: int) -> Array:
    """The k-th diagonal of each matrix, as a view: (..,N,M) -> (..,D)"""
    y = np.diagonal(x, k, -2, -1)
    y.flags.writeable = x.flags.writeable  # NumPy lends its diagonals for reading only
    return y


def roll(x: Array, pairs: list[tuple[int, int]]) -> Array:
    """For each (axis, shift): the elements so many places on; those that fall off come in again. Always a copy."""
    if not pairs:
        return copied(x)
    for axis, shift in pairs:
        y, ahead = empty(x.shape, x.dtype), (slice(None),) * axis
        k = shift % max(1, x.shape[axis])
        behind = x.shape[axis] - k
        copies([(y[*ahead, k:], x[*ahead, :behind]), (y[*ahead, :k], x[*ahead, behind:])])
        x = y
    return x


def repeat(x: Array, counts: tuple[int, ...], axis: int) -> Array:
    """Each element of the axis so many times: one count for all, or one each."""
    if len(counts) != 1 or x.nbytes * counts[0] < LEAST:
        return np.repeat(x, np.array(counts, np.int64), axis)
    ahead, n, behind, r = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :], counts[0]
    y = empty((*ahead, n, r, *behind), x.dtype)
    copies([(y, np.expand_dims(x, axis + 1))])  # (..,n,1,..) -> (..,n,r,..)
    return y.reshape((*ahead, n * r, *behind))


def concatenate(xs: Sequence[Array], axis: int) -> Array:
    """Arrays of one dtype end to end."""
    if sum([x.nbytes for x in xs]) < JOINED * (1 + len(xs) // 8):  # many small ones are NumPy's, too
        return np.concatenate(xs, axis)
    axis = axis % xs[0].ndim
    n, ahead = sum([x.shape[axis] for x in xs]), (slice(None),) * axis
    y, pairs, end = empty((*xs[0].shape[:axis], n, *xs[0].shape[axis + 1 :]), xs[0].dtype), [], 0
    for x in xs:
        start, end = end, end + x.shape[axis]
        pairs.append((y[*ahead, start:end], x))
    copies(pairs)
    return y


def pad(x: Array, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    """x within a margin, ((before, after), ...) wide, of one value."""
    shape = tuple([before + n + after for n, (before, after) in zip(x.shape, widths, strict=True)])
    box = tuple([slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True)])
    if x.nbytes < LEAST:
        y = np.full(shape, value, x.dtype)
        y[box] = x
        return y
    return put(np.broadcast_to(np.full((), value, x.dtype), shape), box, x)


def put(x: Array, index: tuple[Any, ...], value: Array) -> Array:
    """A copy of x, and then y[index] = value, for an index without arrays."""
    if x.nbytes < LEAST:
        y = x.copy()
        y[index] = value
        return y
    index = index if ... in index else (*index, ...)
    y = empty(x.shape, x.dtype)
    box, part = _box(index, x.shape), y[index]
    if box is None:
        copies([(y, x)])
        copies([(part, value)])
    else:
        copies([*((y[slab], x[slab]) for slab in _around(box, x.shape)), (part, value)])
    return y


def _box(index: tuple[Any, ...], shape: tuple[int, ...]) -> list[tuple[int, int]] | None:
    """From where to where an index reaches along each axis; None if not to all that lies between."""
    index = tuple([p for p in index if p is not None])
    here, box = index.index(...), []
    rest = [slice(None)] * (len(shape) - len(index) + 1)
    for p, n in zip((*index[:here], *rest, *index[here + 1 :]), shape, strict=True):
        reached = range(n)[p] if isinstance(p, slice) else range(p % n, p % n + 1)
        if abs(reached.step) != 1 and len(reached) > 1:
            return None
        box.append((min(reached[0], reached[-1]), max(reached[0], reached[-1]) + 1) if reached else (0, 0))
    return box


def _around(box: list[tuple[int, int]], shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """What lies around a box, cut into slabs: before and behind it along the first axis, then along the next ..."""
    slabs: list[tuple[slice, ...]] = []
    inside: tuple[slice, ...] = ()
    for (start, stop), n in zip(box, shape, strict=True):
        slabs += [(*inside, slice(0, start)), (*inside, slice(stop, n))]
        inside = (*inside, slice(start, stop))
    return [slab for slab in slabs if slab[-1].start < slab[-1].stop]
