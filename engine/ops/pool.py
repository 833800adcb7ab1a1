r"""Pooling: what a window of pixels says, one number per channel. Images are channels-last, (N,H,W,C) -> (N,H',W',C).

Max pooling remembers which element of the window was the largest. Its derivative carries ȳ to that element (a scatter),
and the derivative of this reads from there (a gather): both are linear, and each is the other's vjp.

Average pooling divides by the number of image elements under the window: padding is not counted (as in Keras).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..integers import Ints
from ..op import composite, op
from ..samples import Draw
from ..tensor import Tensor
from .reduce import max, mean
from .window import Window, remembered, window


# ------------------------------------------------------------------------------------------------ over the whole image
def _sample_global(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    N, H, W, C = draw.integer(0, 2), draw.integer(1, 3), draw.integer(1, 3), draw.integer(0, 3)
    return [draw.distinct((N, H, W, C))], {"keepdims": bool(draw.integer(0, 1))}


@composite(
    "global_average_pool2d",
    shapes="x:(N,H,W,C) -> y:(N,C)",
    samples=_sample_global,
    definition=r"y_{n,c} = \frac{1}{H W} \sum_{i,j} x_{n,i,j,c}",
    equations=("E6", "E7"),
    reference=lambda x, keepdims: x.mean((1, 2), keepdims=keepdims),
)
def global_average_pool2d(x: Tensor, *, keepdims: bool = False) -> Tensor:
    """The mean of each channel over the image: (N,H,W,C) -> (N,C), or (N,1,1,C) with keepdims."""
    _check_image("global_average_pool2d", x)
    return mean(x, axis=(1, 2), keepdims=keepdims)


@composite(
    "global_max_pool2d",
    shapes="x:(N,H,W,C) -> y:(N,C)",
    samples=_sample_global,
    definition=r"y_{n,c} = \max_{i,j} x_{n,i,j,c}",
    equations=("E6", "E7"),
    reference=lambda x, keepdims: x.max((1, 2), keepdims=keepdims),
)
def global_max_pool2d(x: Tensor, *, keepdims: bool = False) -> Tensor:
    """The largest number of each channel: (N,H,W,C) -> (N,C), or (N,1,1,C) with keepdims. Ties share the gradient."""
    _check_image("global_max_pool2d", x)
    return max(x, axis=(1, 2), keepdims=keepdims)


def _check_image(op: str, x: Tensor) -> None:
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ShapeError(f"{op}: x has shape {x.shape}; give images (N,H,W,C) of at least one pixel")


# ------------------------------------------------------------------------------------------------ windows
@remembered
def _resolve(op: str, shape: Any, size: Any, stride: Any, padding: Any) -> Window:
    """Where the windows lie; ShapeError for one that holds nothing but padding."""
    at = window(op, shape[1:3], size, size if stride is None else stride, padding)
    for k, sides, n in zip(at.size, at.padding, shape[1:3], strict=True):
        if any(side >= k for side in sides) or n == 0:
            raise ShapeError(
                f"{op}: padding {at.padding} beside an image of (H,W) = {tuple(shape[1:3])} leaves a window of "
                f"{at.size} with nothing but padding; padding must be less than the window, and the image not empty"
            )
    return at


def _letters(shape: Any, size: Any, stride: Any, padding: Any) -> dict[str, int]:
    at = _resolve("pool", shape, size, stride, padding)
    return {**at.letters, "V": at.size[1]}


def _case(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and y, and parameters."""
    size = draw.choice([1, 2, 2, 3, (2, 3), (3, 1)])
    k = size if isinstance(size, tuple) else (size, size)
    params = {"window": size, "stride": draw.choice([None, None, 1, 2, (1, 3)]), "padding": "valid"}
    if k[0] > 1 and k[1] > 1:
        params["padding"] = draw.choice(["valid", "same", 1, ((1, 0), (0, 1))])
    elif draw.integer(0, 1):
        params["padding"] = "same"
    N = draw.integer(0 if draw.integer(0, 9) == 0 else 1, 2)
    x = (N, k[0] + draw.integer(0, 3), k[1] + draw.integer(0, 3), draw.integer(0 if draw.integer(0, 9) == 0 else 1, 3))
    at = _resolve("pool", x, size, params["stride"], params["padding"])
    return x, (N, *at.out, x[3]), params


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, _, params = _case(draw)
    return [draw.distinct(x)], params


