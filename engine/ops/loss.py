r"""Losses: how far a prediction is from the truth, in one number. Those of one class among many: cross_entropy.py.

Each takes (y_true, y_pred) and `reduction`: "mean" over all losses, "sum", or "none". There is one loss per element,
or, with `axis`, one per sample: the mean along it. The divergence sums over the classes there instead.

Each is a formula of one element, and its losses are averaged or summed as they are computed (summed.py).

From probabilities, logarithms are kept finite by clipping to [10⁻⁷, 1 − 10⁻⁷] (Keras' constant). From logits no clip is
needed: ln σ(z) is computed as such, and both tails keep their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..fuse import Fused, fuse
from ..op import composite
from ..samples import Domain, Draw
from ..tensor import Tensor
from .activation import relu, softplus
from .arithmetic import abs, square
from .comparison import clamp, where
from .exponential import log, xlogy
from .reduce import mean, sum
from .summed import mean_of, sum_of

TINY = 1e-7  # Keras' epsilon


# ------------------------------------------------------------------------------------------------ shared
def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of the losses, or the losses themselves."""
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ArgumentError(f"reduction is '{reduction}'; choose 'mean', 'sum' or 'none'")


def losses(each: Fused, *inputs: Any, axis: Any, reduction: str, **numbers: Any) -> Tensor:
    """What `each` makes of each element, its mean along `axis` where there is one, and then `reduction`."""
    if axis is not None:
        return reduce(mean_of(each, *inputs, axis=axis, **numbers), reduction)
    if reduction == "mean":
        return mean_of(each, *inputs, **numbers)
    if reduction == "sum":
        return sum_of(each, *inputs, **numbers)
    return reduce(each(*inputs, **numbers), reduction)


def same_shape(op: str, y_true: Any, y_pred: Any) -> None:
    """(N,) against (N,1) would broadcast to (N,N), and train on nonsense."""
    if y_true.shape != y_pred.shape:
        sparse = ", or use the sparse loss if y_true holds class numbers" if op.startswith("categorical") else ""
        raise ShapeError(
            f"{op}: y_true has shape {y_true.shape}, y_pred {y_pred.shape}; they must be equal: reshape one of them"
            + sparse
        )


def smooth(y_true: Any, classes: int, label_smoothing: float) -> Any:
    """q (1 − α) + α / K: a part α of the certainty is shared out among all classes.

    Szegedy et al., 'Rethinking the Inception architecture', 2016, section 7.
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing is {label_smoothing}, but it is a share of the certainty, 0 to 1")
    return y_true * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else y_true


# ------------------------------------------------------------------------------------------------ what tests draw
probability, score = Domain(0.05, 0.95), Domain(-2, 2)
MISMATCH = (lambda f: f(np.zeros((3, 1)), np.zeros(3)), r"y_true has shape \(3, 1\), y_pred \(3,\); they must be equal")
REDUCTION = (
    lambda f: f(np.ones((2, 3)) / 3, np.ones((2, 3)) / 3, reduction="average"),
    r"reduction is 'average'; choose 'mean'",
)


def _sample(truth: Domain, prediction: Domain) -> Any:
    def sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        reduction = draw.choice(["mean", "sum", "none"])
        shape = draw.shape(0, 3, min_side=0 if reduction == "sum" else 1)
        axis = draw.axis(len(shape)) if shape and 0 not in shape and draw.integer(0, 1) else None
        return [draw.array(shape, truth), draw.array(shape, prediction)], {"axis": axis, "reduction": reduction}

    return sample


def _sample_apart(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """y_pred away from y_true by neither 0 nor 1, where absolute errors have their kinks."""
    (y_true, _), params = _sample(score, score)(draw)
    apart = draw.array(y_true.shape, Domain(0.1, 0.9)) + draw.array(y_true.shape, Domain(0, 1, "integer"))
    y_pred = y_true + apart * np.where(draw.array(y_true.shape, Domain(0, 1, "bool")), 1, -1)
    return [y_true, np.asarray(y_pred)], params


def _sample_hinge(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (apart, zero), params = _sample(Domain(0.1, 1.9), Domain(0, 1))(draw)
    y_true = np.where(zero < 0.5, 1.0, -1.0)
    return [y_true, np.asarray(y_true * np.where(apart < 1, apart - 0.2, apart + 0.2))], params


def sample_rows(draw: Draw) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A shape with classes on some axis."""
    shape = list(draw.shape(1, 3, min_side=1))
    axis = draw.axis(len(shape))
    shape[axis] = draw.integer(2, 5)  # one class would have p = 1, where the clip is
    return tuple(shape), {"axis": axis, "reduction": draw.choice(["mean", "sum", "none"])}


