"""What `fit`, `evaluate` and `predict` make of the arrays they are given, and what they refuse.

Everything is looked at once, before the first step, so that the steps can be lean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data import check_finite
from engine.errors import ArgumentError, DataError, DTypeError, ShapeError
from engine.tensor import Tensor


def arrays(where: str, argument: str, given: Any, names: Sequence[str] | None, dtype: Any) -> tuple[np.ndarray, ...]:
    """One array for each input (or output) of the model, floats in its dtype, all of one length, no NaN.

    names: of the model's inputs; None where the model does not say how many it has.
    """
    parts = _in_order(where, argument, given, names)
    several = len(parts) > 1
    out = []
    for i, part in enumerate(parts):
        name = f"{argument}[{i}]" if several else argument
        try:
            array = part.numpy() if isinstance(part, Tensor) else np.asarray(part)
        except ValueError:  # NumPy's word for it: an inhomogeneous shape
            raise ShapeError(f"{where}: the rows of {name} differ in length; pad them, or cut them, to one") from None
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise DTypeError(
                f"{where}: {name} has dtype {array.dtype}, but a model takes numbers: convert it, and give all rows "
                "one shape"
            )
        if not array.ndim or not len(array):
            raise DataError(
                f"{where}: {name} holds no rows, its shape is {array.shape}: check the filter or the path that made it"
            )
        check_finite(array, f"{where}: {name}")
        out.append(array.astype(dtype) if array.dtype.kind == "f" and array.dtype != dtype else array)
    lengths = {len(a) for a in out}
    if len(lengths) > 1:
        raise ShapeError(f"{where}: the arrays in {argument} have {_words(map(len, out))} rows; they need as many each")
    return tuple(out)


def _in_order(where: str, argument: str, given: Any, names: Sequence[str] | None) -> list[Any]:
    if isinstance(given, Mapping):
        if names is None or given.keys() != set(names):
            raise ArgumentError(
                f"{where}: {argument} is a dict with {_words(given)}, but the model's names are "
                f"{_words(names or ['(none)'])}"
            )
        return [given[name] for name in names]
    many = isinstance(given, (list, tuple)) and any(hasattr(part, "shape") and np.ndim(part) for part in given)
    parts = list(given) if many and (names is None or len(names) > 1 or len(given) == 1) else [given]
    if names is not None and len(parts) != len(names):
        raise ShapeError(
            f"{where}: {argument} holds {len(parts)} array{'s' * (len(parts) > 1)}, but the model takes {len(names)}: "
            f"{_words(names)}"
        )
    return parts


def equal_lengths(where: str, **named: Any) -> None:
    """x, y and sample_weight have one row for each sample."""
    lengths = {name: len(parts[0]) for name, parts in named.items() if parts is not None and len(parts)}
    if len(set(lengths.values())) > 1:
        rows = ", ".join(f"{name} has {n:,} rows" for name, n in lengths.items())
        raise ShapeError(f"{where}: {rows}; they need one row for each sample")


def fits_input(
    where: str, x: Sequence[np.ndarray], shapes: Sequence[tuple[int | None, ...]], names: Sequence[str]
) -> None:
    """Samples have the shape that the model was built for."""
    for array, shape, name in zip(x, shapes, names, strict=False):
        wanted = tuple(shape[1:])
        if array.ndim - 1 == len(wanted) and all(m in (None, n) for m, n in zip(wanted, array.shape[1:], strict=True)):
            continue
        which = "x" if len(x) == 1 else f"x['{name}']"
        remedy = f"reshape it to (N, {', '.join('?' if n is None else str(n) for n in wanted)})"
        if array.shape[1:] + (1,) == wanted:
            remedy = f"add the channel axis, {which}[..., None]"
        elif array.shape == wanted:
            remedy = f"a single sample needs a batch axis, {which}[None]"
        elif array.ndim - 1 == len(wanted) and not _same_size(array.shape[1:], wanted):
            remedy = "bring each sample to this size"
            if array.dtype.kind in "iu":  # words
                free = tuple(m if m == n else None for m, n in zip(wanted, array.shape[1:], strict=True))
                remedy += f", or begin the model with Input({free}), which takes texts of any length"
        raise ShapeError(
            f"{where}: {which} has shape {array.shape}, so one sample is {array.shape[1:]}, but the model takes "
            f"{wanted}: {remedy}"
        )


def _same_size(a: Sequence[int], b: Sequence[int | None]) -> bool:
    """Can one be reshaped to the other?"""
    return None not in b and np.prod(a) == np.prod([n or 0 for n in b])


def count(where: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number, at least so large."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{where}: {name}={value!r} must be a whole number of at least {least}")
    return int(value)


def weights(where: str, y: Sequence[np.ndarray], sample_weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """One weight a row, from `sample_weight`, `class_weight` or both (multiplied); None from neither."""
    rows = None
    if sample_weight is not None:
        (rows,) = arrays(where, "sample_weight", sample_weight, ["sample_weight"], np.float32)
        if rows.ndim != 1:
            raise ShapeError(f"{where}: sample_weight has shape {rows.shape}; it takes one number a row, (N,)")
        if (rows < 0).any():
            raise DataError(f"{where}: sample_weight holds negative numbers, such as {rows.min()}; use 0 or more")
    if class_weight is None:
        return rows
    if len(y) != 1:
        raise ArgumentError(f"{where}: class_weight needs one output, but the model has {len(y)}: use sample_weight")
    labels = y[0].argmax(-1) if y[0].ndim > 1 and y[0].shape[-1] > 1 else y[0].reshape(len(y[0]), -1)[:, 0]
    if labels.ndim != 1:
        raise ShapeError(f"{where}: class_weight needs one class a row, y has shape {y[0].shape}: use sample_weight")
    by_class = np.ones(len(labels), np.float32)
    for label, weight in class_weight.items():
        by_class[labels == label] = weight
    return by_class if rows is None else rows * by_class


def last_part(where: str, share: float, *trees: Any) -> tuple[Any, Any]:
    """The first (1 - share) of the rows, and the last `share` of them."""
    n = len(trees[0][0])
    cut = int(n * (1 - share))
    if not 0 < cut < n:
        raise ArgumentError(
            f"{where}: validation_split={share} of {n} rows leaves {cut} to train on and {n - cut} to validate with; "
            "both need rows"
        )

    def split(tree: Any, rows: slice) -> Any:
        return None if tree is None else tuple(a[rows] for a in tree) if isinstance(tree, tuple) else tree[rows]

    return tuple(split(t, slice(cut)) for t in trees), tuple(split(t, slice(cut, n)) for t in trees)


def _words(things: Any) -> str:
    return ", ".join(str(thing) for thing in things)
