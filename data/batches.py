r"""Batches of arrays, in an order that depends on (seed, epoch) and on nothing else.

Batch s of epoch e is a pure function of (data, seed, e, s): shuffling, random transforms and prefetching included. So
a run that was cut off goes on bit for bit from (e, s), and a thread that works ahead changes the time that a step
takes, not its content.

    order of epoch e     = permutation drawn from Philox(key=(seed, e), counter=0)
    randomness of step s = Philox(key=(seed, e), counter=(s + 1) 2^192)         streams that can't meet
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ArgumentError, DataError, DTypeError, IndexRangeError, ShapeError

Arrays = Any  # an array (N,...), or a tuple of these, nested as you like
Transform = Callable[[Arrays, np.random.Generator], Arrays]


class Batches:
    """Walk over data in batches, as often as you like.

    x, y: an array (N,...), or a (nested) tuple or list of arrays that share N, for models with several inputs or
    outputs; sample_weight: (N,). Each step yields x, (x, y) or (x, y, sample_weight), whichever was given, of
    `batch_size` rows; the last batch of an epoch holds what is left unless drop_remainder. The batches are copies:
    the data is safe whatever you do to them.

    transform(x, rng) is applied to each batch of x, with a generator of its own. With prefetch=k a thread keeps k
    batches ready; it ends when the loop does, however that ends.

    Each `for` loop walks the next epoch, from 0; `set_epoch(e, step)` says where the next loop begins, `epoch(e,
    step)` walks one epoch and leaves the count alone.
    """

    def __init__(
        self,
        x: Arrays,
        y: Arrays | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        transform: Transform | None = None,
        drop_remainder: bool = False,
        sample_weight: ArrayLike | None = None,
        prefetch: int = 0,
    ) -> None:
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.seed = _integer("seed", seed, 0)
        self.prefetch = _integer("prefetch", prefetch, 0)
        if transform is not None and not callable(transform):
            raise ArgumentError(f"Batches: transform={transform!r} cannot be called. Pass a function (batch, rng).")
        self.shuffle, self.transform, self.drop_remainder = shuffle, transform, drop_remainder
        self.x = _arrays(x)
        self.y = None if y is None else _arrays(y)
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.rows = _common_length(self.x, self.y, self.sample_weight)
        if not len(self):
            raise ArgumentError(
                f"Batches: drop_remainder=True drops all {self.rows} rows, fewer than batch_size={self.batch_size}. "
                "Lower batch_size, or keep the remainder."
            )
        self.set_epoch(0)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return self.rows // self.batch_size if self.drop_remainder else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        number, step = self._next
        self.set_epoch(number + 1)
        return self.epoch(number, step)

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Let the next loop walk this epoch, from this step on."""
        self._next = (_integer("epoch", epoch, 0), self._step(step))

    def epoch(self, number: int, step: int = 0) -> Iterator[Any]:
        """Walk epoch `number` from `step` on."""
        number, step = _integer("epoch", number, 0), self._step(step)
        return self._ahead(number, step) if self.prefetch else self._one_by_one(number, step)

    def order(self, epoch: int) -> NDArray[np.intp]:
        """Return the row numbers (N,) in the order in which the epoch meets them."""
        if not self.shuffle:
            return np.arange(self.rows)
        return self._generator(epoch, 0).permutation(self.rows)

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        key = np.array([self.seed, epoch], np.uint64)  # a list with a number from 2^63 up would go through float64
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))

    def _step(self, step: int) -> int:
        if _integer("step", step, 0) > len(self):
            raise IndexRangeError(
                f"Batches: step={step} lies beyond the {len(self)} steps of an epoch. Start the next."
            )
        return step

    def _batch(self, epoch: int, step: int, order: NDArray[np.intp]) -> Any:
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        x = self._rows_of_x(rows)
        if self.transform is not None:
            x = self.transform(x, self._generator(epoch, step + 1))
            met = {len(leaf) for leaf in _leaves(x)}
            if met != {len(rows)}:
                raise ShapeError(
                    f"Batches: transform returned {sorted(met)} rows for a batch of {len(rows)}. It has to keep them."
                )
        if self.sample_weight is not None:
            return x, (None if self.y is None else _take(self.y, rows)), self.sample_weight.take(rows)
        return x if self.y is None else (x, _take(self.y, rows))

    def _rows_of_x(self, rows: NDArray[np.intp]) -> Arrays:
        return _take(self.x, rows)

    def _one_by_one(self, epoch: int, step: int) -> Iterator[Any]:
        order = self.order(epoch)
        for s in range(step, len(self)):
            yield self._batch(epoch, s, order)

    def _ahead(self, epoch: int, step: int) -> Iterator[Any]:
        from concurrent.futures import ThreadPoolExecutor

        order = self.order(epoch)
        steps = iter(range(step, len(self)))
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        try:
            ready = deque(pool.submit(self._batch, epoch, s, order) for s in islice(steps, self.prefetch))
            while ready:
                batch = ready.popleft().result()  # an error in the thread is raised here
                ready.extend(pool.submit(self._batch, epoch, s, order) for s in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # a loop that breaks off waits for one batch at most


# --- nested arrays ----------------------------------------------------------------------------------------------------


def _arrays(tree: Arrays) -> Arrays:
    """Return the same nesting of NumPy arrays; a list of arrays counts as a tuple, a list of numbers as an array."""
    if isinstance(tree, tuple) or (isinstance(tree, list) and any(hasattr(item, "shape") for item in tree)):
        return tuple(_arrays(item) for item in tree)
    return np.asarray(tree)


def _leaves(tree: Arrays) -> list[NDArray[Any]]:
    return [leaf for item in tree for leaf in _leaves(item)] if isinstance(tree, tuple) else [tree]


def _named(tree: Arrays, name: str) -> list[tuple[str, NDArray[Any]]]:
    if not isinstance(tree, tuple):
        return [(name, tree)]
    return [pair for i, item in enumerate(tree) for pair in _named(item, f"{name}[{i}]")]


def _take(tree: Arrays, rows: NDArray[np.intp]) -> Arrays:
    return tuple(_take(item, rows) for item in tree) if isinstance(tree, tuple) else tree.take(rows, axis=0)


# --- checks -----------------------------------------------------------------------------------------------------------


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value < 2**64:
        raise ArgumentError(f"Batches: {name}={value!r} must be an integer of at least {least}.")
    return int(value)


def _common_length(x: Arrays, y: Arrays | None, sample_weight: NDArray[Any] | None) -> int:
    named = [pair for name, tree in (("x", x), ("y", y)) if tree is not None for pair in _named(tree, name)]
    if not _leaves(x):
        raise DataError("Batches: x holds no array. Pass an array (N,...), or a tuple of arrays.")
    if sample_weight is not None:
        named.append(("sample_weight", sample_weight))
        if sample_weight.ndim != 1:
            raise ShapeError(
                f"Batches: sample_weight has shape {sample_weight.shape}; it takes one number a row, (N,)."
            )
    for name, array in named:
        if array.dtype == object:
            raise DTypeError(f"Batches: {name} has dtype object: its rows differ in length or type. Make it regular.")
        if array.ndim == 0:
            raise ShapeError(f"Batches: {name} is a single value, shape (); its first axis must count the rows.")
    lengths = {name: len(array) for name, array in named}
    if len(set(lengths.values())) > 1:
        met = ", ".join(f"{name} has {length:,} rows" for name, length in lengths.items())
        raise ShapeError(f"Batches: {met}. All must have one length, N.")
    name, first = named[0]
    if not len(first):
        raise DataError(f"Batches: {name} has 0 rows, shape {first.shape}. Check the filter or the path that made it.")
    return len(first)
