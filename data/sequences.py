"""Rows of different lengths: made one length by padding, and batched with others of like length.

    x = pad_sequences([[7, 8, 9], [5]], maxlen=4)                 # [[0, 7, 8, 9], [0, 0, 0, 5]]
    batches = BucketedBatches(reviews, y, batch_size=64)          # each as long as its longest review

Filling with 0 has a meaning: number 0 is no word, and `Embedding(mask_zero=True)` lets the layers behind it skip it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from data.batches import Arrays, Batches, Transform
from engine.errors import ArgumentError, DataError, DTypeError, ShapeError


def pad_sequences(
    sequences: Sequence[ArrayLike],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> NDArray[Any]:
    """Return one array (N,maxlen,...): each sequence (T_n,...) filled up with `value`, or cut, to one length.

    maxlen: None is the longest. padding, truncating: "pre" fills and cuts before the sequence, "post" behind it; "pre"
    keeps a recurrent network's last step on the last word. Names and defaults are Keras's.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ArgumentError(f'pad_sequences: {name}={side!r} must be "pre" or "post".')
    if isinstance(sequences, str) or not hasattr(sequences, "__len__"):
        raise ArgumentError(f"pad_sequences: takes a list of sequences, met a {type(sequences).__name__}.")
    rows = [_sequence(sequence, place) for place, sequence in enumerate(sequences)]
    filled = next((row for row in rows if len(row)), np.empty(0))
    for place, row in enumerate(rows):
        if len(row) and row.shape[1:] != filled.shape[1:]:
            raise ShapeError(
                f"pad_sequences: sequences[{place}] has steps of shape {row.shape[1:]}, those before it "
                f"{filled.shape[1:]}. Only the number of steps may differ."
            )
    if maxlen is not None and maxlen < 1:
        raise ArgumentError(f"pad_sequences: maxlen={maxlen} must be at least 1.")
    length = max(map(len, rows), default=0) if maxlen is None else maxlen
    out = np.full((len(rows), length, *filled.shape[1:]), value, dtype)
    for target, row in zip(out, rows, strict=True):
        kept = row[max(0, len(row) - length) :] if truncating == "pre" else row[:length]
        if len(kept):
            target[length - len(kept) if padding == "pre" else 0 :][: len(kept)] = kept
    return out


def _sequence(sequence: ArrayLike, place: int) -> NDArray[Any]:
    array = np.asarray(sequence)
    if array.ndim == 0:
        raise ShapeError(
            f"pad_sequences: sequences[{place}] is the single value {sequence!r}, not a sequence of steps."
        )
    if array.size and array.dtype.kind not in "biuf":
        raise DTypeError(
            f"pad_sequences: sequences[{place}] has dtype {array.dtype}; steps are numbers. Turn words into numbers "
            "first, with data.TextVectorization."
        )
    return array


class BucketedBatches(Batches):
    """Batches of rows of like length, so that little time goes into padding.

    x: sequences of different lengths (T_n,); or arrays (N,T) that are padded already, with the `lengths` (N,) of their
    rows. A batch is as long as its longest row, rounded up to a multiple of `multiple` (few different shapes, so few
    new buffers), at most T. padding says on which side the filling is, "pre" or "post". In a tuple of arrays those of
    T columns are cut alike.

    shuffle: the rows of an epoch are shuffled, pools of `pool` batches are sorted by length and cut into batches, and
    the batches shuffled: a row meets other company in each epoch, and no order by length is left. Without shuffling
    the rows come sorted by length. Either way the order is a function of (seed, epoch), as in `Batches`.
    """

    def __init__(
        self,
        x: Any,
        y: Arrays | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        transform: Transform | None = None,
        sample_weight: ArrayLike | None = None,
        prefetch: int = 0,
        *,
        lengths: ArrayLike | None = None,
        maxlen: int | None = None,
        padding: str = "pre",
        truncating: str = "pre",
        multiple: int = 8,
        pool: int = 50,
    ) -> None:
        if multiple < 1 or pool < 1:
            raise ArgumentError(f"BucketedBatches: multiple={multiple} and pool={pool} must be at least 1.")
        if lengths is None:
            lengths = np.array([len(row) for row in x], np.int64)
            x = pad_sequences(x, maxlen, padding=padding, truncating=truncating)
        elif maxlen is not None:
            raise ArgumentError("BucketedBatches: maxlen= is for sequences; arrays with lengths= are cut already.")
        elif padding not in ("pre", "post"):
            raise ArgumentError(f'BucketedBatches: padding={padding!r} must be "pre" or "post".')
        self.padding, self.multiple, self.pool = padding, multiple, pool
        self.lengths, self.width = np.asarray(lengths, np.int64), _width(x)
        super().__init__(x, y, batch_size, shuffle, seed, transform, sample_weight=sample_weight, prefetch=prefetch)
        if self.lengths.shape != (self.rows,):
            raise ShapeError(
                f"BucketedBatches: lengths has shape {self.lengths.shape}; it takes one length a row, ({self.rows},)."
            )
        self.lengths = np.clip(self.lengths, 1, self.width)  # a batch has a step, even if its rows have none

    def order(self, epoch: int) -> NDArray[np.intp]:
        """Return the row numbers (N,) in the order in which the epoch meets them."""
        if not self.shuffle:
            return np.argsort(self.lengths, kind="stable")
        rng = self._generator(epoch, 0)
        rows = rng.permutation(self.rows)
        for first in range(0, self.rows, self.pool * self.batch_size):
            some = rows[first : first + self.pool * self.batch_size]
            some[:] = some[np.argsort(self.lengths[some], kind="stable")]
        whole = self.rows // self.batch_size  # what is left over stays at the end
        batches = rows[: whole * self.batch_size].reshape(whole, self.batch_size)
        batches[:] = batches[rng.permutation(whole)]
        return rows

    def _rows_of_x(self, rows: NDArray[np.intp]) -> Arrays:
        longest = int(self.lengths[rows].max())
        length = min(self.width, -(-longest // self.multiple) * self.multiple)
        return self._cut(super()._rows_of_x(rows), length)

    def _cut(self, tree: Arrays, length: int) -> Arrays:
        if isinstance(tree, tuple):
            return tuple(self._cut(item, length) for item in tree)
        if tree.ndim < 2 or tree.shape[1] != self.width:
            return tree
        return tree[:, self.width - length :] if self.padding == "pre" else tree[:, :length]


def _width(x: Arrays) -> int:
    """T, the number of columns of the first array."""
    first = x
    while isinstance(first, (tuple, list)) and first and not np.isscalar(first[0]):
        first = first[0]
    array = np.asarray(first)
    if array.ndim < 2 or not array.shape[1]:
        raise DataError(f"BucketedBatches: x has shape {array.shape}; rows need steps, (N,T) with T of at least 1.")
    return int(array.shape[1])
