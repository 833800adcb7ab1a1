"""Windows on images: convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.kernels.cpu import conv_plain, pool

from .case import Case, Rng, normal

# --- convolution -----------------------------------------------------------------------------------------------------


def _images(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """x shape, w shape, stride, padding, dilation, groups"""
    yield (2, 5, 6, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    yield (1, 7, 7, 4), (3, 2, 2, 6), (2, 1), ((0, 1), (2, 0)), (1, 2), 2
    yield (3, 4, 4, 5), (1, 1, 5, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1
    yield (2, 9, 4, 3), (2, 3, 1, 3), (3, 2), ((1, 0), (1, 1)), (2, 1), 3
    yield (1, 1, 1, 1), (1, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1
    yield (0, 4, 4, 2), (2, 2, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1
    yield (1, 3, 3, 2), (1, 1, 2, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1  # as large as the image, and not the image
    yield (2, 6, 6, 9), (5, 5, 9, 2), (1, 1), ((2, 2), (2, 2)), (1, 1), 1


def _convolutions(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, (x, w, *how) in enumerate(_images(rng)):
        bias = normal(rng, w[3]) if i % 2 == 0 else None
        yield normal(rng, x), normal(rng, w), bias, *how, i % 3 == 0


def _input_gradients(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in _images(rng):
        yield normal(rng, conv_plain.out_shape(x, w, *how[:3])), normal(rng, w), x, *how


def _weight_gradients(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in _images(rng):
        yield normal(rng, x), normal(rng, conv_plain.out_shape(x, w, *how[:3])), w, *how


def _layers(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """Gradients of conv2d + bias, with relu, and with max-pooling behind it."""
    for x, w, *how in list(_images(rng))[:2]:
        shape = conv_plain.out_shape(x, w, *how[:3])
        arrays, needs = (normal(rng, x), normal(rng, w), *how), (True, True, True)
        yield normal(rng, shape), None, None, *arrays, None, needs
        yield normal(rng, shape), normal(rng, shape), None, *arrays, None, (False, True, False)
        at = (2, 2), (2, 2), ((0, 0), (0, 0)), (shape[1] // 2, shape[2] // 2)
        y, index = pool.plain_max_pool2d(normal(rng, shape), *at)
        yield normal(rng, y.shape), y, index, *arrays, at, needs


def _plain_layer(g: Any, y: Any, index: Any, x: Any, w: Any, *rest: Any) -> Any:
    *how, at, needs = rest
    return conv_plain.reference_backward(g, y, index, x, w, x.shape, w.shape, tuple(how), at, needs)


def _pooled(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in list(_images(rng))[:2]:
        shape = conv_plain.out_shape(x, w, *how[:3])
        at = (2, 2), (1, 2), ((1, 0), (0, 1)), (shape[1], shape[2] // 2)
        yield normal(rng, x), normal(rng, w), normal(rng, w[3]), *how, at


def _plain_pooled(x: Any, w: Any, b: Any, *rest: Any) -> Any:
    *how, at = rest
    return pool.plain_max_pool2d(conv_plain.reference(x, w, b, *how, True), *at)


# --- pooling ---------------------------------------------------------------------------------------------------------


def _windows(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """shape, size, stride, padding, out"""
    for shape, size, stride, padding in (
        ((2, 4, 6, 3), (2, 2), (2, 2), ((0, 0), (0, 0))), ((1, 7, 5, 2), (3, 3), (2, 1), ((1, 1), (0, 2))),
        ((2, 5, 5, 1), (3, 2), (1, 1), ((1, 1), (1, 0))), ((1, 3, 9, 40), (1, 2), (3, 4), ((0, 0), (0, 1))),
        ((1, 1, 1, 1), (1, 1), (1, 1), ((0, 0), (0, 0))), ((0, 4, 4, 2), (2, 2), (2, 2), ((0, 0), (0, 0))),
        ((1, 18, 17, 2), (16, 17), (1, 1), ((0, 0), (0, 0))),
    ):  # fmt: skip
        out = tuple((n + sum(p) - k) // s + 1 for n, k, s, p in zip(shape[1:3], size, stride, padding, strict=True))
        yield shape, size, stride, padding, out


def _with_ties(rng: Rng, shape: Any) -> Any:
    x = rng.integers(-3, 3, shape).astype(float)
    x[rng.random(shape) < 0.02] = np.nan
    return x


def _pools(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield _with_ties(rng, shape), *at


def _means(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield normal(rng, shape), *at


def _scatters(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        y, index = pool.plain_max_pool2d(_with_ties(rng, shape), *at)
        yield normal(rng, y.shape), index, shape, *at


def _gathers(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield normal(rng, shape), pool.plain_max_pool2d(_with_ties(rng, shape), *at)[1], *at


def _spreads(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield normal(rng, (shape[0], *at[3], shape[3])), shape, *at


# fmt: off
CASES = [
    Case("pool", "max_pool2d", pool.plain_max_pool2d, _pools, 0),
    Case("pool", "scatter_windows", pool.plain_scatter_windows, _scatters, 4),
    Case("pool", "gather_windows", pool.gather_windows, _gathers, 0),
    Case("pool", "average_pool2d", pool.plain_average_pool2d, _means, 16),
    Case("pool", "spread_windows", pool.plain_spread_windows, _spreads, 16),
    Case("conv", "conv2d", conv_plain.reference, _convolutions, 64),
    Case("conv", "conv2d_input_gradient", conv_plain.reference_input_gradient, _input_gradients, 64),
    Case("conv", "conv2d_weight_gradient", conv_plain.reference_weight_gradient, _weight_gradients, 64),
    Case("conv", "conv2d_backward", _plain_layer, _layers, 64),
    Case("conv", "conv2d_max_pool", _plain_pooled, _pooled, 64, dtypes=(np.float32, np.float64)),
]
# fmt: on