def sample_classes(prediction: Domain, **options: list[Any]) -> Any:
    def sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        shape, params = sample_rows(draw)
        q = draw.array(shape, probability)
        q /= q.sum(params["axis"], keepdims=True)
        return [q, draw.array(shape, prediction)], {**params, **{k: draw.choice(v) for k, v in options.items()}}

    return sample


def reduced(each: Any) -> Any:
    """A NumPy reference of single losses, with `reduction`."""

    def reference(*arrays: Any, reduction: str, **params: Any) -> Any:
        losses = each(*arrays, **params)
        return losses if reduction == "none" else getattr(np, reduction)(losses)

    return reference


def averaged(each: Any) -> Any:
    """The same of the losses of elements, which are averaged along `axis`."""
    return reduced(
        lambda *arrays, axis, **params: each(*arrays, **params) if axis is None else each(*arrays, **params).mean(axis)
    )


# ------------------------------------------------------------------------------------------------ regression
@fuse
def squared_error(y_true: Any, y_pred: Any) -> Any:
    return square(y_pred - y_true)


@composite(
    "mse",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=_sample(score, score),
    errors=[MISMATCH, REDUCTION],
    definition=r"L = \frac{1}{n} \sum_i (y_i - \hat{y}_i)^2",
    equations=("E15",),
    reference=averaged(lambda t, p: (t - p) ** 2),
)
def mse(y_true: Tensor, y_pred: Tensor, *, axis: int | Sequence[int] | None = None, reduction: str = "mean") -> Tensor:
    r"""Mean squared error, any shape. The document's E15. With `axis`, a sample's loss is the mean along it.

    .. math:: L = \frac{1}{n} \sum_i (y_i - \hat{y}_i)^2
    """
    same_shape("mse", y_true, y_pred)
    return losses(squared_error, y_true, y_pred, axis=axis, reduction=reduction)


@fuse
def absolute_error(y_true: Any, y_pred: Any) -> Any:
    return abs(y_pred - y_true)


@composite(
    "mae",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=_sample_apart,
    errors=[MISMATCH, REDUCTION],
    definition=r"L = \frac{1}{n} \sum_i |y_i - \hat{y}_i|",
    reference=averaged(lambda t, p: np.abs(t - p)),
)
def mae(y_true: Tensor, y_pred: Tensor, *, axis: int | Sequence[int] | None = None, reduction: str = "mean") -> Tensor:
    r"""Mean absolute error, any shape; its derivative at 0 is 0. With `axis`, a sample's loss is the mean along it.

    .. math:: L = \frac{1}{n} \sum_i |y_i - \hat{y}_i|
    """
    same_shape("mae", y_true, y_pred)
    return losses(absolute_error, y_true, y_pred, axis=axis, reduction=reduction)


@fuse
def huber_error(y_true: Any, y_pred: Any, *, delta: float = 1.0) -> Any:
    e = y_pred - y_true
    size = abs(e)
    return where(size <= delta, 0.5 * square(e), delta * size - 0.5 * delta * delta)


