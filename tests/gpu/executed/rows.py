"""What goes along rows: softmax, losses of classes, normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.kernels.cpu import cross_entropy, norm, softmax

from .case import Case, Rng, normal

# --- softmax and cross-entropy ---------------------------------------------------------------------------------------

LENGTHS = (1, 3, 32, 33, 100, 1024, 1025, 1500)  # of rows: within a warp, beyond, and beyond what a block goes through


def _along_axes(arrays: int, draw: Any) -> Any:
    def calls(rng: Rng) -> Iterator[tuple[Any, ...]]:
        for n in LENGTHS:
            yield *[draw(rng, (3 if n > 200 else 9, n)) for _ in range(arrays)], 1
        for shape, axis in (((2, 5, 3), 1), ((40, 2), 0), ((3, 0), 1), ((0, 4), 1), ((7,), 0), ((2, 1, 4, 3), 2)):
            yield *[draw(rng, shape) for _ in range(arrays)], axis

    return calls


def _scores(rng: Rng, shape: Any) -> Any:
    x = 3 * rng.standard_normal(shape)
    x[rng.random(x.shape) < 0.1] = -np.inf
    return x


def _masked_softmax(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield from _along_axes(1, _scores)(rng)
    yield np.full((3, 40), -np.inf), 1
    for n in (7, 1100):  # far above 0 at either end of a row
        x = normal(rng, (4, n))
        x[:2, 0] = x[2:, -1] = 500.0
        yield x, 1


def _labels(rng: Rng, n: int, count: int) -> Any:
    return rng.integers(0, n, count)


def _losses(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for n in LENGTHS:
        count = 3 if n > 200 else 9
        yield _labels(rng, n, count), _scores(rng, (count, n)), 0.0
        yield _labels(rng, n, count), normal(rng, (count, n)), 0.1
    yield _labels(rng, 5, 0), normal(rng, (0, 5)), 0.0
    yield np.array([0, 1, 2]), np.where(np.eye(3) > 0, 500.0, normal(rng, (3, 3))), 0.0  # far above 0
    yield rng.integers(0, 4, (2, 3)).astype(np.int32), normal(rng, (2, 3, 4)), 0.1


def _losses_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for labels, z, smoothing in _losses(rng):
        yield normal(rng, labels.shape), labels, z, cross_entropy.plain_label_losses(labels, z, 0.0)[1], smoothing


def _mixtures(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for labels, z, smoothing in _losses(rng):
        if np.isfinite(z).all():
            yield rng.dirichlet(np.ones(z.shape[-1]), labels.shape), z, smoothing


def _mixtures_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for q, z, smoothing in _mixtures(rng):
        lse = cross_entropy.plain_probability_losses(q, z, 0.0)[1]
        yield normal(rng, q.shape[:-1]), q * 1.5, z, lse, smoothing, (True, True)


def _plain_mixtures_gradient(g: Any, q: Any, z: Any, lse: Any, smoothing: float, needs: Any) -> Any:
    q_bar = (1 - smoothing) * g[..., None] * (lse[..., None] - z)
    return q_bar, cross_entropy.plain_probability_losses_gradient(g, q, z, lse, smoothing)


# --- normalisation ---------------------------------------------------------------------------------------------------


def _samples(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """x, gamma, beta, axes, eps, centred"""
    for shape, k in (
        ((9, 5), 1), ((3, 1), 1), ((2, 3, 40), 1), ((3, 1100), 1), ((4, 3, 30), 2), ((0, 4), 1), ((70, 33), 1),
    ):  # fmt: skip
        weights = shape[len(shape) - k :]
        axes = tuple(range(len(shape) - k, len(shape)))
        yield normal(rng, shape) + 3, normal(rng, weights), normal(rng, weights), axes, 1e-3, True
        yield normal(rng, shape) + 3, normal(rng, weights), None, axes, 1e-3, False
    yield normal(rng, (3, 4)), None, None, (1,), 1e-3, True


def _samples_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, (x, gamma, beta, axes, eps, centred) in enumerate(_samples(rng)):
        statistics = norm.plain_layer_norm(x, gamma, beta, axes, eps, centred)[1]
        needs = (True, True, True) if i % 3 else (False, True, False)
        yield normal(rng, x.shape), x, gamma, statistics, axes, needs, centred


def _plain_samples_gradient(g: Any, x: Any, gamma: Any, statistics: Any, axes: Any, needs: Any, centred: bool) -> Any:
    samples = tuple(range(x.ndim - len(axes)))
    return norm.plain_gradient(g, x, gamma, statistics, axes, samples, needs, centred)


def _batches(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((9, 5), (1, 3), (70, 33), (3, 40, 40, 2), (4300, 1), (2, 0), (5, 64)):
        C = shape[-1]
        yield normal(rng, shape) + 3, normal(rng, C), normal(rng, C), 1e-3
    yield normal(rng, (4, 3)), None, None, 1e-3


def _batches_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, (x, gamma, beta, eps) in enumerate(_batches(rng)):
        _, mean, _, scale = norm.plain_batch_norm(x, gamma, beta, eps)
        yield normal(rng, x.shape), x, gamma, (mean, scale), (True, True, True) if i % 3 else (False, True, False)


def _plain_batches_gradient(g: Any, x: Any, gamma: Any, statistics: Any, needs: Any) -> Any:
    samples = tuple(range(x.ndim - 1))
    return norm.plain_gradient(g, x, gamma, statistics, samples, samples, needs)


# fmt: off
CASES = [
    Case("softmax", "softmax", softmax.plain_softmax, _masked_softmax),
    Case("softmax", "log_softmax", softmax.plain_log_softmax, _masked_softmax),
    Case("softmax", "softmax_gradient", softmax.plain_softmax_gradient, _along_axes(2, normal), 32),
    Case("softmax", "log_softmax_gradient", softmax.plain_log_softmax_gradient, _along_axes(2, normal), 32),
    Case("cross_entropy", "label_losses", cross_entropy.plain_label_losses, _losses),
    Case(
        "cross_entropy", "label_losses_gradient", cross_entropy.plain_label_losses_gradient, _losses_gradient, 32,
        wide=(3,),
    ),
    Case("cross_entropy", "probability_losses", cross_entropy.plain_probability_losses, _mixtures, 32),
    Case("cross_entropy", "probability_losses_gradient", _plain_mixtures_gradient, _mixtures_gradient, 32, wide=(3,)),
    Case("norm", "layer_norm", norm.plain_layer_norm, _samples, 64),
    Case("norm", "layer_norm_gradient", _plain_samples_gradient, _samples_gradient, 256, wide=(3,)),
    Case("norm", "batch_norm", norm.plain_batch_norm, _batches, 64),
    Case("norm", "batch_norm_gradient", _plain_batches_gradient, _batches_gradient, 256, wide=(3,)),
]
# fmt: on
