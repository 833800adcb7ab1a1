"""What each kernel is called with, and the plain form that it must equal: sides of 0, 1, odd, and beyond a block.

The plain forms are NumPy's, the contracts of the CPU's kernels. They run in float64 on the very numbers that the kernel
is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.kernels.cpu import cross_entropy, softmax
from engine.kernels.cuda import launch

Rng = np.random.Generator
DTYPES = np.float32, np.float64, np.float16


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

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def check(self, rng: Rng) -> None:
        run = getattr(importlib.import_module(f"engine.kernels.cuda.{self.module}"), self.name)
        for args in self.calls(rng):
            for dtype in self.dtypes:
                given = [cast(a, launch.wide(dtype) if i in self.wide else dtype) for i, a in enumerate(args)]
                expected = self.plain(*[cast(a, np.float64) for a in given])
                close(run(*given), expected, self.bound, dtype, f"{self} of {dtype.__name__}{shapes(args)}")


def cast(a: Any, dtype: Any) -> Any:
    """Floats in this dtype, read-only; all else as it is."""
    if isinstance(a, tuple):
        return tuple(cast(part, dtype) for part in a)
    if not isinstance(a, np.ndarray):
        return a
    a = a.astype(dtype) if a.dtype.kind == "f" else a.copy()
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
    assert worst <= bound * np.finfo(dtype).eps * max(size, 1), f"{what}: off by {worst} of {size}"


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


def _labels(rng: Rng, n: int, count: int) -> Any:
    return rng.integers(0, n, count)


def _losses(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for n in LENGTHS:
        count = 3 if n > 200 else 9
        yield _labels(rng, n, count), _scores(rng, (count, n)), 0.0
        yield _labels(rng, n, count), _normal(rng, (count, n)), 0.1
    yield _labels(rng, 5, 0), _normal(rng, (0, 5)), 0.0
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
]
# fmt: on
