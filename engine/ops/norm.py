r"""Normalisation: numbers of mean 0 and variance 1, then a scale γ and a shift β of each channel.

    x̂ = (x − μ) / √(σ² + ε),   y = γ x̂ + β

Layer normalisation takes μ and σ² over the channels of one sample, batch normalisation over the samples of one channel.
With x̄̂ = γ ȳ both have one derivative, where m(·) is the mean over the numbers that were normalised together:

    x̄ = (x̄̂ − m(x̄̂) − x̂ m(x̄̂ x̂)) / √(σ² + ε)

σ² is the mean of (x − μ)², never m(x²) − μ²: that difference has no digits left where |μ| ≫ σ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..fuse import fuse
from ..op import composite, op
from ..samples import Draw
from ..shapes import normalize_axes
from ..tensor import Tensor
from .arithmetic import sqrt
from .reduce import mean


def _normalised(x: Any, axes: Any, eps: float) -> Any:
    """x̂, of tensors, in the textbook's words."""
    centred = x - mean(x, axis=axes, keepdims=True)
    return centred / sqrt(mean(centred * centred, axis=axes, keepdims=True) + eps)


def _affine(x_hat: Any, gamma: Any, beta: Any) -> Any:
    y = x_hat if gamma is None else gamma * x_hat
    return y if beta is None else y + beta


# ------------------------------------------------------------------------------------------------ over channels
def _sample_rms(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = (*draw.shape(0, 3), draw.integer(1, 5))
    return [draw.array(shape), draw.array(shape[-1:])], {"eps": draw.choice([1e-3, 1e-6])}


def _rms_norm(x: Any, gamma: Any, *, eps: float) -> Any:
    return gamma * (x / sqrt(mean(x * x, axis=-1, keepdims=True) + eps))


@op(
    "rms_norm",
    autocast="float32",
    shapes="x:(*B,D), gamma:(D) -> y:(*B,D)",
    definition="y[i] = gamma[i] * x[i] / sqrt(Sum(r, x[r]**2) / len(x) + eps)",
    composition=_rms_norm,
    source="Zhang and Sennrich, 'Root Mean Square Layer Normalization', 2019, equation 4",
    samples=_sample_rms,
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.ones(4)),
            r"rms_norm: gamma.shape\[0\] is 4, but D is 3 from x.shape\[1\]",
        )
    ],
)
def rms_norm(x: Array, gamma: Array, *, eps: float = 1e-6) -> Any:
    r"""Numbers of mean square 1 along the last axis, times γ: (*B,D), (D,) -> (*B,D).

    .. math:: y_i = \gamma_i \, x_i \Big/ \sqrt{\tfrac{1}{D} \sum_r x_r^2 + \epsilon}

    Raises ShapeError where γ has not one number per channel.
    """
    return backend_of(x).kernel("norm", "layer_norm")(x, gamma, None, (x.ndim - 1,), eps, False)


@rms_norm.vjp
def _(g, y, aux, x, gamma, *, needs, eps):  # type: ignore[no-untyped-def]
    kernel = backend_of(x.data).kernel("norm", "layer_norm_gradient")
    return kernel(g.data, x.data, gamma.data, aux, (x.ndim - 1,), (*needs, False), False)[:2]


