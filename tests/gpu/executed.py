"""What each kernel is called with, and the plain form that it must equal: sides of 0, 1, odd, and beyond a block.

The plain forms are NumPy's, the contracts of the CPU's kernels. They run in float64 on the very numbers that the kernel
is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from engine.kernels.cpu import (
    attention,
    conv_plain,
    cross_entropy,
    dropout,
    norm,
    pool,
    random,
    recurrent_plain,
    softmax,
)
from engine.kernels.cpu.recurrent_cells import CELLS
from engine.kernels.cuda import launch
from engine.replay import Word

Rng = np.random.Generator
DTYPES = np.float32, np.float64, np.float16, ml_dtypes.bfloat16
HALF_BOUND = 16  # 16 bits are computed in 32, and rounded where they are stored: their own units, whatever is added


@dataclass
class Case:
    """A function of engine.kernels.cuda.<module>, and lists of arguments for it."""

    module: str
    name: str
    plain: Callable[..., Any]
    calls: Callable[[Rng], Iterator[tuple[Any, ...]]]
    bound: float = 8  # units of the dtype's last place, of 1, or of the largest number of a result
    dtypes: tuple[Any, ...] = DTYPES
    wide: tuple[int, ...] = ()  # places of arguments that are kept in what is computed in
    run: Callable[..., Any] | None = None  # what calls it, where it gives no result

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def check(self, rng: Rng, dtypes: tuple[Any, ...] = DTYPES) -> None:
        """Every call in these dtypes."""
        run = self.run or getattr(importlib.import_module(f"engine.kernels.cuda.{self.module}"), self.name)
        for args in self.calls(rng):
            for dtype in [d for d in self.dtypes if d in dtypes]:
                given = [cast(a, launch.wide(dtype) if i in self.wide else dtype) for i, a in enumerate(args)]
                expected = self.plain(*[cast(a, np.float64) for a in given])
                close(run(*given), expected, self.bound, dtype, f"{self} of {dtype.__name__}{shapes(args)}")


def cast(a: Any, dtype: Any) -> Any:
    """Floats in this dtype, read-only; all else as it is."""
    if isinstance(a, tuple):
        return tuple(cast(part, dtype) for part in a)
    if not isinstance(a, np.ndarray):
        return a
    a = a.astype(dtype) if launch.is_float(a.dtype) else a.copy()
    a.flags.writeable = False
    return a


def close(found: Any, expected: Any, bound: float, dtype: Any, what: str) -> None:
    """Equal but for rounding, in shape, too; integers and None exactly."""
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected), what
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            close(a, b, bound, dtype, f"{what}[{i}]")
        return
    if expected is None:
        assert found is None, what
        return
    expected = np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: {found.shape}, not {expected.shape}"
    if expected.dtype.kind != "f":
        assert found.dtype == expected.dtype and (found == expected).all(), what
        return
    assert found.dtype in (dtype, np.float32 if dtype != np.float64 else dtype), f"{what}: {found.dtype}"
    finite = np.isfinite(expected)
    assert (np.isnan(found) == np.isnan(expected)).all(), f"{what}: NaN"
    size = np.abs(expected[finite]).max(initial=0)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(found == expected, 0, np.abs(found.astype(np.float64) - expected))
    worst = np.nanmax(error, initial=0)
    bound = min(bound, HALF_BOUND) if np.dtype(dtype).itemsize == 2 else bound
    assert worst <= bound * ml_dtypes.finfo(dtype).eps * max(size, 1), f"{what}: off by {worst} of {size}"


def shapes(args: Any) -> str:
    return str([a.shape if isinstance(a, np.ndarray) else a for a in args])


# --- softmax and cross-entropy ---------------------------------------------------------------------------------------

LENGTHS = (1, 3, 32, 33, 100, 1024, 1025, 1500)  # of rows: within a warp, beyond, and beyond what a block goes through


def _rows(rng: Rng, n: int, count: int = 9) -> Any:
    x = 3 * rng.standard_normal((count, n))
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[-1] = -np.inf
    return x


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


def _normal(rng: Rng, shape: Any) -> Any:
    return rng.standard_normal(shape)


def _masked_softmax(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield from _along_axes(1, _scores)(rng)
    yield np.full((3, 40), -np.inf), 1
    for n in (7, 1100):  # far above 0 at either end of a row
        x = _normal(rng, (4, n))
        x[:2, 0] = x[2:, -1] = 500.0
        yield x, 1


def _labels(rng: Rng, n: int, count: int) -> Any:
    return rng.integers(0, n, count)


def _losses(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for n in LENGTHS:
        count = 3 if n > 200 else 9
        yield _labels(rng, n, count), _scores(rng, (count, n)), 0.0
        yield _labels(rng, n, count), _normal(rng, (count, n)), 0.1
    yield _labels(rng, 5, 0), _normal(rng, (0, 5)), 0.0
    yield np.array([0, 1, 2]), np.where(np.eye(3) > 0, 500.0, _normal(rng, (3, 3))), 0.0  # far above 0
    yield rng.integers(0, 4, (2, 3)).astype(np.int32), _normal(rng, (2, 3, 4)), 0.1


def _losses_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for labels, z, smoothing in _losses(rng):
        yield _normal(rng, labels.shape), labels, z, cross_entropy.plain_label_losses(labels, z, 0.0)[1], smoothing


def _mixtures(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for labels, z, smoothing in _losses(rng):
        if np.isfinite(z).all():
            yield rng.dirichlet(np.ones(z.shape[-1]), labels.shape), z, smoothing


def _mixtures_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for q, z, smoothing in _mixtures(rng):
        lse = cross_entropy.plain_probability_losses(q, z, 0.0)[1]
        yield _normal(rng, q.shape[:-1]), q * 1.5, z, lse, smoothing, (True, True)


def _plain_mixtures_gradient(g: Any, q: Any, z: Any, lse: Any, smoothing: float, needs: Any) -> Any:
    q_bar = (1 - smoothing) * g[..., None] * (lse[..., None] - z)
    return q_bar, cross_entropy.plain_probability_losses_gradient(g, q, z, lse, smoothing)


# --- reductions and running sums -------------------------------------------------------------------------------------

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((5,), (0,)), ((1,), (0,)), ((33, 7), (0,)), ((33, 7), (1,)), ((4, 5, 6), (0, 2)), ((4, 5, 6), (0, 1, 2)),
    ((600, 3), (0,)), ((2, 300, 40), (1,)), ((3, 1100), (1,)), ((9000,), (0,)), ((2, 3, 70), (1,)), ((3, 0), (0,)),
    ((2, 1, 3), (1,)), ((270, 2, 3), (0, 2)),
]  # fmt: skip


def _reductions(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, axes in SHAPES:
        yield _normal(rng, shape), axes, bool(rng.integers(2))
    x = _normal(rng, (40, 33))
    x[3, 5] = np.nan
    yield x, (1,), False
    yield x, (0,), True


def _largest(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield from ((x, axes, keepdims) for x, axes, keepdims in _reductions(rng) if x.size)
    yield np.full((3, 40), -np.inf), (1,), False


def _centred(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, axes, keepdims in _reductions(rng):
        yield x, _normal(rng, [1 if a in axes else n for a, n in enumerate(x.shape)]), axes, keepdims


def _plain_reduction(ufunc: Any, enter: Callable[..., Any] = lambda x: x) -> Callable[..., Any]:
    return lambda x, *rest: ufunc.reduce(enter(x, *rest[:-2]), axis=rest[-2], keepdims=rest[-1])


def _scans(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, axis in (
        ((5,), 0), ((1, 3), 1), ((3, 1000), 1), ((2, 1025), 1), ((2500, 3), 0), ((2, 40, 5), 1), ((0, 3), 0),
    ):  # fmt: skip
        for initial in (False, True):
            yield _normal(rng, shape), axis, initial
    yield rng.integers(-5, 5, (3, 1100)), 1, True
    yield rng.integers(0, 5, (40, 3)).astype(np.uint8), 0, False
    yield np.ones(2_000_000 // 1000, bool), 0, False


# --- products and what goes around them ------------------------------------------------------------------------------


def _products(rng: Rng) -> Iterator[tuple[Any, ...]]:
    yield _normal(rng, (5, 7)), _normal(rng, (7, 3)), False, False, None, _normal(rng, 3), True
    yield _normal(rng, (7, 5)), _normal(rng, (3, 7)), True, True, None, _normal(rng, 3), False
    yield _normal(rng, (2, 5, 7)), _normal(rng, (2, 7, 300)), False, False, None, None, True
    yield _normal(rng, (0, 5)), _normal(rng, (5, 3)), False, False, None, None, False


def _plain_product(a: Any, b: Any, ta: bool, tb: bool, out: None, bias: Any, relu: bool) -> Any:
    y = (a.mT if ta else a) @ (b.mT if tb else b) + (0 if bias is None else bias)
    return np.maximum(y, 0) if relu else y


def _cotangents(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((7, 5), (3, 300, 33), (1, 1), (0, 4), (700, 1)):
        yield _normal(rng, shape), _normal(rng, shape)


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
        bias = _normal(rng, w[3]) if i % 2 == 0 else None
        yield _normal(rng, x), _normal(rng, w), bias, *how, i % 3 == 0


def _input_gradients(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in _images(rng):
        yield _normal(rng, conv_plain.out_shape(x, w, *how[:3])), _normal(rng, w), x, *how


def _weight_gradients(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in _images(rng):
        yield _normal(rng, x), _normal(rng, conv_plain.out_shape(x, w, *how[:3])), w, *how


def _layers(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """Gradients of conv2d + bias, with relu, and with max-pooling behind it."""
    for x, w, *how in list(_images(rng))[:2]:
        shape = conv_plain.out_shape(x, w, *how[:3])
        arrays, needs = (_normal(rng, x), _normal(rng, w), *how), (True, True, True)
        yield _normal(rng, shape), None, None, *arrays, None, needs
        yield _normal(rng, shape), _normal(rng, shape), None, *arrays, None, (False, True, False)
        at = (2, 2), (2, 2), ((0, 0), (0, 0)), (shape[1] // 2, shape[2] // 2)
        y, index = pool.plain_max_pool2d(_normal(rng, shape), *at)
        yield _normal(rng, y.shape), y, index, *arrays, at, needs


def _plain_layer(g: Any, y: Any, index: Any, x: Any, w: Any, *rest: Any) -> Any:
    *how, at, needs = rest
    return conv_plain.reference_backward(g, y, index, x, w, x.shape, w.shape, tuple(how), at, needs)


def _pooled(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for x, w, *how in list(_images(rng))[:2]:
        shape = conv_plain.out_shape(x, w, *how[:3])
        at = (2, 2), (1, 2), ((1, 0), (0, 1)), (shape[1], shape[2] // 2)
        yield _normal(rng, x), _normal(rng, w), _normal(rng, w[3]), *how, at


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
        yield _normal(rng, shape), *at


def _scatters(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        y, index = pool.plain_max_pool2d(_with_ties(rng, shape), *at)
        yield _normal(rng, y.shape), index, shape, *at


def _gathers(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield _normal(rng, shape), pool.plain_max_pool2d(_with_ties(rng, shape), *at)[1], *at


def _spreads(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape, *at in _windows(rng):
        yield _normal(rng, (shape[0], *at[3], shape[3])), shape, *at


# --- normalisation ---------------------------------------------------------------------------------------------------


def _samples(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """x, gamma, beta, axes, eps, centred"""
    for shape, k in (
        ((9, 5), 1), ((3, 1), 1), ((2, 3, 40), 1), ((3, 1100), 1), ((4, 3, 30), 2), ((0, 4), 1), ((70, 33), 1),
    ):  # fmt: skip
        weights = shape[len(shape) - k :]
        axes = tuple(range(len(shape) - k, len(shape)))
        yield _normal(rng, shape) + 3, _normal(rng, weights), _normal(rng, weights), axes, 1e-3, True
        yield _normal(rng, shape) + 3, _normal(rng, weights), None, axes, 1e-3, False
    yield _normal(rng, (3, 4)), None, None, (1,), 1e-3, True


def _samples_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, (x, gamma, beta, axes, eps, centred) in enumerate(_samples(rng)):
        statistics = norm.plain_layer_norm(x, gamma, beta, axes, eps, centred)[1]
        needs = (True, True, True) if i % 3 else (False, True, False)
        yield _normal(rng, x.shape), x, gamma, statistics, axes, needs, centred


def _plain_samples_gradient(g: Any, x: Any, gamma: Any, statistics: Any, axes: Any, needs: Any, centred: bool) -> Any:
    samples = tuple(range(x.ndim - len(axes)))
    return norm.plain_gradient(g, x, gamma, statistics, axes, samples, needs, centred)


def _batches(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for shape in ((9, 5), (1, 3), (70, 33), (3, 40, 40, 2), (4300, 1), (2, 0), (5, 64)):
        C = shape[-1]
        yield _normal(rng, shape) + 3, _normal(rng, C), _normal(rng, C), 1e-3
    yield _normal(rng, (4, 3)), None, None, 1e-3


def _batches_gradient(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, (x, gamma, beta, eps) in enumerate(_batches(rng)):
        _, mean, _, scale = norm.plain_batch_norm(x, gamma, beta, eps)
        yield _normal(rng, x.shape), x, gamma, (mean, scale), (True, True, True) if i % 3 else (False, True, False)


def _plain_batches_gradient(g: Any, x: Any, gamma: Any, statistics: Any, needs: Any) -> Any:
    samples = tuple(range(x.ndim - 1))
    return norm.plain_gradient(g, x, gamma, statistics, samples, samples, needs)


# --- random numbers, dropout -----------------------------------------------------------------------------------------


def _streams(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for start, n in ((0, 4), (0, 1), (5, 6), (3, 2000), (2**34 - 3, 9), (0, 0)):
        yield int(rng.integers(2**63)), int(rng.integers(2**63)), start, n
    yield 2**64 - 1, 2**64 - 1, 1, 5


def _plain_bits(seed: int, stream: int, start: int, n: int) -> Any:
    first, skip = divmod(start, 4)
    return random.philox_words(seed, stream, first, -(-(skip + n) // 4))[skip : skip + n]


def _dropped(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, shape in enumerate(((5,), (3, 7), (1030,), (), (0,), (4, 4))):
        yield _normal(rng, shape), (0.5, 0.1, 0.9, 0.5, 0.5, 1.0)[i], int(rng.integers(2**63)), int(rng.integers(2**63))


# --- rows of tables --------------------------------------------------------------------------------------------------


def _tables(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """ids, rows, D: few of each, many of some, all the same, none."""
    yield rng.integers(0, 7, (3, 5)), 7, 4
    yield rng.integers(0, 300, 700), 300, 3
    yield np.zeros(200, np.int64), 1, 2
    yield np.full(400, 3), 5, 130
    yield np.concatenate([np.zeros(70, np.int64), rng.integers(0, 3, 60), np.full(300, 2)]).astype(np.int32), 17, 1
    yield np.repeat(np.arange(5), 64), 5, 2
    yield rng.integers(0, 5, 1), 5, 3
    yield rng.integers(0, 5, (0, 2)), 5, 3


def _lookups(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for ids, rows, D in _tables(rng):
        yield ids, _normal(rng, (rows, D))
    yield np.array([-1, 0, 7, 2**40]), _normal(rng, (5, 3))  # clamped: the op's check has its own error


def _additions(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for ids, rows, D in _tables(rng):
        yield _normal(rng, (*ids.shape, D)), ids, rows


def _plain_additions(g: Any, ids: Any, rows: int) -> Any:
    table = np.zeros((rows, g.shape[-1]))
    np.add.at(table, ids, g)
    return table


def _targets(rng: Rng) -> Iterator[tuple[Any, ...]]:
    ids = rng.integers(-4, 4, 50)
    yield _normal(rng, (4, 5)), ids, _normal(rng, (50, 5))
    yield _normal(rng, (4, 5)), (ids, rng.integers(0, 5, 50)), _normal(rng, 50)
    yield _normal(rng, (4, 5)), (1, ids[:7]), _normal(rng, 7)
    yield _normal(rng, (4, 5)), np.repeat([0, 2], [150, 100]), _normal(rng, (250, 5))
    yield _normal(rng, (4, 5)), 2, _normal(rng, 5)
    yield _normal(rng, (4, 5)), (slice(None), ids), _normal(rng, (4, 50))
    yield _normal(rng, (4, 5)), _normal(rng, (4, 5)) > 0, np.float64(1.5)
    yield rng.integers(0, 9, (4, 5)), ids, rng.integers(0, 9, (50, 5))


def _added_at(target: Any, index: Any, values: Any) -> Any:
    from engine.kernels.cuda.embedding import add_at

    y = target.copy()
    add_at(y, index, values)
    return y


def _plain_added_at(target: Any, index: Any, values: Any) -> Any:
    y = target.copy()
    np.add.at(y, index, values)
    return y


# --- recurrent cells -------------------------------------------------------------------------------------------------


def _sequences(name: str) -> Callable[[Rng], Iterator[tuple[Any, ...]]]:
    """x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar"""
    G = CELLS[name].gates

    def calls(rng: Rng) -> Iterator[tuple[Any, ...]]:
        for i, (N, T, D, H, K) in enumerate(
            ((3, 4, 5, 6, 4), (1, 1, 1, 1, 1), (9, 3, 2, 33, 1), (2, 5, 3, 1, 3), (0, 2, 3, 2, 2))
        ):
            sides = (N, T, D), (D, G * H), (H, G * H), (G * H,), (G * H,), (N, H), (N, H)
            mask = (rng.random((N, T)) < 0.7).astype(np.uint8) if i % 2 == 0 else np.ones((N, T), np.uint8)
            factors = 2.0 * (rng.random((N, H)) < 0.5) if i % 2 == 0 else np.ones((N, H))
            c_bar = _normal(rng, (N, H)) if i % 2 == 0 else None
            yield *[_normal(rng, shape) for shape in sides], mask, factors, _normal(rng, (N, K, H)), c_bar

    return calls


def _forward_and_back(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        from engine.kernels.cuda import recurrent

        x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar = args
        states, z, kept, c = recurrent.forward(name, x, w, u, b, b_u, h0, c0, mask, factors)
        bars = recurrent.backward(name, g, c_bar, x, w, u, h0, c0, mask, factors, states, z, kept)
        return states, c, *bars

    return run


def _plainly_forward_and_back(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar = args
        cell, c_bar = CELLS[name], np.zeros_like(h0) if c_bar is None else c_bar
        states, z, kept, c = recurrent_plain.forward(cell, x, w, u, b, b_u, h0, c0, mask, factors)
        bars = recurrent_plain.backward(cell, g, c_bar, x, w, u, h0, c0, mask, factors, states, z, kept)
        return states, c, *bars

    return run


# --- attention -------------------------------------------------------------------------------------------------------


def _attended(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """q, k, v, bias, mask, causal, scale, rate, seed, stream"""
    for i, (N, T, h, d, S, g, e) in enumerate((
        (2, 5, 4, 3, 7, 2, 5), (1, 33, 2, 66, 5, 1, 3), (1, 3, 1, 8, 35, 1, 130), (2, 1, 2, 4, 9, 2, 4),
        (1, 36, 1, 4, 40, 1, 4), (1, 3, 1, 0, 40, 1, 3), (1, 3, 2, 4, 0, 1, 4), (2, 0, 1, 4, 3, 1, 4),
        (1, 40, 2, 4, 35, 2, 4),
    )):  # fmt: skip
        arrays = _normal(rng, (N, T, h, d)), _normal(rng, (N, S, g, d)), _normal(rng, (N, S, g, e))
        bias = _normal(rng, ((N, h, T, S), (h, 1, 1), (T, S))[i % 3]) if i % 2 == 0 else None
        mask = rng.random(((N, 1, 1, S), (T, S), (N, h, T, S))[i % 3]) < 0.7 if i % 3 != 2 else None
        if i == 1:
            mask[3] = False  # a query that sees no key
        yield *arrays, bias, mask, i in (2, 4, 8), 0.7, (0.0, 0.3, 0.0, 1.0)[i % 4], 2**40 + i, 3


def _attended_back(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for q, k, v, *how in _attended(rng):
        y, lse = attention.plain_attention(q, k, v, *how)
        yield _normal(rng, y.shape), y, lse, q, k, v, *how


def _cut_from_one(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """q, k and v as they come from one product: (N,T,3,h,d)."""
    yield (_normal(rng, (2, 9, 3, 2, 4)),)


def _plainly_cut(qkv: Any) -> Any:
    how = *(qkv[:, :, i] for i in range(3)), None, None, False, 0.5, 0.0, 0, 0
    y, lse = attention.plain_attention(*how)
    return y, lse, *attention.plain_attention_gradient(y, *how)[:3]


def _cut(qkv: Any) -> Any:
    from engine.kernels.cuda.attention import attention, attention_gradient

    how = *(qkv[:, :, i] for i in range(3)), None, None, False, 0.5, 0.0, 0, 0
    y, lse = attention(*how)
    return y, lse, *attention_gradient(y, y, lse, *how)


def _replayed(kernel: str, at: int) -> Any:
    """A kernel that is given the stream as in a replayed step: a number of before, and the present one in memory."""

    def run(*args: Any) -> Any:
        stream = Word((args[at] + 1) % 2**63)
        stream.memory = np.array([args[at]], np.uint64)
        function = getattr(importlib.import_module(f"engine.kernels.cuda.{kernel.split('_')[0]}"), kernel)
        return function(*args[:at], stream, *args[at + 1 :])

    return run


# fmt: off
CASES = [
    Case("softmax", "softmax", softmax.plain_softmax, _masked_softmax),
    Case("softmax", "log_softmax", softmax.plain_log_softmax, _masked_softmax),
    Case("softmax", "softmax_gradient", softmax.plain_softmax_gradient, _along_axes(2, _normal), 32),
    Case("softmax", "log_softmax_gradient", softmax.plain_log_softmax_gradient, _along_axes(2, _normal), 32),
    Case("cross_entropy", "label_losses", cross_entropy.plain_label_losses, _losses),
    Case(
        "cross_entropy", "label_losses_gradient", cross_entropy.plain_label_losses_gradient, _losses_gradient, 32,
        wide=(3,),
    ),
    Case("cross_entropy", "probability_losses", cross_entropy.plain_probability_losses, _mixtures, 32),
    Case("cross_entropy", "probability_losses_gradient", _plain_mixtures_gradient, _mixtures_gradient, 32, wide=(3,)),
    Case("reduce", "total", _plain_reduction(np.add), _reductions, 64),
    Case("reduce", "largest", _plain_reduction(np.maximum), _largest, 0),
    Case("reduce", "smallest", _plain_reduction(np.minimum), _largest, 0),
    Case("reduce", "largest_magnitude", _plain_reduction(np.maximum, np.abs), _largest, 0),
    Case("reduce", "differences", _plain_reduction(np.add, lambda x, c: x - c), _centred, 64),
    Case("reduce", "squares", _plain_reduction(np.add, lambda x, c: np.square(x - c)), _centred, 64),
    Case("reduce", "exponentials", _plain_reduction(np.add, lambda x, c: np.exp(x - c)), _centred, 64),
    Case("scan", "cumulative_sum", lambda x, axis, initial: np.cumulative_sum(x, axis=axis, include_initial=initial),
         _scans, 64),
    Case("bias", "bias_gradient", lambda g, y: g.reshape(-1, g.shape[-1]).sum(0), _cotangents, 64,
         run=lambda g, y: importlib.import_module("engine.kernels.cuda.bias").bias_gradient(g)),
    Case("bias", "rectified_gradient", lambda g, y: (np.where(y > 0, g, 0), np.where(y > 0, g, 0).reshape(
        -1, g.shape[-1]).sum(0)), _cotangents, 64),
    Case("matmul", "matmul", _plain_product, _products, 32),
    Case("random", "philox_bits", _plain_bits, _streams, dtypes=(np.float32,)),
    Case("dropout", "dropout", dropout.plain_dropout, _dropped, 2),
    Case("dropout", "replayed", dropout.plain_dropout, _dropped, 2, run=_replayed("dropout", 3)),
    Case("norm", "layer_norm", norm.plain_layer_norm, _samples, 64),
    Case("norm", "layer_norm_gradient", _plain_samples_gradient, _samples_gradient, 256, wide=(3,)),
    Case("norm", "batch_norm", norm.plain_batch_norm, _batches, 64),
    Case("norm", "batch_norm_gradient", _plain_batches_gradient, _batches_gradient, 256, wide=(3,)),
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
    *[Case("recurrent", name, _plainly_forward_and_back(name), _sequences(name), 256, run=_forward_and_back(name))
      for name in CELLS],
    Case("attention", "attention", attention.plain_attention, _attended, 64),
    Case("attention", "attention_gradient", lambda g, y, lse, *rest: attention.plain_attention_gradient(g, *rest)[:3],
         _attended_back, 256, wide=(2,)),
    Case("attention", "plain_attention_gradient", attention.plain_attention_gradient,
         lambda rng: ((g, *rest) for g, _, _, *rest in _attended_back(rng) if rest[0].size and rest[1].size), 256),
    Case("attention", "replayed", attention.plain_attention, _attended, 64, run=_replayed("attention", 9)),
    Case("attention", "gradient, replayed", lambda g, y, lse, *rest: attention.plain_attention_gradient(g, *rest)[:3],
         _attended_back, 256, wide=(2,), run=_replayed("attention_gradient", 12)),
    Case("attention", "views", _plainly_cut, _cut_from_one, 256, run=_cut),
    Case("embedding", "embedding", lambda ids, table: table[np.clip(ids, 0, len(table) - 1)], _lookups, 0),
    Case("embedding", "embedding_gradient", _plain_additions, _additions, 256),
    Case("embedding", "add_at", _plain_added_at, _targets, 64, run=_added_at),
]
# fmt: on
