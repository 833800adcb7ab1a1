"""Small things that a data script needs, under the names that Keras gives them (`keras.utils`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from engine.errors import ArgumentError, DataError, DTypeError, IndexRangeError


def to_categorical(y: ArrayLike, num_classes: int | None = None, dtype: DTypeLike = "float32") -> NDArray[Any]:
    r"""Return the one-hot rows of class labels: \(Y_{n,k} = 1\) if \(k = y_n\), else 0.

    y: integers of any shape (...), or (...,1), whose last axis is dropped as Keras does; the result is (...,
    num_classes), by default with one class more than the largest label. Raises IndexRangeError for a label outside of
    0..num_classes-1.
    """
    given = np.asarray(y)
    labels = _whole_numbers(given)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        if labels.size == 0:
            raise DataError("to_categorical: y is empty, so the number of classes cannot be seen: pass num_classes=.")
        num_classes = int(labels.max()) + 1
    elif num_classes < 1:
        raise ArgumentError(f"to_categorical: num_classes={num_classes} must be at least 1.")
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        at = ", ".join(map(str, where))
        raise IndexRangeError(
            f"to_categorical: label {labels[where]} at y[{at}] is outside of 0..{num_classes - 1} "
            f"(num_classes={num_classes}). Labels count from 0: raise num_classes, or subtract the smallest "
            f"label, {labels.min()}."
        )
    hot: NDArray[Any] = labels[..., None] == np.arange(num_classes)
    return hot.astype(dtype)  # (...,1) == (K,) -> (...,K)


def _whole_numbers(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind not in "biuf":
        raise DTypeError(f"to_categorical: y has dtype {labels.dtype}; labels are integers. Number the classes from 0.")
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            broken = ~(labels == np.trunc(labels)) | np.isinf(labels)
        if broken.any():
            where = tuple(int(i) for i in np.argwhere(broken)[0])
            at = ", ".join(map(str, where))
            raise DataError(f"to_categorical: y[{at}] = {labels[where]} is not a whole number. Labels count from 0.")
    return labels.astype(np.int64)


def normalize(x: ArrayLike, axis: int = -1, order: float = 2) -> NDArray[Any]:
    r"""Return \(x / \lVert x \rVert_{\mathrm{order}}\) along an axis, in the shape of x; vectors of length 0 stay 0."""
    values = np.atleast_1d(np.asarray(x))
    if values.dtype.kind != "f":
        values = values.astype(np.float32)
    length = np.linalg.norm(values, order, axis, keepdims=True)
    unit: NDArray[Any] = values / np.where(length == 0, 1, length).astype(values.dtype)
    return unit


def check_finite(x: ArrayLike, name: str = "x") -> None:
    """Raise DataError if an array holds NaN or infinity, naming the first place and how many there are."""
    values = np.asarray(x)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    nan, inf = np.isnan(values), np.isinf(values)
    where = tuple(int(i) for i in np.argwhere(nan | inf)[0])
    at = f"{name}[{', '.join(map(str, where))}]" if where else name
    raise DataError(
        f"{name} of shape {values.shape} holds {nan.sum():,} NaN and {inf.sum():,} infinite values, the first at "
        f"{at} = {values[where]}. Drop or fill these values before training."
    )
