"""Metrics: the base, averages of one number a row, and the accuracies among them. `models.metrics` has all names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine import config
from engine.errors import ArgumentError, DataError, IndexRangeError, ShapeError

Array = NDArray[Any]


class Metric(config.Configurable, family="metric"):
    """Base: sums that `update` adds to and `result` reads. Subclasses list their sums in `begin`."""

    name: str

    def __init__(self, name: str | None = None) -> None:
        self.name = name or _snake(type(self).__name__)
        self.reset()

    def begin(self) -> dict[str, Any]:
        """The sums of no rows at all."""
        raise NotImplementedError

    def add(self, y_true: Array, y_pred: Array, weight: Array | None) -> None:
        raise NotImplementedError

    def result(self) -> Any:
        """The metric over all rows since reset(); NaN where there were none."""
        raise NotImplementedError

    def update(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Add a batch."""
        true, predicted = np.asarray(y_true), np.asarray(y_pred)
        if not true.ndim or not predicted.ndim or len(true) != len(predicted):
            raise ShapeError(
                f"{self.name}: y_true has shape {true.shape} and y_pred {predicted.shape}; "
                "both need one row for each sample, so their first axes must be equal"
            )
        self.add(true, predicted, None if sample_weight is None else np.asarray(sample_weight, np.float64))

    def reset(self) -> None:
        self.sums = self.begin()

    # Keras' words for the same
    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        self.update(y_true, y_pred, sample_weight)

    def reset_state(self) -> None:
        self.reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}={self.result()})"


# --- averages of one number a row -----------------------------------------------------------------------------------


class MeanMetric(Metric):
    r"""\(\sum_i w_i v_i / \sum_i w_i\) with one value a row from `values`; the base of losses and accuracies."""

    def begin(self) -> dict[str, Any]:
        return {"total": 0.0, "weight": 0.0}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One number a row (N,), or more a row (N,...)."""
        raise NotImplementedError

    def add(self, y_true: Array, y_pred: Array, weight: Array | None) -> None:
        values = self.values(y_true, y_pred)
        if weight is None:
            self.sums["total"] += float(values.sum(dtype=np.float64))
            self.sums["weight"] += values.size
        else:
            weight = weight_like(self.name, weight, values)
            self.sums["total"] += float((weight * values).sum())
            self.sums["weight"] += float(weight.sum())

    def result(self) -> float:
        return self.sums["total"] / self.sums["weight"] if self.sums["weight"] else math.nan


class Mean(MeanMetric):
    """The weighted mean of plain numbers: `update(loss, n)` adds a number that stands for n rows."""

    def update(self, value: float, rows: float = 1) -> None:  # type: ignore[override]
        self.sums["total"] += value * rows
        self.sums["weight"] += rows


class Function(MeanMetric):
    """The mean of a function f(y_true, y_pred) -> (N,...) of NumPy arrays."""

    def __init__(self, function: Callable[[Array, Array], ArrayLike], name: str | None = None) -> None:
        self.function = function
        super().__init__(name or getattr(function, "__name__", "metric"))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred), np.float64)


class MeanSquaredError(MeanMetric):
    r"""\(\frac1n \sum (y - \hat y)^2\)"""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(same_shape(self.name, y_true, y_pred) - y_pred.astype(np.float64))


class MeanAbsoluteError(MeanMetric):
    r"""\(\frac1n \sum |y - \hat y|\)"""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.abs(same_shape(self.name, y_true, y_pred) - y_pred.astype(np.float64))


class RootMeanSquaredError(MeanSquaredError):
    r"""\(\sqrt{\frac1n \sum (y - \hat y)^2}\)"""

    def result(self) -> float:
        return math.sqrt(super().result())


# --- accuracies -----------------------------------------------------------------------------------------------------


class Accuracy(MeanMetric):
    """How often y_pred equals y_true exactly: for predictions that are class numbers."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred == same_shape(self.name, y_true, y_pred)


