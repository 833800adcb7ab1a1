r"""Cross-entropy of one class among many, ℓ = −Σ_k y_k ln ŷ_k, from probabilities ŷ or from logits z: ŷ = softmax(z).

The truth y is a row of probabilities (a one-hot label among them), or the class number alone: the sparse form. From
logits, the loss and its derivative softmax(z) − y are one kernel each; no logarithm of a small probability is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import DTypeError, IndexRangeError, ShapeError
from ..op import composite, op
from ..samples import Domain, Draw
from ..shapes import normalize_axis
from ..tensor import Tensor
from .comparison import clamp
from .exponential import log
from .gather import take_along_axis
from .loss import (
    MISMATCH,
    REDUCTION,
    TINY,
    probability,
    reduce,
    reduced,
    same_shape,
    sample_classes,
    sample_rows,
    smooth,
)
from .reduce import mean, sum
from .shape import expand_dims, moveaxis, squeeze
from .softmax import log_softmax

scores = Domain(-4, 4)


# ------------------------------------------------------------------------------------------------ shared
def check_labels(op: str, labels: Array, shape: tuple[int, ...], axis: int) -> None:
    """Labels are integers 0 .. K−1, one for each row along `axis`."""
    K, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{op}: labels are {labels.dtype}; class numbers are integers: cast with .astype('int64')")
    if labels.shape != rows:
        raise ShapeError(
            f"{op}: labels have shape {labels.shape}, but scores of shape {shape} with classes on axis {axis} "
            f"need {rows}"
        )

    def explain(at: tuple[int, ...], label: int) -> IndexRangeError:
        remedy = (
            "drop the unlabelled samples, or give them weight 0 and any valid label"
            if label < 0
            else f"give the last layer {label + 1} units, or renumber the labels from 0"
        )
        return IndexRangeError(
            f"{op}: label {label} at position {at[0] if len(at) == 1 else at} is out of range for {K} classes, "
            f"0 to {K - 1}; {remedy}"
        )

    backend_of(labels).check_bounds(labels, 0, K, explain)


def _sample_sparse(prediction: Domain, **options: list[Any]) -> Any:
    def sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        shape, params = sample_rows(draw)
        rows = np.delete(np.array(shape), params["axis"]).tolist()
        labels = draw.rng.integers(0, shape[params["axis"]], rows)
        return [labels, draw.array(shape, prediction)], {**params, **{k: draw.choice(v) for k, v in options.items()}}

    return sample


OUT_OF_RANGE = (
    lambda f: f(np.array([0, 3]), np.ones((2, 3)) / 3),
    r"label 3 at position 1 is out of range for 3 classes, 0 to 2; give the last layer 4 units",
)
NEGATIVE = (
    lambda f: f(np.array([0, -1]), np.ones((2, 3)) / 3),
    r"label -1 at position 1 is out of range for 3 classes, 0 to 2; drop the",
)
FLOATS = (lambda f: f(np.array([0.0, 1.0]), np.ones((2, 3)) / 3), r"labels are float64; class numbers are integers")
ROWS = (
    lambda f: f(np.array([0]), np.ones((2, 3)) / 3),
    r"labels have shape \(1,\), but scores of shape \(2, 3\) .* need \(2,\)",
)


def _pick(x: Tensor, labels: Tensor, axis: int) -> Tensor:
    """x at each row's label: (.., K, ..), (.., ..) -> (.., ..)."""
    picked: Tensor = squeeze(take_along_axis(x, expand_dims(labels, axis=axis), axis=axis), axis=axis)
    return picked


def _picked(labels: Any, x: Any, axis: int) -> Any:
    return np.take_along_axis(x, np.expand_dims(labels, axis), axis).squeeze(axis)


# ------------------------------------------------------------------------------------------------ from probabilities
def _cce(q: Any, p: Any, *, axis: int, normalise: bool, label_smoothing: float) -> Any:
    p = p / p.sum(axis, keepdims=True) if normalise else p
    return -(smooth(q, p.shape[axis], label_smoothing) * np.log(p)).sum(axis)