def _sample_layer(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = (*draw.shape(0, 2), draw.integer(1, 5), draw.integer(1, 5))
    axis = draw.choice([-1, -1, len(shape) - 1, (-2, -1)])
    kept = tuple(shape[a] for a in normalize_axes("layer_norm", axis, len(shape)))
    return [draw.array(shape), draw.array(kept), draw.array(kept)], {"axis": axis, "eps": draw.choice([1e-3, 1e-5])}


def _layer_norm(x: Any, gamma: Any, beta: Any, *, axis: Any, eps: float) -> Any:
    return _affine(_normalised(x, _trailing("layer_norm", axis, x.ndim), eps), gamma, beta)


@op(
    "layer_norm",
    autocast="float32",
    shapes="x:(*B), gamma:(*B), beta:(*B) -> y:(*B)",
    definition=r"y_i = \gamma_i \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_i, \quad "
    r"\mu = \frac{1}{D} \sum_r x_r, \quad \sigma^2 = \frac{1}{D} \sum_r (x_r - \mu)^2",
    composition=_layer_norm,
    source="Ba, Kiros and Hinton, 'Layer Normalization', 2016, equations 3 and 4",
    samples=_sample_layer,
    reference=lambda x, gamma, beta, *, axis, eps: _reference(
        x, gamma, beta, _trailing("layer_norm", axis, x.ndim), eps
    ),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.ones(1), np.ones(3)),
            r"layer_norm: gamma has shape \(1,\), but x \(2, 3\) is normalised over \(3,\)",
        ),
        (
            lambda f: f(np.zeros((2, 3)), axis=0),
            r"layer_norm: axis 0 of 2 dimensions does not name the last ones; .* moveaxis",
        ),
        (lambda f: f(np.zeros((2, 3)), axis=2), r"layer_norm: axis 2 is out of range for 2 dimensions"),
    ],
)
def layer_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: int | Sequence[int] = -1,
    eps: float = 1e-3,
) -> Any:
    r"""Normalise each sample over its last axes, `axis` (the last, or a tuple): any shape -> the same shape.

    .. math:: y_i = \gamma_i \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_i

    gamma, beta: scale and shift, of the lengths of `axis`; None stands for 1 and 0. The default eps is Keras'.
    Raises ShapeError for other lengths, and for axes that are not the last ones.
    """
    axes = _trailing("layer_norm", axis, x.ndim)
    _check("layer_norm", x, gamma, beta, tuple(x.shape[a] for a in axes))
    return backend_of(x).kernel("norm", "layer_norm")(x, gamma, beta, axes, eps)  # y, (mean, 1 / standard deviation)


@layer_norm.vjp
def _(g, y, aux, x, gamma, beta, *, needs, axis, eps):  # type: ignore[no-untyped-def]
    axes = _trailing("layer_norm", axis, x.ndim)
    kernel = backend_of(x.data).kernel("norm", "layer_norm_gradient")
    return kernel(g.data, x.data, None if gamma is None else gamma.data, aux, axes, needs)


# ------------------------------------------------------------------------------------------------ over the batch
def _sample_batch(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = (draw.integer(2, 4), *draw.shape(0, 2, min_side=1, max_side=3), draw.integer(0, 4))
    return [draw.array(shape), draw.array(shape[-1:]), draw.array(shape[-1:])], {"eps": draw.choice([1e-3, 1e-5])}


def _batch_norm(x: Any, gamma: Any, beta: Any, *, eps: float, observe: Any = None) -> Any:
    return _affine(_normalised(x, tuple(range(x.ndim - 1)), eps), gamma, beta)


@op(
    "batch_norm",
    autocast="float32",
    shapes="x:(*B,C), gamma:(C), beta:(C) -> y:(*B,C)",
    definition=r"y_{b,c} = \gamma_c \frac{x_{b,c} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c, \quad "
    r"\mu_c = \frac{1}{|B|} \sum_b x_{b,c}, \quad \sigma_c^2 = \frac{1}{|B|} \sum_b (x_{b,c} - \mu_c)^2",
    composition=_batch_norm,
    source="Ioffe and Szegedy, 'Batch Normalization', 2015, algorithm 1",
    samples=_sample_batch,
    reference=lambda x, gamma, beta, *, eps: _reference(x, gamma, beta, tuple(range(x.ndim - 1)), eps),
    errors=[
        (
            lambda f: f(np.zeros((2, 3)), np.ones(2), np.ones(2)),
            r"batch_norm: gamma.shape\[0\] is 2, but C is 3 from x.shape\[1\]",
        ),
        (lambda f: f(np.zeros((0, 3))), r"batch_norm: x has shape \(0, 3\): there is no batch"),
    ],
)
def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-3,
    observe: Callable[[Array, Array], None] | None = None,
) -> Any:
    r"""Normalise each channel over the batch (all axes but the last), as in training: (*B,C) -> (*B,C).

    .. math:: y_{bc} = \gamma_c \frac{x_{bc} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c

    gamma, beta: (C,); None stands for 1 and 0. observe(mean, variance) is called with the batch's own statistics, (C,)
    each, for a layer's running averages; the variance is divided by the size of the batch. The default eps is Keras'.
    Raises ShapeError for an empty batch.
    """
    if x.ndim < 1 or 0 in x.shape[:-1]:
        raise ShapeError(
            f"batch_norm: x has shape {x.shape}: there is no batch to take a mean over; give (*B,C) with samples"
        )
    _check("batch_norm", x, gamma, beta, x.shape[-1:])
    y, centre, variance, scale = backend_of(x).kernel("norm", "batch_norm")(x, gamma, beta, eps)
    if observe is not None:
        observe(centre, variance)
    return y, (centre, scale)


