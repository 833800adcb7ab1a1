"""Tensors from nothing: constants, ranges, grids, random numbers.

All take dtype=, device= and requires_grad=. Floats are float32 by default (`set_default_dtype`). A shape may be given
as zeros(2, 3) or zeros((2, 3)).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import random
from .backends import current_device, get_backend
from .dtypes import canonical, default_dtype, float32, float64, int64, is_float
from .errors import ArgumentError, DTypeError, ShapeError
from .ops import broadcast_to, reshape
from .random import Generator
from .shapes import Shape
from .tensor import Tensor, asarray, tensor


def _shape(name: str, shape: tuple[Any, ...]) -> Shape:
    """The sides from name(2, 3) or name((2, 3))."""
    given = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    try:
        sides = tuple(operator.index(n) for n in given)
    except TypeError:
        raise ShapeError(f"{name}: a shape is made of integers, got {given!r}") from None
    if any(n < 0 for n in sides):
        raise ShapeError(f"{name}: the sides of a shape are 0 or more, got {sides}")
    return sides


def _made(array: Any, device: str | None, requires_grad: bool, dtype: Any = None) -> Tensor:
    """An array as a tensor on a device."""
    return tensor(array, dtype=dtype, device=device, requires_grad=requires_grad)


# ------------------------------------------------------------------------------------------------ constants
def zeros(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """All 0. Raises ShapeError for a negative or broken side."""
    return full(_shape("zeros", shape), 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """All 1. Raises ShapeError for a negative or broken side."""
    return full(_shape("ones", shape), 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def empty(*shape: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Of this shape, to be written to. It holds 0 until then: a forgotten write gives the same numbers each time."""
    return full(_shape("empty", shape), 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    shape: Any, fill_value: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """All `fill_value`: floats take the default float, integers int64, booleans bool, unless `dtype` says otherwise."""
    number = isinstance(fill_value, (bool, int, float, np.generic))  # the device fills it in: nothing is sent there
    value = asarray(fill_value, dtype=dtype, device="cpu" if number else device)
    if value.ndim:
        raise ShapeError(f"full: fill_value is one number, got shape {value.shape}; broadcast_to repeats an array")
    backend = get_backend((device or current_device()) if number else value.device)
    with backend.active():
        filled = backend.xp.full(_shape("full", (shape,)), value.item() if number else value.data, value.dtype)
    return _requiring(Tensor(filled), requires_grad)


def zeros_like(x: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """All 0, in the shape, dtype and device of x."""
    return full_like(x, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(x: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """All 1, in the shape, dtype and device of x."""
    return full_like(x, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    x: Any, fill_value: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """All `fill_value`, in the shape, dtype and device of x."""
    like = asarray(x)
    return full(
        like.shape, fill_value, dtype=dtype or like.dtype, device=device or like.device, requires_grad=requires_grad
    )


def eye(
    n_rows: int,
    n_cols: int | None = None,
    *,
    k: int = 0,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the k-th diagonal (0: the main one, above it positive), else 0: (n_rows, n_cols), square by default."""
    rows, columns = _shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    return _made(np.eye(rows, columns, k, dtype=dtype or default_dtype()), device, requires_grad)


def _requiring(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_() if requires_grad else t


# ------------------------------------------------------------------------------------------------ ranges and grids
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... before stop; arange(n) counts 0 .. n-1. int64 where all three are integers.

    Raises ArgumentError for a step of 0.
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ArgumentError(f"arange: step is 0; it would never reach {stop}")
    whole = all(isinstance(v, (int, np.integer)) for v in (start, stop, step))
    goal = canonical(dtype) if dtype is not None else int64 if whole else default_dtype()
    return _made(np.arange(start, stop, step).astype(goal), device, requires_grad)


def linspace(
    start: float,
    stop: float,
    num: int,
    *,
    endpoint: bool = True,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`num` numbers at equal distances from start to stop, which is the last one if `endpoint`.

    Raises ArgumentError for a negative num.
    """
    if num < 0:
        raise ArgumentError(f"linspace: num is a count, 0 or more, got {num}")
    numbers = np.linspace(start, stop, num, endpoint=endpoint)
    return _made(numbers.astype(default_dtype() if dtype is None else canonical(dtype)), device, requires_grad)


def meshgrid(*xs: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates of a grid over vectors: of x (N,) and y (M,), two of shape (M,N); "ij" gives (N,M). Differentiable.

    Raises ShapeError for anything but vectors, ArgumentError for another indexing.
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    vectors = [asarray(x) for x in xs]
    for i, v in enumerate(vectors):
        if v.ndim != 1:
            raise ShapeError(f"meshgrid: x{i} has shape {v.shape}; every input must be a vector")
    axes = list(range(len(vectors)))
    if indexing == "xy":
        axes[:2] = axes[:2][::-1]  # the first vector runs along the columns
    sides = [0] * len(vectors)
    for axis, v in zip(axes, vectors, strict=True):
        sides[axis] = v.size
    return tuple(
        broadcast_to(reshape(v, shape=tuple(v.size if a == axis else 1 for a in range(len(sides)))), shape=tuple(sides))
        for axis, v in zip(axes, vectors, strict=True)
    )


def from_dlpack(x: Any, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """Another library's array, through DLPack, on the device where it lies; shares its memory unless `copy`."""
    return asarray(x, device=device, copy=copy)


# ------------------------------------------------------------------------------------------------ random numbers
# Drawn from `generator`, or the process's own one, which `manual_seed` starts anew.


def rand(*shape: Any, generator: Generator | None = None, dtype: Any = None, **options: Any) -> Tensor:
    """Uniform in [0, 1)."""
    return uniform(_shape("rand", shape), generator=generator, dtype=dtype, **options)


def randn(*shape: Any, generator: Generator | None = None, dtype: Any = None, **options: Any) -> Tensor:
    """Standard normal: mean 0, variance 1."""
    return normal(_shape("randn", shape), generator=generator, dtype=dtype, **options)


def uniform(
    shape: Any = (),
    low: float = 0.0,
    high: float = 1.0,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform from low to high (which rounding may reach). Raises ArgumentError unless low <= high."""
    if not low <= high:
        raise ArgumentError(f"uniform: low must not exceed high, got {low} and {high}")
    draw, goal = _source(generator), _float("uniform", dtype)
    u = draw.uniform(_shape("uniform", (shape,)), goal if goal == float64 else float32)
    return _made(_scaled(u, high - low, low), device, requires_grad, goal)


def normal(
    shape: Any = (),
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal with this mean and standard deviation. Raises ArgumentError for a negative std."""
    if not std >= 0:
        raise ArgumentError(f"normal: std is a deviation, 0 or more, got {std}")
    draw, goal = _source(generator), _float("normal", dtype)
    z = draw.normal(_shape("normal", (shape,)), goal if goal == float64 else float32)
    return _made(_scaled(z, std, mean), device, requires_grad, goal)


def randint(
    low: int, high: int | None = None, shape: Any = (), *, generator: Generator | None = None, device: str | None = None
) -> Tensor:
    """Integers low <= k < high, int64; randint(n) is below n. Raises ArgumentError for an empty range."""
    low, high = (0, low) if high is None else (low, high)
    return _made(_source(generator).integers(low, high, _shape("randint", (shape,))), device, False)


def permutation(n: int, *, generator: Generator | None = None, device: str | None = None) -> Tensor:
    """0 .. n-1 in random order, int64."""
    return _made(_source(generator).permutation(n), device, False)


def _source(generator: Generator | None) -> Generator:
    return random.default_generator() if generator is None else generator


def _float(name: str, dtype: Any) -> np.dtype[Any]:
    goal = default_dtype() if dtype is None else canonical(dtype)
    if not is_float(goal):
        raise DTypeError(f"{name}: random numbers are floats, got dtype {goal}; randint draws integers")
    return goal


def _scaled(x: Any, factor: float, offset: float) -> Any:
    """factor x + offset in x's own dtype."""
    return x * x.dtype.type(factor) + x.dtype.type(offset)


__all__: Sequence[str] = [
    "arange", "empty", "eye", "from_dlpack", "full", "full_like", "linspace", "meshgrid", "normal", "ones", "ones_like",
    "permutation", "rand", "randint", "randn", "uniform", "zeros", "zeros_like",
]  # fmt: skip