class BinaryAccuracy(MeanMetric):
    """How often a probability is on the right side of the threshold. For logits the threshold is 0."""

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        self.threshold = threshold
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (y_pred > self.threshold) == (same_shape(self.name, y_true, y_pred) > 0.5)


class CategoricalAccuracy(MeanMetric):
    """How often the most probable class is the one that a one-hot y_true (N,...,C) marks."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred.argmax(-1) == same_shape(self.name, y_true, y_pred).argmax(-1)  # (N,C) -> (N,)


class SparseCategoricalAccuracy(MeanMetric):
    """How often the most probable class is the class number y_true (N,...)."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred.argmax(-1) == class_numbers(self.name, y_true, y_pred)  # (N,C) -> (N,)


class SparseTopKCategoricalAccuracy(MeanMetric):
    """How often the class number y_true (N,...) is among the k most probable; of equal ones, the first classes win."""

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if k < 1:
            raise ArgumentError(f"{type(self).__name__}: k={k} must be at least 1")
        self.k = k
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        labels = class_numbers(self.name, y_true, y_pred)
        own = np.take_along_axis(y_pred, labels[..., None], -1)  # (N,C) -> (N,1)
        earlier = np.arange(y_pred.shape[-1]) < labels[..., None]
        rank = ((y_pred > own) | ((y_pred == own) & earlier)).sum(-1)
        return (rank < self.k) & np.isfinite(own[..., 0])


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """The same for a one-hot y_true (N,...,C)."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return super().values(same_shape(self.name, y_true, y_pred).argmax(-1), y_pred)


# --- checks -------------------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    """TopKCategoricalAccuracy -> top_k_categorical_accuracy"""
    return re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def same_shape(name: str, y_true: Array, y_pred: Array) -> Array:
    """y_true in the shape of y_pred: an axis of length 1 at the end may be left out."""
    if y_true.shape == y_pred.shape:
        return y_true
    if y_true.shape + (1,) == y_pred.shape or y_true.shape == y_pred.shape + (1,):
        return y_true.reshape(y_pred.shape)
    hint = "; for class numbers use the sparse metric" if y_true.ndim < y_pred.ndim else ""
    raise ShapeError(f"{name}: y_true has shape {y_true.shape} and y_pred {y_pred.shape}; they must be equal{hint}")


def class_numbers(name: str, y_true: Array, y_pred: Array) -> Array:
    """Class numbers (N,...) of y_pred (N,...,C), checked."""
    labels = y_true[..., 0] if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 else y_true
    if labels.shape != y_pred.shape[:-1]:
        raise ShapeError(
            f"{name}: y_true has shape {y_true.shape} and y_pred {y_pred.shape}; class numbers have one axis less, "
            f"{y_pred.shape[:-1]}. For one-hot rows use the metric without 'sparse'"
        )
    if labels.dtype.kind not in "iub":
        with np.errstate(invalid="ignore"):  # NaN
            whole = labels.astype(np.int64)
        if (whole != labels).any():
            bad = labels[whole != labels][0]
            raise DataError(f"{name}: y_true holds {bad}, but class numbers are whole: 0, 1, 2 ...")
        labels = whole
    if labels.size and (labels.min() < 0 or labels.max() >= y_pred.shape[-1]):
        bad = labels.min() if labels.min() < 0 else labels.max()
        raise IndexRangeError(f"{name}: label {bad} is outside of 0..{y_pred.shape[-1] - 1}, the classes of y_pred")
    return labels.astype(np.int64, copy=False)


def weight_like(name: str, weight: Array, values: Array) -> Array:
    """Weights (N,), or one for each value of a row, in the shape of the values (N,...)."""
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if len(weight) != len(values) or weight.ndim > values.ndim:
        raise ShapeError(
            f"{name}: sample_weight has shape {weight.shape} for values of shape {values.shape}; "
            "it takes one number a row, (N,)"
        )
    return np.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)
