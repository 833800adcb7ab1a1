"""Numbers below the smallest normal one (docs/decisions/subnormal.md): what moves or maps them keeps every bit.

In sums and products they count as 0.
"""

import platform

import numpy as np
import pytest

import engine
from engine import ops
from engine.kernels.cpu import jit

FLUSHES = jit.ENABLED and platform.machine() in ("x86_64", "AMD64")
DTYPES = [np.float32, np.float64]
SHAPES = [(6, 8), (90, 400)]


def drawn(shape, dtype):
    """Subnormal numbers with normal ones among them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.9, shape) * rng.choice([-1, 1], shape)
    return x.astype(dtype) * np.where(rng.random(shape) < 0.8, np.finfo(dtype).smallest_normal, dtype(1))


def flushed(x):
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, 0, x)


PLACES = np.random.default_rng(1).integers(0, 8, (90, 400))


def _places(x):
    return PLACES[: x.shape[0], : x.shape[1]]


def _counted(x):
    """np.add.at along rows."""
    y = np.zeros_like(x)
    np.add.at(y, (np.arange(len(x))[:, None], _places(x)), x)
    return y


KEEP = {
    "multiply": (lambda x: ops.multiply(x, 0.5), lambda x: x * x.dtype.type(0.5)),
    "where": (lambda x: ops.where(x > 0, x, -x), np.abs),
    "diff": (ops.diff, lambda x: np.diff(x)),
    "roll": (lambda x: ops.roll(x, shift=3, axis=1), lambda x: np.roll(x, 3, 1)),
    "repeat": (lambda x: ops.repeat(x, repeats=2, axis=1), lambda x: np.repeat(x, 2, 1)),
    "take_along_axis": (lambda x: ops.take_along_axis(x, _places(x)), lambda x: np.take_along_axis(x, _places(x), 1)),
    "take": (lambda x: ops.take(x, [2, 0, 2], axis=0), lambda x: x[[2, 0, 2]]),
    "pad": (lambda x: ops.pad(x, pad_width=1), lambda x: np.pad(x, 1)),
    "concat": (lambda x: ops.concat(x, x, axis=1), lambda x: np.concatenate([x, x], 1)),
    "matrix_transpose": (lambda x: ops.reshape(ops.matrix_transpose(x), shape=-1), lambda x: x.T.reshape(-1)),
    "tril": (ops.tril, np.tril),
    "sort": (ops.sort, lambda x: np.sort(x, 1)),
    "topk": (lambda x: ops.topk(x, k=5)[0], lambda x: -np.sort(-x, 1)[:, :5]),
    "argmax": (lambda x: ops.argmax(x, axis=1), lambda x: np.argmax(x, 1)),
}
COUNT_AS_0 = {
    "matmul": (lambda x: ops.matmul(x, np.eye(x.shape[1], dtype=x.dtype)), lambda x: x),
    "average_pool2d": (lambda x: ops.average_pool2d(x[None, :, :, None], window=1), lambda x: x[None, :, :, None]),
    "scatter_add": (lambda x: ops.scatter_add(np.zeros_like(x), _places(x), x), _counted),
    "index_add": (lambda x: ops.index_add(0 * x, np.arange(len(x)), x), lambda x: x),
    "embedding_gradient": (lambda x: ops.embedding_gradient(x, np.arange(len(x)), rows=len(x)), lambda x: x),
    "cumulative_prod": (lambda x: ops.cumulative_prod(x[:, :1], axis=1), lambda x: x[:, :1]),
    "cumulative_sum": (lambda x: ops.cumulative_sum(x, axis=1), lambda x: np.cumsum(x, 1)),
    "sum": (lambda x: ops.sum(x, axis=1), lambda x: x.sum(1)),
}
SMALL_ONES_ARE_NUMPYS = {"cumulative_sum", "sum"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", KEEP)
def test_what_moves_or_maps_numbers_keeps_every_bit(name, shape, dtype):
    x = drawn(shape, dtype)
    found, expected = KEEP[name]
    np.testing.assert_array_equal(found(x).numpy(), expected(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", COUNT_AS_0)
def test_what_adds_and_multiplies_takes_them_as_0(name, shape, dtype):
    x = drawn(shape, dtype)
    found, expected = COUNT_AS_0[name]
    zeros = FLUSHES and not (name in SMALL_ONES_ARE_NUMPYS and x.size < 1000)
    y, right = found(x).numpy(), expected(flushed(x)) if zeros else expected(x)
    np.testing.assert_allclose(y, right, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(right).max())
    rows = drawn(shape, dtype)
    rows[np.abs(rows) > 0.01] = 0  # nothing but what counts as 0
    y, right = found(rows).numpy(), 0 if zeros else expected(rows)
    np.testing.assert_allclose(y, right, rtol=8 * np.finfo(dtype).eps * rows.shape[1], atol=0)


def test_the_largest_of_them_is_one_of_them():
    x = drawn((90, 400), np.float32)
    x[np.abs(x) > 0.01] = 0
    for y in (ops.max(x, axis=1), ops.max(x, axis=0), ops.max_pool2d(x[None, :, :, None])):
        assert (np.isin(y.numpy(), x) | (y.numpy() == 0)).all()


def test_gradients_of_elementwise_ops_keep_them():
    x = engine.tensor(drawn((30, 40), np.float32), requires_grad=True)
    g = drawn((30, 40), np.float32)
    (x * 3.0).backward(engine.tensor(g))
    np.testing.assert_array_equal(x.grad.numpy(), g * np.float32(3))
