r"""Softmax and its relatives: scores become probabilities. p_i = e^{x_i} / Σ_r e^{x_r} along one axis.

A score of −inf is a masked one: its probability is exactly 0, and it passes no gradient on. A row that is masked
throughout has no probabilities to share out: its softmax is 0 everywhere (not NaN), its log_softmax −inf.
"""

from __future__ import annotations

from typing import Any

from ..backends import Array, backend_of
from ..op import composite, op
from ..samples import Draw
from ..shapes import normalize_axis
from ..tensor import Tensor
from .exponential import exp
from .reduce import sum


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4)
    return [draw.array(shape)], {"axis": draw.axis(len(shape))}


def _sample_gradient(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = draw.shape(1, 4)
    return [draw.array(shape), draw.array(shape)], {"axis": draw.axis(len(shape))}


@op(
    "softmax",
    autocast="float32",
    shapes="x:(*B) -> y:(*B)",
    definition="y[i] = exp(x[i]) / Sum(r, exp(x[r]))",
    samples=_sample,
    why="the row's maximum is subtracted first: it cancels, and no exp can overflow",
)
def softmax(x: Array, *, axis: int = -1) -> Array:
    r"""Probabilities along `axis`, any shape -> the same shape.

    .. math:: y_i = \frac{e^{x_i}}{\sum_r e^{x_r}}

    −inf gives 0; a row of nothing but −inf gives zeros. Raises ShapeError for an axis out of range.
    """
    return backend_of(x).kernel("softmax", "softmax")(x, normalize_axis("softmax", axis, x.ndim))


@softmax.vjp
def _(g, y, aux, x, *, axis, needs):  # type: ignore[no-untyped-def]
    return softmax_gradient(g, y, axis=axis)


@op(
    "softmax_gradient",
    shapes="g:(*B), p:(*B) -> y:(*B)",
    definition="y[i] = p[i] * (g[i] - Sum(r, g[r] * p[r]))",
    samples=_sample_gradient,
)
def softmax_gradient(g: Array, p: Array, *, axis: int = -1) -> Array:
    r"""The cotangent of softmax's input from g, that of its output p: the Jacobian diag(p) − p pᵀ, applied to g.

    .. math:: y_i = p_i \left(g_i - \sum_r g_r p_r\right)
    """
    return backend_of(p).kernel("softmax", "softmax_gradient")(g, p, normalize_axis("softmax_gradient", axis, p.ndim))


@softmax_gradient.vjp
def _(h, y, aux, g, p, *, axis, needs):  # type: ignore[no-untyped-def]
    # The Jacobian is symmetric, so ḡ is the op itself. p stands twice in p (g − ⟨g, p⟩): product rule.
    g_bar = softmax_gradient(h, p, axis=axis) if needs[0] else None
    if not needs[1]:
        return g_bar, None
    hp = sum(h * p, axis=axis, keepdims=True)
    gp = sum(g * p, axis=axis, keepdims=True)
    return g_bar, h * (g - gp) - g * hp


@op(
    "log_softmax",
    autocast="float32",
    shapes="x:(*B) -> y:(*B)",
    definition="y[i] = x[i] - log(Sum(r, exp(x[r])))",
    samples=_sample,
    why="log(softmax(x)) would be log(0) where a probability underflows; the maximum is subtracted first",
)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    r"""The logarithms of softmax, any shape -> the same shape.

    .. math:: y_i = x_i - \ln \sum_r e^{x_r}

    −inf stays −inf. Raises ShapeError for an axis out of range.
    """
    return backend_of(x).kernel("softmax", "log_softmax")(x, normalize_axis("log_softmax", axis, x.ndim))


@log_softmax.vjp
def _(g, y, aux, x, *, axis, needs):  # type: ignore[no-untyped-def]
    return log_softmax_gradient(g, y, axis=axis)


@op(
    "log_softmax_gradient",
    shapes="g:(*B), log_p:(*B) -> y:(*B)",
    definition="y[i] = g[i] - exp(log_p[i]) * Sum(r, g[r])",
    samples=_sample_gradient,
)
def log_softmax_gradient(g: Array, log_p: Array, *, axis: int = -1) -> Array:
    r"""The cotangent of log_softmax's input from g, that of its output ln p: (I − p 1ᵀ) g.

    .. math:: y_i = g_i - p_i \sum_r g_r
    """
    kernel = backend_of(g).kernel("softmax", "log_softmax_gradient")
    return kernel(g, log_p, normalize_axis("log_softmax_gradient", axis, log_p.ndim))


@log_softmax_gradient.vjp
def _(h, y, aux, g, log_p, *, axis, needs):  # type: ignore[no-untyped-def]
    # ḡ = (I − 1 pᵀ) h; ln p stands in p alone, and dp / d ln p = p
    p = exp(log_p)
    hp = h * p
    g_bar = h - sum(hp, axis=axis, keepdims=True) if needs[0] else None
    return g_bar, -hp * sum(g, axis=axis, keepdims=True) if needs[1] else None


@composite("softmin", shapes="x:(*B) -> y:(*B)", definition="y[i] = exp(-x[i]) / Sum(r, exp(-x[r]))", samples=_sample)
def softmin(x: Tensor, *, axis: int = -1) -> Tensor:
    r"""Probabilities that favour small numbers: the softmax of −x.

    .. math:: y_i = \frac{e^{-x_i}}{\sum_r e^{-x_r}}
    """
    return softmax(-x, axis=axis)
