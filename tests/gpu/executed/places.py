"""Numbers that come to stand elsewhere: looked up, added back, moved, sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.kernels.cpu import gather

from .case import DTYPES, Case, Rng, normal

# --- rows of tables --------------------------------------------------------------------------------------------------


def _tables(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """ids, rows, D: few of each, many of some, all the same, none."""
    yield rng.integers(0, 7, (3, 5)), 7, 4
    yield rng.integers(0, 300, 700), 300, 3
    yield np.zeros(200, np.int64), 1, 2
    yield np.full(400, 3), 5, 130
    yield np.concatenate([np.zeros(70, np.int64), rng.integers(0, 3, 60), np.full(300, 2)]).astype(np.int32), 17, 1
    yield np.repeat(np.arange(5), 64), 5, 2
    yield rng.integers(0, 5, 1), 5, 3
    yield rng.integers(0, 5, (0, 2)), 5, 3


def _lookups(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for ids, rows, D in _tables(rng):
        yield ids, normal(rng, (rows, D))
    yield np.array([-1, 0, 7, 2**40]), normal(rng, (5, 3))  # clamped: the op's check has its own error


def _additions(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for ids, rows, D in _tables(rng):
        yield normal(rng, (*ids.shape, D)), ids, rows


def _plain_additions(g: Any, ids: Any, rows: int) -> Any:
    table = np.zeros((rows, g.shape[-1]))
    np.add.at(table, ids, g)
    return table


def _targets(rng: Rng) -> Iterator[tuple[Any, ...]]:
    ids = rng.integers(-4, 4, 50)
    yield normal(rng, (4, 5)), ids, normal(rng, (50, 5))
    yield normal(rng, (4, 5)), (ids, rng.integers(0, 5, 50)), normal(rng, 50)
    yield normal(rng, (4, 5)), (1, ids[:7]), normal(rng, 7)
    yield normal(rng, (4, 5)), np.repeat([0, 2], [150, 100]), normal(rng, (250, 5))
    yield normal(rng, (4, 5)), 2, normal(rng, 5)
    yield normal(rng, (4, 5)), (slice(None), ids), normal(rng, (4, 50))
    yield normal(rng, (4, 5)), normal(rng, (4, 5)) > 0, np.float64(1.5)
    yield rng.integers(0, 9, (4, 5)), ids, rng.integers(0, 9, (50, 5))


def _added_at(target: Any, index: Any, values: Any) -> Any:
    from engine.kernels.cuda.embedding import add_at

    y = target.copy()
    add_at(y, index, values)
    return y


def _plain_added_at(target: Any, index: Any, values: Any) -> Any:
    y = target.copy()
    np.add.at(y, index, values)
    return y


# --- along an axis ---------------------------------------------------------------------------------------------------


def _along(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """x, indices, axis; sides of 1 broadcast, -1 is the last element."""
    for shape, picked, axis in (
        ((5,), (7,), 0), ((4, 6), (4, 3), 1), ((4, 6), (9, 6), 0), ((2, 3, 5), (2, 4, 5), 1), ((4, 6), (1, 3), 1),
        ((3, 5), (3, 0), 1), ((1, 1), (1, 40), 1), ((40, 2), (300, 2), 0),
    ):  # fmt: skip
        yield normal(rng, shape), rng.integers(-shape[axis], shape[axis], picked), axis


def _scattered(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, indices, axis in _along(rng):
        if all(n == m for a, (n, m) in enumerate(zip(x.shape, indices.shape, strict=True)) if a != axis):
            yield x, indices, normal(rng, indices.shape), axis
    yield rng.integers(0, 9, (3, 4)), rng.integers(-4, 4, (3, 20)), rng.integers(0, 9, (3, 20)), 1


def _slices(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, picked, axis in (((5,), (9,), 0), ((4, 6), (3,), 1), ((2, 3, 5), (2, 2), 1), ((7, 2), (0,), 0)):
        values = (*shape[:axis], *picked, *shape[axis + 1 :])
        yield normal(rng, shape), rng.integers(-shape[axis], shape[axis], picked), normal(rng, values), axis


def _plain_slices(x: Any, indices: Any, values: Any, axis: int) -> Any:
    y = x.copy()
    np.add.at(y, (slice(None),) * axis + (indices,), values)
    return y


# --- moved -----------------------------------------------------------------------------------------------------------

SHAPES = (4, 6), (5,), (1, 3), (2, 3, 4), (0, 3), (3, 40)


def _moved(*others: Any) -> Callable[[Rng], Iterator[tuple[Any, ...]]]:
    """x of several shapes and layouts, and what `others` make of its shape."""

    def calls(rng: Rng) -> Iterator[tuple[Any, ...]]:
        for shape in SHAPES:
            yield normal(rng, shape), *[other(rng, shape) for other in others]
            yield normal(rng, shape[::-1]).T, *[other(rng, shape) for other in others]

    return calls


def _plain_roll(x: Any, pairs: Any) -> Any:
    for axis, shift in pairs:
        x = np.take(x, (np.arange(x.shape[axis]) - shift) % max(x.shape[axis], 1), axis)
    return x


def _plain_repeat(x: Any, counts: Any, axis: int) -> Any:
    counts = counts * x.shape[axis] if len(counts) == 1 else counts
    return np.take(x, [i for i, n in enumerate(counts) for _ in range(n)], axis)


def _joined(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield (normal(rng, (2, 3)), normal(rng, (2, 5)), normal(rng, (2, 0))), 1
    yield (normal(rng, (3, 2)).T, normal(rng, (4, 3))), -2
    yield (normal(rng, 4),), 0


def _plain_put(x: Any, index: Any, value: Any) -> Any:
    places = np.zeros(x.shape, bool)
    places[index] = True
    return np.where(places, value, x)


def _put(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in SHAPES:
        yield normal(rng, shape), (slice(None, None, 2),), normal(rng, ())
        yield normal(rng, shape), (..., slice(1, None)), normal(rng, ())


# --- order -----------------------------------------------------------------------------------------------------------


NUMPYS = DTYPES[:3]  # sorting a NaN in bfloat16 is CuPy's to prove, not ml_dtypes'


def _unordered(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """With equal elements, infinities, and NaN, which counts as the largest."""
    for shape, axis in (((7,), 0), ((4, 33), 1), ((33, 3), 0), ((2, 5, 3), 1), ((0, 3), 0), ((3, 1), 1)):
        x = rng.integers(-3, 4, shape).astype(float)
        x[rng.random(shape) < 0.1], x[rng.random(shape) < 0.1] = np.nan, np.inf
        yield from ((x, axis, descending) for descending in (False, True))
    yield rng.integers(-3, 4, (4, 9)), 1, True


def _plain_order(x: Any, axis: int, descending: bool) -> Any:
    """Places, by a stable sort of keys."""

    def order(row: Any) -> list[int]:
        sign = -1 if descending else 1
        keys = [(sign * bool(v != v), 0 if v != v else sign * v) for v in row.tolist()]
        return sorted(range(len(keys)), key=keys.__getitem__)

    return np.apply_along_axis(order, axis, x).astype(np.int64) if x.size else np.zeros(x.shape, np.int64)


def _several(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axis, largest in _unordered(rng):
        yield from ((x, k, axis, largest) for k in {0, min(2, x.shape[axis]), x.shape[axis]})


def _plain_topk(x: Any, k: int, axis: int, largest: bool) -> Any:
    return np.take(_plain_order(x, axis, largest), range(k), axis)


def _classes(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((7,), (2, 3), (0,), ()):
        yield rng.integers(0, 5, shape), 5, np.float32


def _extremes(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axis, keepdims in _unordered(rng):
        if x.shape[axis]:
            yield x, axis, keepdims
    yield normal(rng, (3, 4)), None, False


def _plain_extreme(largest: bool) -> Callable[..., Any]:
    """The first of the order, but for NaN, which wins either way."""

    def plain(x: Any, axis: Any, keepdims: bool) -> Any:
        if axis is None:
            return plain(x.reshape(-1), 0, False)
        y = _plain_order(np.where(np.isnan(x), np.inf if largest else -np.inf, x), axis, largest)
        nans = np.isnan(x)
        found = np.where(nans.any(axis), nans.argmax(axis), np.take(y, 0, axis))
        return np.expand_dims(found, axis) if keepdims else found

    return plain


def _side(lower: bool) -> Callable[..., Any]:
    def plain(x: Any, k: int) -> Any:
        i, j = np.ogrid[: x.shape[-2], : x.shape[-1]]
        return np.where(j <= i + k if lower else j >= i + k, x, 0)

    return plain


def _matrices(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((4, 6), (6, 4), (2, 3, 3), (1, 1), (0, 3)):
        yield from ((normal(rng, shape), k) for k in (-2, 0, 1, 9))


# fmt: off
CASES = [
    Case("embedding", "embedding", lambda ids, table: table[np.clip(ids, 0, len(table) - 1)], _lookups, 0),
    Case("embedding", "embedding_gradient", _plain_additions, _additions, 256),
    Case("embedding", "add_at", _plain_added_at, _targets, 64, run=_added_at),
    Case("gather", "take_along_axis", lambda x, indices, axis: np.take_along_axis(x, indices % x.shape[axis], axis),
         _along, 0),
    Case("gather", "scatter_add", gather.plain_scatter_add, _scattered, 64),
    Case("gather", "index_add", _plain_slices, _slices, 64),
    Case("arrange", "copied", lambda x: x, _moved(), 0),
    Case("arrange", "reshape", lambda x, shape: np.array(list(x.flat)).reshape(shape),
         _moved(lambda rng, shape: (-1,) if 0 not in shape else (0, 7)), 0),
    Case("arrange", "diagonal", lambda x, k: np.diagonal(x, k, -2, -1), _matrices, 0),
    Case("arrange", "roll", _plain_roll, _moved(lambda rng, shape: [(a, int(rng.integers(-9, 9)))
         for a in range(len(shape))]), 0),
    Case("arrange", "repeat", _plain_repeat, _moved(lambda rng, shape: tuple(rng.integers(0, 3, shape[-1]).tolist()),
         lambda rng, shape: len(shape) - 1), 0),
    Case("arrange", "concatenate", lambda xs, axis: np.concatenate(xs, axis), _joined, 0),
    Case("arrange", "pad", lambda x, widths, value: np.pad(x, widths, constant_values=value),
         _moved(lambda rng, shape: tuple((i, 2 * i + 1) for i in range(len(shape))), lambda rng, shape: -1.5), 0),
    Case("arrange", "put", _plain_put, _put, 0),
    Case("triangle", "tril", _side(True), _matrices, 0),
    Case("triangle", "triu", _side(False), _matrices, 0),
    Case("sorting", "argsort", _plain_order, _unordered, 0, NUMPYS),
    Case("sorting", "topk", _plain_topk, _several, 0, NUMPYS),
    Case("sorting", "one_hot", lambda ids, n, dtype: np.eye(n, dtype=dtype)[ids], _classes, 0, (np.float32,)),
    Case("argreduce", "argmax", _plain_extreme(True), _extremes, 0),
    Case("argreduce", "argmin", _plain_extreme(False), _extremes, 0),
]
# fmt: on
