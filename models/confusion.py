"""Metrics that count right and wrong by class, and the areas under their curves. `models.metrics` has all names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.errors import ArgumentError, ShapeError
from models.averages import Array, Metric, class_numbers, same_shape, weight_like


class ClassCounts(Metric):
    """Base of precision, recall and F1: true positives, false positives and false negatives of each class.

    threshold   a class is predicted where its probability is above; None: the most probable one is
    average     "micro" adds the classes' counts (Keras' precision and recall); "macro" averages the classes' results,
                "weighted" with their numbers of rows; None gives one result a class, (C,)

    y_pred (N,) or (N,1): two classes, results are of the positive one. y_pred (N,C): y_true one-hot (N,C), with any
    number of ones, or class numbers (N,). A result that would be 0/0 is 0.
    """

    def __init__(
        self, threshold: float | None = 0.5, average: str | None = "micro", name: str | None = None
    ) -> None:
        if average not in ("micro", "macro", "weighted", None):
            raise ArgumentError(
                f'{type(self).__name__}: average={average!r} must be "micro", "macro", "weighted" or None'
            )
        self.threshold, self.average = threshold, average
        super().__init__(name)

    def begin(self) -> dict[str, Any]:
        return {"true_positives": 0.0, "false_positives": 0.0, "false_negatives": 0.0}  # each becomes (C,)

    def add(self, y_true: Array, y_pred: Array, weight: Array | None) -> None:
        true, predicted = _marks(self.name, y_true, y_pred, self.threshold)  # (N,C), (N,C)
        w = 1.0 if weight is None else weight_like(self.name, weight, true)
        self.sums["true_positives"] += (w * (true & predicted)).sum(0)
        self.sums["false_positives"] += (w * (~true & predicted)).sum(0)
        self.sums["false_negatives"] += (w * (true & ~predicted)).sum(0)

    def ratio(self, tp: Array, fp: Array, fn: Array) -> Array:
        raise NotImplementedError

    def result(self) -> Any:
        tp, fp, fn = (np.asarray(self.sums[k]) for k in ("true_positives", "false_positives", "false_negatives"))
        if self.average == "micro":
            return float(self.ratio(tp.sum(), fp.sum(), fn.sum()))
        each = self.ratio(tp, fp, fn)
        if self.average is None:
            return each
        rows = tp + fn if self.average == "weighted" else np.ones_like(tp)
        return float(_divide((rows * each).sum(), rows.sum()))


class Precision(ClassCounts):
    r"""How many of those predicted are right: \(\frac{TP}{TP + FP}\)"""

    def __init__(
        self, thresholds: float | None = 0.5, name: str | None = None, average: str | None = "micro"
    ) -> None:
        super().__init__(thresholds, average, name)
        self.thresholds = thresholds

    def ratio(self, tp: Array, fp: Array, fn: Array) -> Array:
        return _divide(tp, tp + fp)


class Recall(Precision):
    r"""How many of those that should be found are: \(\frac{TP}{TP + FN}\)"""

    def ratio(self, tp: Array, fp: Array, fn: Array) -> Array:
        return _divide(tp, tp + fn)


class F1Score(ClassCounts):
    r"""The harmonic mean of precision and recall: \(\frac{2\,TP}{2\,TP + FP + FN}\)

    As in Keras the most probable class counts unless a threshold is given. The average is "macro" (Keras: None).
    """

    def __init__(
        self, average: str | None = "macro", threshold: float | None = None, name: str | None = None
    ) -> None:
        super().__init__(threshold, average, name)

    def ratio(self, tp: Array, fp: Array, fn: Array) -> Array:
        return _divide(2 * tp, 2 * tp + fp + fn)


class ConfusionMatrix(Metric):
    """Rows by class (down) and by predicted class (across): (C,C) float64, weights added up.

    y_pred (N,C), or (N,) and (N,1) as the probability of class 1; y_true one-hot or class numbers.
    """

    def __init__(self, num_classes: int | None = None, name: str | None = None) -> None:
        self.num_classes = num_classes
        super().__init__(name)

    def begin(self) -> dict[str, Any]:
        c = self.num_classes or 0
        return {"counts": np.zeros((c, c))}

    def add(self, y_true: Array, y_pred: Array, weight: Array | None) -> None:
        if y_pred.ndim == 1 or y_pred.shape[-1] == 1:
            y_pred = np.stack([1 - y_pred.reshape(-1), y_pred.reshape(-1)], -1)  # (N,) -> (N,2)
            y_true = y_true.reshape(-1) > 0.5
        c = y_pred.shape[-1]
        true = y_true.argmax(-1) if y_true.shape == y_pred.shape else class_numbers(self.name, y_true, y_pred)
        if not self.sums["counts"].size:
            self.sums["counts"] = np.zeros((c, c))
        elif self.sums["counts"].shape != (c, c):
            raise ShapeError(f"{self.name}: y_pred has {c} classes after {len(self.sums['counts'])}; call reset()")
        w = None if weight is None else weight_like(self.name, weight, true).reshape(-1)
        cells = c * true.astype(np.intp) + y_pred.argmax(-1)
        self.sums["counts"] += np.bincount(cells.reshape(-1), w, c * c).reshape(c, c)

    def result(self) -> Array:
        return self.sums["counts"].copy()


class AUC(Metric):
    r"""The area under the ROC or the precision-recall curve, exactly (Keras approximates with 200 thresholds).

    "ROC": \(P(s^+ > s^-) + \frac12 P(s^+ = s^-)\), the chance that a positive row scores above a negative one.
    "PR": \(\sum_k (R_k - R_{k-1}) P_k\), average precision. All scores are kept until reset(): 24 bytes a score.
    y_pred (N,) or (N,1); or (N,C) with one-hot y_true or class numbers: then every element counts as a row. NaN where
    all rows are of one kind.
    """

    def __init__(self, curve: str = "ROC", name: str | None = None) -> None:
        if curve not in ("ROC", "PR"):
            raise ArgumentError(f'AUC: curve={curve!r} must be "ROC" or "PR"')
        self.curve = curve
        super().__init__(name or "auc")

    def begin(self) -> dict[str, Any]:
        return {"batches": []}

    def add(self, y_true: Array, y_pred: Array, weight: Array | None) -> None:
        true, _ = _marks(self.name, y_true, y_pred, 0.5)
        scores = y_pred.reshape(true.shape)
        w = np.ones(true.shape) if weight is None else weight_like(self.name, weight, true)
        self.sums["batches"].append(np.stack([scores.reshape(-1).astype(np.float64), true.reshape(-1), w.reshape(-1)]))

    def result(self) -> float:
        if not self.sums["batches"]:
            return math.nan
        scores, true, w = np.concatenate(self.sums["batches"], axis=1)  # (3,M)
        order = np.argsort(-scores, kind="stable")
        ends = np.r_[np.flatnonzero(np.diff(scores[order])), len(order) - 1]  # equal scores are met at once
        tp, fp = np.cumsum((w * true)[order])[ends], np.cumsum((w * (1 - true))[order])[ends]
        if not tp[-1] or not fp[-1]:
            return math.nan
        if self.curve == "ROC":
            return float(np.trapezoid(np.r_[0, tp] / tp[-1], np.r_[0, fp] / fp[-1]))
        return float((np.diff(np.r_[0, tp]) / tp[-1] * _divide(tp, tp + fp)).sum())


# --- in small ---------------------------------------------------------------------------------------------------


def _divide(a: Any, b: Any) -> Array:
    """a / b, and 0 where both are 0."""
    return np.divide(a, b, out=np.zeros(np.shape(b)), where=np.asarray(b) != 0)


def _marks(name: str, y_true: Array, y_pred: Array, threshold: float | None) -> tuple[Array, Array]:
    """Which classes each row has, and which are predicted: (N,C) booleans; C = 1 for two classes."""
    c = 1 if y_pred.ndim == 1 else y_pred.shape[-1]
    if c > 1 and y_true.shape != y_pred.shape:
        y_true = class_numbers(name, y_true, y_pred)[..., None] == np.arange(c)
    true = same_shape(name, y_true, y_pred).reshape(-1, c) > 0.5
    scores = y_pred.reshape(-1, c)
    if threshold is None and c > 1:
        return true, scores.argmax(-1)[:, None] == np.arange(c)
    return true, scores > (0.5 if threshold is None else threshold)