def _sample_spread(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, y, params = _case(draw)
    return [draw.array(y)], {"input_shape": x, **params}


def _sample_index(draw: Draw) -> tuple[Any, Any, Any, dict[str, Any]]:
    """x, y and an index that max pooling could have found, so that it points into the image."""
    x, y, params = _case(draw)
    values = draw.distinct(x)
    at = _resolve("pool", x, params["window"], params["stride"], params["padding"])
    return values, draw.array(y), backend_of(values).kernel("pool", "max_pool2d")(values, *_place(at))[1], params


def _sample_gather(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, _, index, params = _sample_index(draw)
    return [x, index], params


def _sample_scatter(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, y, index, params = _sample_index(draw)
    return [y, index], {"input_shape": x.shape, **params}


def _place(at: Window) -> tuple[Any, Any, Any, Any]:
    return at.size, at.stride, at.padding, at.out


# ------------------------------------------------------------------------------------------------ the largest
@op(
    "max_pool2d",
    shapes="x:(N,H,W,C) -> y:(N,H',W',C)",
    definition="y[n,i,j,c] = Max((u,v), x[n, s*i + u - p, t*j + v - q, c])",
    letters=lambda x, *, window, stride, padding: _letters(x.shape, window, stride, padding),
    equations=("E7",),
    samples=_sample,
    errors=[
        (
            lambda f: f(np.zeros((1, 2, 2, 1)), window=3),
            r"max_pool2d: a window of 3 .* does not fit H=2 .*padding='same'",
        ),
        (lambda f: f(np.zeros((1, 2, 2, 1)), padding=2), r"max_pool2d: padding .* must be less than the window"),
        (lambda f: f(np.zeros((2, 2, 1))), r"max_pool2d: x has 3 dimensions \(2, 2, 1\), but x:\(N,H,W,C\) needs 4"),
    ],
)
def max_pool2d(
    x: Array, *, window: Ints = 2, stride: Ints | None = None, padding: Any = "valid"
) -> tuple[Array, Array]:
    r"""The largest number of each window and channel: (N,H,W,C) -> (N,H',W',C).

    .. math:: y_{nijc} = \max_{u,v} x_{n,\, s i + u - p,\, t j + v - q,\, c}

    stride: the window's size unless given. padding: "valid", "same", a number, or ((top, bottom), (left, right)); it
    counts as −inf. Of equal numbers the first in reading order takes the gradient; a NaN wins.
    """
    at = _resolve("max_pool2d", x.shape, window, stride, padding)
    return backend_of(x).kernel("pool", "max_pool2d")(x, *_place(at))  # type: ignore[no-any-return]


@max_pool2d.vjp(saves=())
def _(g, y, index, x, *, needs, **params):  # type: ignore[no-untyped-def]
    return scatter_windows(g, index, input_shape=x.shape, **params)


@op(
    "scatter_windows",
    shapes="g:(N,H',W',C), index:(N,H',W',C) -> y:(N,H,W,C)",
    definition="y[n,a,b,c] = Sum((i,j), where(s*i + index[n,i,j,c] // V - p == a and "
    "t*j + index[n,i,j,c] % V - q == b, g[n,i,j,c], 0))",
    letters=lambda g, index, *, input_shape, window, stride, padding: _letters(input_shape, window, stride, padding),
    indices=("index",),
    samples=_sample_scatter,
)
def scatter_windows(
    g: Array,
    index: Array,
    *,
    input_shape: Sequence[int],
    window: Ints = 2,
    stride: Ints | None = None,
    padding: Any = "valid",
) -> Array:
    """Each number to the element of its window that `index` names (counted in reading order): -> input_shape (N,H,W,C).

    Where windows overlap, numbers that meet add up. The other elements are 0.
    """
    at = _resolve("scatter_windows", input_shape, window, stride, padding)
    _check("scatter_windows", "g", g.shape, input_shape, at)
    return backend_of(g).kernel("pool", "scatter_windows")(g, index, tuple(input_shape), *_place(at))


@scatter_windows.vjp
def _(h, y, aux, g, index, *, needs, input_shape, **params):  # type: ignore[no-untyped-def]
    return gather_windows(h, index, **params), None


@op(
    "gather_windows",
    shapes="x:(N,H,W,C), index:(N,H',W',C) -> y:(N,H',W',C)",
    definition="y[n,i,j,c] = Sum((o), x[n, s*i + index[n,i,j,c] // V - p, t*j + index[n,i,j,c] % V - q, c])",
    letters=lambda x, index, *, window, stride, padding: {**_letters(x.shape, window, stride, padding), "range_o": 1},
    indices=("index",),
    samples=_sample_gather,
)
def gather_windows(
    x: Array, index: Array, *, window: Ints = 2, stride: Ints | None = None, padding: Any = "valid"
) -> Array:
    """Of each window the element that `index` names, counted in reading order: (N,H,W,C) -> (N,H',W',C)."""
    at = _resolve("gather_windows", x.shape, window, stride, padding)
    _check("gather_windows", "index", index.shape, x.shape, at)
    return backend_of(x).kernel("pool", "gather_windows")(x, index, *_place(at))


@gather_windows.vjp(saves=("index",))
def _(h, y, aux, x, index, *, needs, **params):  # type: ignore[no-untyped-def]
    return scatter_windows(h, index, input_shape=x.shape, **params), None


# ------------------------------------------------------------------------------------------------ the mean
@op(
    "average_pool2d",
    shapes="x:(N,H,W,C) -> y:(N,H',W',C)",
    definition="y[n,i,j,c] = Sum((u,v), x[n, s*i + u - p, t*j + v - q, c])"
    " / Sum((u,v), x[n, s*i + u - p, t*j + v - q, c]**0)",
    letters=lambda x, *, window, stride, padding: _letters(x.shape, window, stride, padding),
    equations=("E7",),
    samples=_sample,
)
def average_pool2d(x: Array, *, window: Ints = 2, stride: Ints | None = None, padding: Any = "valid") -> Array:
    r"""The mean of each window and channel: (N,H,W,C) -> (N,H',W',C).

    .. math:: y_{nijc} = \frac{1}{|\text{window}|} \sum_{u,v} x_{n,\, s i + u - p,\, t j + v - q,\, c}

    The count is that of the elements inside of the image (Keras; PyTorch's count_include_pad=False).
    stride: the window's size unless given. padding as in max_pool2d.
    """
    at = _resolve("average_pool2d", x.shape, window, stride, padding)
    return backend_of(x).kernel("pool", "average_pool2d")(x, *_place(at))


@average_pool2d.vjp(saves=())
def _(g, y, aux, x, *, needs, **params):  # type: ignore[no-untyped-def]
    return spread_windows(g, input_shape=x.shape, **params)


@op(
    "spread_windows",
    shapes="g:(N,H',W',C) -> y:(N,H,W,C)",
    definition=r"y_{n,a,b,c} = \sum_{(i,j) \,:\, (a,b) \in \text{window}(i,j)} "
    r"\frac{g_{n,i,j,c}}{|\text{window}(i,j)|}",
    samples=_sample_spread,
    reference=lambda g, *, input_shape, window, stride, padding: _spread(g, input_shape, window, stride, padding),
)
def spread_windows(
    g: Array, *, input_shape: Sequence[int], window: Ints = 2, stride: Ints | None = None, padding: Any = "valid"
) -> Array:
    """Each number in equal shares over the elements of its window: (N,H',W',C) -> input_shape (N,H,W,C)."""
    at = _resolve("spread_windows", input_shape, window, stride, padding)
    _check("spread_windows", "g", g.shape, input_shape, at)
    return backend_of(g).kernel("pool", "spread_windows")(g, tuple(input_shape), *_place(at))


@spread_windows.vjp(saves=())
def _(h, y, aux, g, *, needs, input_shape, **params):  # type: ignore[no-untyped-def]
    return average_pool2d(h, **params)


def _spread(g: Any, input_shape: Any, size: Any, stride: Any, padding: Any) -> Any:
    """spread_windows by plain loops."""
    at = _resolve("spread_windows", input_shape, size, stride, padding)
    y = np.zeros(input_shape)
    for i in range(at.out[0]):
        for j in range(at.out[1]):
            top, left = at.stride[0] * i - at.padding[0][0], at.stride[1] * j - at.padding[1][0]
            inside = y[:, _from(top) : top + at.size[0], _from(left) : left + at.size[1]]
            inside += g[:, i : i + 1, j : j + 1] / (inside.shape[1] * inside.shape[2])
    return y


def _from(start: int) -> int:
    return start if start > 0 else 0


def _check(op: str, name: str, shape: Any, image: Any, at: Window) -> None:
    expected = (image[0], *at.out, image[3])
    if tuple(shape) != expected:
        raise ShapeError(f"{op}: {name} has shape {tuple(shape)}, but windows of these sizes make {expected}")
