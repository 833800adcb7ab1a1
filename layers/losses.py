r"""Losses with Keras' words: `loss(y_true, y_pred, sample_weight)` is one number.

`call` gives one loss for each sample (the mean over the last axis where a sample has several outputs); then each is
multiplied by its weight, and `reduction` makes one number of them: "sum_over_batch_size" (the mean; weights do not
change what it divides by), "sum", or None for no reduction. Where y_pred (N,T,...) brings a mask along
(`layers.masks`), steps that are not real have no loss, and the mean is over the others. The equations stand with the
engine's ops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import config, ops
from engine.errors import ArgumentError, DTypeError, ShapeError
from engine.tensor import Tensor, asarray

from .activations import Probabilities
from .masks import mask_of


def logits_of(y_pred: Tensor, from_logits: bool) -> Tensor | None:
    """The logits behind a prediction: itself, or what the softmax or sigmoid that made it was given; None if unknown.

    This is where softmax and cross-entropy are fused. The loss runs on the logits, so it is exact where probabilities
    round to 0 or 1, its gradient is softmax(z) - y, and the softmax itself takes no part in backward.
    """
    if from_logits:
        return y_pred
    return y_pred.logits if isinstance(y_pred, Probabilities) else None


class Loss(config.Configurable, family="loss"):
    """Base class: `call` is the loss of each sample."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        reduction = {"mean": "sum_over_batch_size", "none": None}.get(reduction or "none", reduction)
        if reduction not in ("sum_over_batch_size", "sum", None):
            raise ArgumentError(
                f"{type(self).__name__}: reduction is 'sum_over_batch_size' (the mean), 'sum' or None, "
                f"got {reduction!r}"
            )
        self.reduction, self.name = reduction, name or config.snake_case(type(self).__name__)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """(N,...), (N,...) -> one loss a sample, (N,) or (N,...)."""
        raise NotImplementedError

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = asarray(y_pred)
        losses = self.call(self._truth(y_true, y_pred), y_pred)
        if sample_weight is not None:
            losses = losses * self._weights(sample_weight, losses)
        losses, share = _of_real_steps(losses, mask_of(y_pred))
        if self.reduction is None:
            return losses
        if self.reduction == "sum":
            return ops.sum(losses)
        return ops.mean(losses) if share == 1 else ops.mean(losses) / share

    def _truth(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """y_true as a tensor of y_pred's dtype and shape: (N,) and (N,1) are taken for each other."""
        truth = asarray(y_true, dtype=y_pred.dtype, device=y_pred.device)
        if truth.shape != y_pred.shape:
            if truth.size != y_pred.size or tuple(n for n in truth.shape if n != 1) != tuple(
                n for n in y_pred.shape if n != 1
            ):
                raise ShapeError(
                    f"{self.name}: y_true has shape {truth.shape}, y_pred {y_pred.shape}; they must be equal: reshape "
                    "one of them, give the last layer as many units as y_true has columns, or use "
                    "sparse_categorical_crossentropy if y_true holds class numbers"
                )
            truth = ops.reshape(truth, shape=y_pred.shape)
        return truth

    def _weights(self, sample_weight: Any, losses: Tensor) -> Tensor:
        w = asarray(sample_weight, dtype=losses.dtype, device=losses.device)
        if w.ndim == losses.ndim + 1 and w.shape[-1] == 1:
            w = ops.reshape(w, shape=w.shape[:-1])
        if w.shape != losses.shape[: w.ndim]:
            raise ShapeError(
                f"{self.name}: sample_weight has shape {w.shape}, the losses {losses.shape}; give one weight for each "
                "sample (and time step)"
            )
        return ops.reshape(w, shape=w.shape + (1,) * (losses.ndim - w.ndim))


def _of_real_steps(losses: Tensor, mask: Tensor | None) -> tuple[Tensor, float]:
    """(N,T,...) with 0 where the mask (N,T) is False, and the share of it that is True; 1 where that is nothing."""
    if mask is None or losses.shape[: mask.ndim] != mask.shape:
        return losses, 1.0
    real = ops.reshape(mask, shape=mask.shape + (1,) * (losses.ndim - mask.ndim))  # (N,T) -> (N,T,1..)
    return ops.where(real, losses, 0.0), float(mask.numpy().mean()) or 1.0


def _share(label_smoothing: float) -> float:
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing is a share of the certainty, 0 to 1, got {label_smoothing}")
    return label_smoothing


def _per_sample(loss: Any, y_true: Tensor, y_pred: Tensor, **options: Any) -> Tensor:
    """One loss a sample, the mean over the last axis: (N,...,D) -> (N,...); (N,) stays."""
    return loss(y_true, y_pred, axis=-1 if y_pred.ndim > 1 else None, reduction="none", **options)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ regression
class MeanSquaredError(Loss):
    r"""mean (y - ŷ)². E15."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _per_sample(ops.mse, y_true, y_pred)


class MeanAbsoluteError(Loss):
    r"""mean \|y - ŷ\|."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _per_sample(ops.mae, y_true, y_pred)


class Huber(Loss):
    r"""e²/2 for \|e\| <= delta, delta \|e\| - delta²/2 beyond, with e = ŷ - y."""

    def __init__(
        self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name)
        self.delta = delta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _per_sample(ops.huber, y_true, y_pred, delta=self.delta)


class Hinge(Loss):
    r"""mean max(0, 1 - y ŷ) for labels -1 and 1; labels 0 and 1 are taken for these."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels = y_true.numpy()
        if ((labels == 0) | (labels == 1)).all():
            y_true = 2 * y_true - 1
        return _per_sample(ops.hinge, y_true, y_pred)


# ------------------------------------------------------------------------------------------------ classes
class BinaryCrossentropy(Loss):
    r"""-[y ln ŷ + (1 - y) ln(1 - ŷ)], the mean over the outputs of a sample. E21.

    from_logits: ŷ = σ(y_pred). label_smoothing α: y becomes y (1 - α) + α/2.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits, self.label_smoothing = from_logits, _share(label_smoothing)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        z, a = logits_of(y_pred, self.from_logits), self.label_smoothing
        q = y_true * (1 - a) + a / 2 if a else y_true
        if z is None:
            return _per_sample(ops.binary_cross_entropy, q, y_pred)
        return _per_sample(ops.binary_cross_entropy_with_logits, q, z)


class CategoricalCrossentropy(Loss):
    r"""-Σ_k y_k ln ŷ_k over the last axis, y one-hot or probabilities. E22.

    from_logits: ŷ = softmax(y_pred). label_smoothing α: y becomes y (1 - α) + α/K. Probabilities from elsewhere than a
    softmax are divided by their sum, as in Keras.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits, self.label_smoothing = from_logits, _share(label_smoothing)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        z, how = logits_of(y_pred, self.from_logits), {"label_smoothing": self.label_smoothing, "reduction": "none"}
        if z is None:
            return ops.categorical_cross_entropy(y_true, y_pred, normalise=True, **how)
        return ops.cross_entropy(y_true, z, **how)


class SparseCategoricalCrossentropy(Loss):
    r"""-ln ŷ_k, where k is the label: y_true (N,...) of class numbers, y_pred (N,...,K).

    from_logits: ŷ = softmax(y_pred); probabilities from elsewhere than a softmax are divided by their sum.
    label_smoothing: as for one-hot labels. Raises IndexRangeError for a label outside of 0 .. K-1.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits, self.label_smoothing = from_logits, _share(label_smoothing)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        z = logits_of(y_pred, self.from_logits)
        if z is not None:
            return ops.cross_entropy(y_true, z, label_smoothing=self.label_smoothing, reduction="none")
        y_pred = y_pred / ops.sum(y_pred, axis=-1, keepdims=True)  # (N,...,K) / (N,...,1), as in Keras
        losses = ops.sparse_categorical_cross_entropy(y_true, y_pred, reduction="none")
        if not self.label_smoothing:
            return losses
        even = np.full(y_pred.shape, 1 / y_pred.shape[-1], y_pred.dtype)
        towards_all = ops.categorical_cross_entropy(even, y_pred, reduction="none")
        return (1 - self.label_smoothing) * losses + self.label_smoothing * towards_all

    def _truth(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """Class numbers, (N,...) or (N,...,1); whole numbers may come as floats."""
        truth = asarray(y_true, device=y_pred.device)
        if truth.dtype.kind == "f":
            values = truth.numpy()
            if not (values == np.floor(values)).all():
                raise DTypeError(
                    f"{self.name}: y_true holds class numbers 0, 1, 2 ..., got fractions; for one-hot rows or "
                    "probabilities use categorical_crossentropy"
                )
            truth = truth.astype("int64")
        rows = y_pred.shape[:-1]
        if truth.shape == (*rows, 1):
            truth = ops.reshape(truth, shape=rows)
        if truth.shape != rows:
            raise ShapeError(
                f"{self.name}: y_true has shape {truth.shape}, but y_pred {y_pred.shape} needs one class number a row, "
                f"{rows}; for one-hot rows use categorical_crossentropy"
            )
        return truth


class KLDivergence(Loss):
    r"""Σ_k y_k ln(y_k / ŷ_k) over the last axis, of probabilities."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.kl_div(y_true, y_pred, reduction="none")


ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "bce": "binary_crossentropy",
}


def get(what: Any) -> Any:
    """A loss from its name ("mse", "categorical_crossentropy" ...), class or description; functions pass."""
    if isinstance(what, str):
        what = ALIASES.get(what.lower(), what)
    return config.get(Loss, what)
