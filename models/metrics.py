r"""How good are the predictions? Metrics that add up over batches.

    m = Precision()
    m.update(y_true, y_pred)        # once a batch
    m.result()                      # over all batches since reset()

Every metric keeps sums in float64, so the result does not depend on how the rows were cut into batches (beyond the
rounding of these sums), and a batch costs a few passes over its predictions. `compile(metrics=...)` takes instances,
the names of the table at the end ("accuracy" picks its kind by the loss and the shapes), and functions
f(y_true, y_pred) -> (N,) of NumPy arrays, which are averaged.

Shapes: y_pred (N,...,C); y_true the same, or class numbers (N,...) where the metric says so. sample_weight (N,) or
broadcastable to one number a row. Names and defaults are Keras'; where they differ the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import ArgumentError
from models.averages import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    Function,
    Mean,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from models.confusion import AUC, ClassCounts, ConfusionMatrix, F1Score, Precision, Recall

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ClassCounts",
    "ConfusionMatrix",
    "F1Score",
    "Function",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
]

NAMES: dict[str, Callable[..., Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1_score": F1Score,
    "auc": AUC,
    "confusion_matrix": ConfusionMatrix,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
}


def get(
    wanted: Any,
    *,
    target_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    binary: bool = False,
    logits: bool = False,
) -> Metric:
    """The metric that `compile` was asked for: a Metric, a name, or a function.

    target_shape, output_shape   of y_true and y_pred, the first side being the batch
    binary, logits               is the loss binary cross-entropy? Then "accuracy" is the binary one, too. Does it take
                                 logits? Then the threshold is 0 instead of 1/2
    """
    if isinstance(wanted, Metric):
        return wanted
    if wanted in ("accuracy", "acc"):
        if binary or output_shape[-1] == 1 or len(output_shape) == 1:
            return BinaryAccuracy(wanted, 0.0 if logits else 0.5)
        return (CategoricalAccuracy if target_shape == output_shape else SparseCategoricalAccuracy)(wanted)
    if isinstance(wanted, str):
        if wanted.lower() not in NAMES:
            raise ArgumentError(f"compile: metrics holds '{wanted}', which is none of: accuracy, {', '.join(NAMES)}")
        return NAMES[wanted.lower()](name=wanted)
    if callable(wanted):
        return Function(wanted)
    raise ArgumentError(f"compile: metrics takes names, Metric objects and functions, got {wanted!r}")