@composite(
    "categorical_cross_entropy",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=sample_classes(probability, normalise=[True, False], label_smoothing=[0.0, 0.1]),
    definition=r"\ell = -\sum_k y_k \ln \hat{y}_k",
    equations=("E16", "E22"),
    reference=reduced(_cce),
    errors=[MISMATCH, REDUCTION],
)
def categorical_cross_entropy(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    axis: int = -1,
    normalise: bool = False,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of probabilities ŷ against probabilities (or one-hot labels) y along `axis`. E16 and E22.

    .. math:: \ell = -\sum_k y_k \ln \hat{y}_k

    ŷ is clipped to [10⁻⁷, 1 − 10⁻⁷]; `normalise` first divides it by its sum, as Keras does (after a softmax it changes
    nothing). Prefer cross_entropy, from logits.
    """
    same_shape("categorical_cross_entropy", y_true, y_pred)
    p = y_pred / sum(y_pred, axis=axis, keepdims=True) if normalise else y_pred
    q = smooth(y_true, y_pred.shape[axis], label_smoothing)
    return reduce(-sum(q * log(clamp(p, TINY, 1 - TINY)), axis=axis), reduction)


@composite(
    "sparse_categorical_cross_entropy",
    autocast="float32",
    shapes="y_true:(*R), y_pred:(*B) -> y:(*Q)",
    samples=_sample_sparse(probability),
    definition=r"\ell = -\ln \hat{y}_{k}, \quad k = \text{the label}",
    equations=("E16", "E22"),
    reference=reduced(lambda k, p, axis: -np.log(_picked(k, p, axis))),
    errors=[OUT_OF_RANGE, NEGATIVE, FLOATS, ROWS],
)
def sparse_categorical_cross_entropy(
    y_true: Tensor, y_pred: Tensor, *, axis: int = -1, reduction: str = "mean"
) -> Tensor:
    r"""categorical_cross_entropy for class numbers: y_true (*B), y_pred (*B,K) of probabilities (K on `axis`).

    .. math:: \ell = -\ln \hat{y}_k \quad \text{where } k \text{ is the label}

    Raises IndexRangeError for a label outside of 0 .. K−1, naming its position.
    """
    axis = normalize_axis("sparse_categorical_cross_entropy", axis, y_pred.ndim)
    check_labels("sparse_categorical_cross_entropy", y_true.data, y_pred.shape, axis)
    return reduce(-log(clamp(_pick(y_pred, y_true, axis), TINY, 1 - TINY)), reduction)


# ------------------------------------------------------------------------------------------------ from logits
def _label_composition(labels: Any, logits: Any, *, label_smoothing: float) -> Any:
    log_p = log_softmax(logits)
    losses = -_pick(log_p, labels, -1)
    return (1 - label_smoothing) * losses - label_smoothing * mean(log_p, axis=-1) if label_smoothing else losses


def _single(sample: Any) -> Any:
    """The same draws for an op that gives single losses, with classes on the last axis."""

    def drawn(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        (y_true, scores), params = sample(draw)
        axis = params.pop("axis")
        del params["reduction"]
        moved = np.moveaxis(scores, axis, -1)
        return [y_true if y_true.ndim < scores.ndim else np.moveaxis(y_true, axis, -1), moved], params

    return drawn


def _reference(y_true: Any, z: Any, axis: int, label_smoothing: float) -> Any:
    """Single losses of logits in NumPy, for labels or probabilities."""
    log_p = z - np.logaddexp.reduce(z, axis, keepdims=True)
    if y_true.dtype.kind in "iu":
        return -(1 - label_smoothing) * _picked(y_true, log_p, axis) - label_smoothing * log_p.mean(axis)
    return -(smooth(y_true, z.shape[axis], label_smoothing) * log_p).sum(axis)


@op(
    "cross_entropy_with_labels",
    autocast="float32",
    shapes="labels:(*B), logits:(*B,K) -> y:(*B)",
    definition=r"\ell = \ln \sum_r e^{z_r} - z_k, \quad k = \text{the label}",
    indices=("labels",),
    composition=_label_composition,
    why="one pass per row gives the loss, and one the derivative softmax(z) − y; no row of log-probabilities is stored",
    samples=_single(_sample_sparse(scores, label_smoothing=[0.0, 0.1])),
    reference=lambda k, z, *, label_smoothing: _reference(k, z, -1, label_smoothing),
    errors=[OUT_OF_RANGE, NEGATIVE, FLOATS],
)
def cross_entropy_with_labels(labels: Array, logits: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    r"""−ln softmax(z)_k of each row of logits z, for its label k: (*B) integers, (*B,K) -> (*B).

    .. math:: \ell = \ln \sum_r e^{z_r} - z_k, \quad \bar{z} = (\operatorname{softmax}(z) - e_k) \, \bar{\ell}
    """
    check_labels("cross_entropy", labels, logits.shape, logits.ndim - 1)
    smooth(0.0, 1, label_smoothing)
    return backend_of(logits).kernel("cross_entropy", "label_losses")(labels, logits, label_smoothing)  # type: ignore[no-any-return]


@cross_entropy_with_labels.vjp
def _(g, y, aux, labels, logits, *, label_smoothing, needs):  # type: ignore[no-untyped-def]
    kernel = backend_of(logits.data).kernel("cross_entropy", "label_losses_gradient")
    return None, kernel(g.data, labels.data, logits.data, aux, label_smoothing)


def _probability_composition(q: Any, logits: Any, *, label_smoothing: float) -> Any:
    return -sum(smooth(q, logits.shape[-1], label_smoothing) * log_softmax(logits), axis=-1)


@op(
    "cross_entropy_with_probabilities",
    autocast="float32",
    shapes="q:(*B,K), logits:(*B,K) -> y:(*B)",
    definition=r"\ell = -\sum_k q_k \left(z_k - \ln \sum_r e^{z_r}\right)",
    composition=_probability_composition,
    samples=_single(sample_classes(scores, label_smoothing=[0.0, 0.1])),
    reference=lambda q, z, *, label_smoothing: _reference(q, z, -1, label_smoothing),
    errors=[
        (
            lambda f: f(np.zeros((1, 3)), np.zeros((3, 3))),
            r"y_true has shape \(1, 3\), y_pred \(3, 3\); they must be equal",
        )
    ],
)
def cross_entropy_with_probabilities(q: Array, logits: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    r"""Cross-entropy of each row of softmax(z) against probabilities q: (*B,K), (*B,K) -> (*B).

    .. math:: \ell = -\sum_k q_k \ln \operatorname{softmax}(z)_k, \quad
        \bar{z} = \Big(\operatorname{softmax}(z) \sum_k q_k - q\Big) \, \bar{\ell}
    """
    same_shape("cross_entropy", q, logits)
    smooth(0.0, 1, label_smoothing)
    return backend_of(logits).kernel("cross_entropy", "probability_losses")(q, logits, label_smoothing)  # type: ignore[no-any-return]


@cross_entropy_with_probabilities.vjp
def _(g, y, aux, q, logits, *, label_smoothing, needs):  # type: ignore[no-untyped-def]
    kernel = backend_of(logits.data).kernel("cross_entropy", "probability_losses_gradient")
    return kernel(g.data, q.data, logits.data, aux, label_smoothing, needs)


@composite(
    "cross_entropy",
    autocast="float32",
    shapes="y_true:(*R), logits:(*B) -> y:(*Q)",
    samples=lambda draw: draw.choice([_sample_sparse, sample_classes])(scores, label_smoothing=[0.0, 0.1])(draw),
    definition=r"\ell = -\sum_k y_k \ln \operatorname{softmax}(z)_k",
    equations=("E16", "E22"),
    errors=[OUT_OF_RANGE, NEGATIVE, FLOATS, ROWS, REDUCTION],
    reference=reduced(lambda t, z, *, axis, label_smoothing: _reference(t, z, axis, label_smoothing)),
)
def cross_entropy(
    y_true: Tensor, logits: Tensor, *, axis: int = -1, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    r"""Cross-entropy of softmax(logits) along `axis` with class numbers (*B), or probabilities (*B,K). E16 and E22.

    .. math:: \ell = -\sum_k y_k \ln \frac{e^{z_k}}{\sum_r e^{z_r}}

    logits: (*B,K). label_smoothing α replaces y by y (1 − α) + α / K. Raises IndexRangeError for a label outside of
    0 .. K−1, naming its position and the remedy; ShapeError where shapes don't fit.
    """
    axis = normalize_axis("cross_entropy", axis, logits.ndim)
    sparse = y_true.ndim < logits.ndim
    if sparse:
        check_labels("cross_entropy", y_true.data, logits.shape, axis)
    else:
        same_shape("cross_entropy", y_true, logits)
    if axis != logits.ndim - 1:
        y_true, logits = y_true if sparse else moveaxis(y_true, axis, -1), moveaxis(logits, axis, -1)
    single = cross_entropy_with_labels if sparse else cross_entropy_with_probabilities
    return reduce(single(y_true, logits, label_smoothing=label_smoothing), reduction)