@batch_norm.vjp
def _(g, y, aux, x, gamma, beta, *, needs, eps, observe):  # type: ignore[no-untyped-def]
    kernel = backend_of(x.data).kernel("norm", "batch_norm_gradient")
    return kernel(g.data, x.data, None if gamma is None else gamma.data, aux, needs)


def _sample_inference(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    inputs, params = _sample_batch(draw)
    C = inputs[1].shape
    return [*inputs, draw.array(C), abs(draw.array(C)) + 0.1], params


@composite(
    "batch_norm_inference",
    shapes="x:(*B,C), gamma:(C), beta:(C), mean:(C), variance:(C) -> y:(*B,C)",
    samples=_sample_inference,
    definition="y[b,c] = gamma[c] * (x[b,c] - mean[c]) / sqrt(variance[c] + eps) + beta[c]",
    reference=lambda x, gamma, beta, mean, variance, eps: gamma * (x - mean) / np.sqrt(variance + eps) + beta,
)
def batch_norm_inference(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, mean: Tensor, variance: Tensor, *, eps: float = 1e-3
) -> Tensor:
    r"""Normalise with given statistics, as after training: (*B,C) -> (*B,C).

    .. math:: y_{bc} = \gamma_c \frac{x_{bc} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c

    gamma, beta, mean, variance: (C,). One multiplication and one addition per number: the rest is done per channel.
    """
    if any(t is not None and t.shape != x.shape[-1:] for t in (gamma, beta, mean, variance)):
        shapes = [None if t is None else t.shape for t in (gamma, beta, mean, variance)]
        raise ShapeError(
            f"batch_norm_inference: x is {x.shape}; gamma, beta, mean and variance must be {x.shape[-1:]}, got {shapes}"
        )
    scale = 1 / sqrt(variance + eps) if gamma is None else gamma / sqrt(variance + eps)  # (C,)
    shift = -mean * scale if beta is None else beta - mean * scale  # (C,)
    return scaled_and_shifted(x, scale, shift)  # (*B,C) * (C,) + (C,)


@fuse
def scaled_and_shifted(x: Any, scale: Any, shift: Any) -> Any:
    return x * scale + shift


# ------------------------------------------------------------------------------------------------ shared
def _reference(x: Any, gamma: Any, beta: Any, axes: tuple[int, ...], eps: float) -> Any:
    return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) + beta


def _trailing(op: str, axis: Any, rank: int) -> tuple[int, ...]:
    """The axes to normalise over, which must be the last ones: γ and β then broadcast as they stand."""
    axes = normalize_axes(op, axis, rank)
    if axes != tuple(range(rank - len(axes), rank)) or not axes:
        raise ShapeError(
            f"{op}: axis {axis} of {rank} dimensions does not name the last ones; move those to the end with moveaxis"
        )
    return axes


def _check(op: str, x: Array, gamma: Array | None, beta: Array | None, shape: tuple[int, ...]) -> None:
    for name, t in (("gamma", gamma), ("beta", beta)):
        if t is not None and t.shape != shape:
            raise ShapeError(
                f"{op}: {name} has shape {t.shape}, but x {x.shape} is normalised over {shape}; the two must be equal"
            )