@composite(
    "huber",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=_sample_apart,
    errors=[MISMATCH, REDUCTION],
    definition=r"L = \frac{1}{n} \sum_i \begin{cases} \tfrac{1}{2} e_i^2 & |e_i| \le \delta \\ "
    r"\delta |e_i| - \tfrac{1}{2} \delta^2 & \text{otherwise} \end{cases}, \quad e_i = \hat{y}_i - y_i",
    source="Huber, 'Robust estimation of a location parameter', 1964",
    reference=averaged(
        lambda t, p, delta=1.0: np.where(np.abs(t - p) <= delta, (t - p) ** 2 / 2, delta * np.abs(t - p) - delta**2 / 2)
    ),
)
def huber(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    delta: float = 1.0,
    axis: int | Sequence[int] | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Squared for errors up to δ, straight beyond: outliers pull with a constant force. Any shape.

    .. math:: \ell = \begin{cases} \tfrac{1}{2} e^2 & |e| \le \delta \\
        \delta |e| - \tfrac{1}{2} \delta^2 & \text{otherwise} \end{cases}, \quad e = \hat{y} - y

    With `axis`, a sample's loss is the mean along it. Raises ArgumentError unless δ > 0.
    """
    same_shape("huber", y_true, y_pred)
    if not delta > 0:
        raise ArgumentError(f"huber: delta is {delta}; it is the error up to which the loss is squared, above 0")
    return losses(huber_error, y_true, y_pred, delta=delta, axis=axis, reduction=reduction)


@fuse
def hinge_error(y_true: Any, y_pred: Any) -> Any:
    return relu(1 - y_true * y_pred)


@composite(
    "hinge",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=_sample_hinge,
    errors=[MISMATCH, REDUCTION],
    definition=r"L = \frac{1}{n} \sum_i \max(0, 1 - y_i \hat{y}_i)",
    reference=averaged(lambda t, p: np.maximum(0, 1 - t * p)),
)
def hinge(
    y_true: Tensor, y_pred: Tensor, *, axis: int | Sequence[int] | None = None, reduction: str = "mean"
) -> Tensor:
    r"""For labels −1 and 1: no loss once the score is on the right side by 1. Any shape.

    With `axis`, a sample's loss is the mean along it.

    .. math:: L = \frac{1}{n} \sum_i \max(0, 1 - y_i \hat{y}_i)
    """
    same_shape("hinge", y_true, y_pred)
    return losses(hinge_error, y_true, y_pred, axis=axis, reduction=reduction)


# ------------------------------------------------------------------------------------------------ yes or no
@fuse
def surprise(y_true: Any, y_pred: Any) -> Any:
    p = clamp(y_pred, TINY, 1 - TINY)
    return -(y_true * log(p) + (1 - y_true) * log(1 - p))


@composite(
    "binary_cross_entropy",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=_sample(probability, probability),
    definition=r"L = -\frac{1}{n} \sum_i \left[y_i \ln \hat{y}_i + (1 - y_i) \ln(1 - \hat{y}_i)\right]",
    equations=("E20", "E21"),
    errors=[MISMATCH, REDUCTION],
    reference=averaged(lambda t, p: -(t * np.log(p) + (1 - t) * np.log1p(-p))),
)
def binary_cross_entropy(
    y_true: Tensor, y_pred: Tensor, *, axis: int | Sequence[int] | None = None, reduction: str = "mean"
) -> Tensor:
    r"""Cross-entropy of probabilities ŷ against y in [0, 1], any shape. The documents' E20 and E21.

    .. math:: L = -\frac{1}{n} \sum_i \left[y_i \ln \hat{y}_i + (1 - y_i) \ln(1 - \hat{y}_i)\right]

    ŷ is clipped to [10⁻⁷, 1 − 10⁻⁷], where the gradient ends. Prefer binary_cross_entropy_with_logits: no clip.
    With `axis`, a sample's loss is the mean along it.
    """
    same_shape("binary_cross_entropy", y_true, y_pred)
    return losses(surprise, y_true, y_pred, axis=axis, reduction=reduction)


@fuse
def surprise_of_logits(y_true: Any, logits: Any) -> Any:
    return y_true * softplus(-logits) + (1 - y_true) * softplus(logits)


@composite(
    "binary_cross_entropy_with_logits",
    autocast="float32",
    shapes="y_true:(*B), logits:(*B) -> y:(*R)",
    samples=_sample(probability, Domain(-20, 20)),
    definition=r"L = \frac{1}{n} \sum_i \left[y_i \ln(1 + e^{-z_i}) + (1 - y_i) \ln(1 + e^{z_i})\right]",
    equations=("E20", "E21"),
    why="−ln σ(z) is softplus(−z): both terms are sums of positive numbers, so nothing cancels and nothing overflows",
    errors=[MISMATCH, REDUCTION],
    reference=averaged(lambda t, z: t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)),
)
def binary_cross_entropy_with_logits(
    y_true: Tensor, logits: Tensor, *, axis: int | Sequence[int] | None = None, reduction: str = "mean"
) -> Tensor:
    r"""binary_cross_entropy of ŷ = σ(z), from z. Any shape.

    .. math:: L = \frac{1}{n} \sum_i \left[y_i \ln(1 + e^{-z_i}) + (1 - y_i) \ln(1 + e^{z_i})\right]

    Its derivative by z is (σ(z) − y) / n: the factor σ'(z) cancels. With `axis`, a sample's loss is the mean along it.
    """
    same_shape("binary_cross_entropy_with_logits", y_true, logits)
    return losses(surprise_of_logits, y_true, logits, axis=axis, reduction=reduction)


# ------------------------------------------------------------------------------------------------ two distributions
@fuse
def extra_cost(y_true: Any, y_pred: Any) -> Any:
    return xlogy(y_true, y_true) - y_true * log(clamp(y_pred, TINY, 1.0))


@composite(
    "kl_div",
    autocast="float32",
    shapes="y_true:(*B), y_pred:(*B) -> y:(*R)",
    samples=sample_classes(probability),
    definition=r"\ell = \sum_k y_k \ln \frac{y_k}{\hat{y}_k}",
    reference=reduced(lambda t, p, axis: (t * np.log(t / p)).sum(axis)),
    errors=[MISMATCH, REDUCTION],
)
def kl_div(y_true: Tensor, y_pred: Tensor, *, axis: int = -1, reduction: str = "mean") -> Tensor:
    r"""Kullback-Leibler divergence of probabilities along `axis`: the extra cost of ŷ's code for y. 0 ln 0 = 0.

    .. math:: \ell = \sum_k y_k \ln \frac{y_k}{\hat{y}_k}

    ŷ is clipped from below to 10⁻⁷.
    """
    same_shape("kl_div", y_true, y_pred)
    return reduce(sum_of(extra_cost, y_true, y_pred, axis=axis), reduction)
