"""Sums: reductions, scans, products of matrices and what goes around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .case import WIDE, Case, Rng, normal

# --- reductions and running sums -------------------------------------------------------------------------------------

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((5,), (0,)), ((1,), (0,)), ((33, 7), (0,)), ((33, 7), (1,)), ((4, 5, 6), (0, 2)), ((4, 5, 6), (0, 1, 2)),
    ((600, 3), (0,)), ((2, 300, 40), (1,)), ((3, 1100), (1,)), ((9000,), (0,)), ((2, 3, 70), (1,)), ((3, 0), (0,)),
    ((2, 1, 3), (1,)), ((270, 2, 3), (0, 2)),
]  # fmt: skip


def _reductions(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, axes in SHAPES:
        yield normal(rng, shape), axes, bool(rng.integers(2))
    x = normal(rng, (40, 33))
    x[3, 5] = np.nan
    yield x, (1,), False
    yield x, (0,), True


def _largest(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield from ((x, axes, keepdims) for x, axes, keepdims in _reductions(rng) if x.size)
    yield np.full((3, 40), -np.inf), (1,), False


def _centred(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axes, keepdims in _reductions(rng):
        yield x, normal(rng, [1 if a in axes else n for a, n in enumerate(x.shape)]), axes, keepdims


def _plain_reduction(ufunc: Any, enter: Callable[..., Any] = lambda x: x) -> Callable[..., Any]:
    return lambda x, *rest: ufunc.reduce(enter(x, *rest[:-2]), axis=rest[-2], keepdims=rest[-1])


def _scans(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, axis in (
        ((5,), 0), ((1, 3), 1), ((3, 1000), 1), ((2, 1025), 1), ((2500, 3), 0), ((2, 40, 5), 1), ((0, 3), 0),
    ):  # fmt: skip
        for initial in (False, True):
            yield normal(rng, shape), axis, initial
    yield rng.integers(-5, 5, (3, 1100)), 1, True
    yield rng.integers(0, 5, (40, 3)).astype(np.uint8), 0, False
    yield np.ones(2_000_000 // 1000, bool), 0, False


def _other_scans(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, axis in (((5,), 0), ((1, 3), 1), ((3, 70), 1), ((33, 2), 0), ((2, 9, 3), 1), ((0, 3), 0), ((4, 1), 1)):
        yield normal(rng, shape), axis


def _running_products(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axis in _other_scans(rng):
        yield from ((x, axis, initial) for initial in (False, True))


def _running_log_sums(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axis in _other_scans(rng):
        x[rng.random(x.shape) < 0.3] = -np.inf
        yield 50 * x, axis
    yield np.full((2, 5), -np.inf), 1


def _plain_log_sums(x: Any, axis: int) -> Any:
    return np.logaddexp.accumulate(x, axis)


def _tails(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axis in _other_scans(rng):
        yield normal(rng, x.shape), x, axis


def _plain_tails(a: Any, b: Any, axis: int) -> Any:
    y, a = np.moveaxis(b.copy(), axis, 0), np.moveaxis(a, axis, 0)
    for t in reversed(range(len(y) - 1)):
        y[t] += a[t + 1] * y[t + 1]
    return np.moveaxis(y, 0, axis)


def _powers(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """Rows of which plain powers over- or underflow in float32, too."""
    for scale in (1.0, 1e25, 1e-25):
        yield scale * normal(rng, (4, 33)), (1,)
        yield scale * normal(rng, (70, 3)), (0,)


def _norm(x: Any, axes: tuple[int, ...]) -> Any:
    """With the two functions that the op gives: sums of squares, and the largest magnitudes."""
    from engine.kernels.cuda.magnitude import in_range
    from engine.kernels.cuda.reduce import largest_magnitude, total

    sums, m = in_range(lambda m: total(np.square(x / m), axes, True), lambda: largest_magnitude(x, axes, True), x.size)
    return m * np.sqrt(sums)


# --- products and what goes around them ------------------------------------------------------------------------------


def _products(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield normal(rng, (5, 7)), normal(rng, (7, 3)), False, False, None, normal(rng, 3), True
    yield normal(rng, (7, 5)), normal(rng, (3, 7)), True, True, None, normal(rng, 3), False
    yield normal(rng, (2, 5, 7)), normal(rng, (2, 7, 300)), False, False, None, None, True
    yield normal(rng, (0, 5)), normal(rng, (5, 3)), False, False, None, None, False


def _plain_product(a: Any, b: Any, ta: bool, tb: bool, out: None, bias: Any, relu: bool) -> Any:
    y = (a.mT if ta else a) @ (b.mT if tb else b) + (0 if bias is None else bias)
    return np.maximum(y, 0) if relu else y


def _cotangents(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((7, 5), (3, 300, 33), (1, 1), (0, 4), (700, 1)):
        yield normal(rng, shape), normal(rng, shape)


def _bias_gradient(g: Any, y: Any) -> Any:
    from engine.kernels.cuda.bias import bias_gradient

    return bias_gradient(g)


# fmt: off
CASES = [
    Case("reduce", "total", _plain_reduction(np.add), _reductions, 64),
    Case("reduce", "largest", _plain_reduction(np.maximum), _largest, 0),
    Case("reduce", "smallest", _plain_reduction(np.minimum), _largest, 0),
    Case("reduce", "largest_magnitude", _plain_reduction(np.maximum, np.abs), _largest, 0),
    Case("reduce", "differences", _plain_reduction(np.add, lambda x, c: x - c), _centred, 64),
    Case("reduce", "squares", _plain_reduction(np.add, lambda x, c: np.square(x - c)), _centred, 64),
    Case("reduce", "exponentials", _plain_reduction(np.add, lambda x, c: np.exp(x - c)), _centred, 64),
    Case("scan", "cumulative_sum", lambda x, axis, initial: np.cumulative_sum(x, axis=axis, include_initial=initial),
         _scans, 64),
    Case("scan", "cumulative_prod", lambda x, axis, initial: np.cumulative_prod(x, axis=axis, include_initial=initial),
         _running_products, 64, WIDE),
    Case("scan", "cumulative_logsumexp", _plain_log_sums, _running_log_sums, 64, WIDE),
    Case("scan", "tails", _plain_tails, _tails, 64, WIDE),
    Case("product", "product", _plain_reduction(np.multiply), _reductions, 64, WIDE),
    Case("magnitude", "in_range", lambda x, axes: np.sqrt(np.square(x).sum(axes, keepdims=True)), _powers, 64, WIDE,
         run=_norm),
    Case("bias", "bias_gradient", lambda g, y: g.reshape(-1, g.shape[-1]).sum(0), _cotangents, 64,
         run=_bias_gradient),
    Case("bias", "rectified_gradient", lambda g, y: (np.where(y > 0, g, 0), np.where(y > 0, g, 0).reshape(
        -1, g.shape[-1]).sum(0)), _cotangents, 64),
    Case("matmul", "matmul", _plain_product, _products, 32),
]
# fmt: on
