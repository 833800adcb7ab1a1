r"""Convolution of images, channels last. Three ops, each of which is the others' derivative:

    y  = conv2d(x, w)                      y[n,i,j,f] = Σ_{u,v,c} x[n, s·i + d·u - p, t·j + e·v - q, c] w[u,v,c,f]
    x̄  = conv2d_input_gradient(ȳ, w)       the same sum, read for x
    w̄  = conv2d_weight_gradient(x, ȳ)      the same sum, read for w

The sum is linear in x and in w, so derivatives of every order are these three again. Letters: stride s (down) and t
(across), dilation d and e, padding p (top) and q (left); what lies outside of the image counts as 0. With G groups,
filter f sees only the K = C/G channels of its own group, f // M, where M = F/G.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..integers import Ints
from ..op import op
from ..samples import Draw
from ..tensor import Tensor
from .activation import relu
from .pool import _place as pooling_place, _resolve as pooling_windows, max_pool2d
from .window import Window, remembered, window

PLACE = "x[n, s*i + d*u - p, t*j + e*v - q, K*(f//M) + c]"


# ------------------------------------------------------------------------------------------------ shapes and samples
@remembered
def _resolve(op: str, x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Window:
    """Where the windows lie; ShapeError where channels and groups don't fit."""
    C, (_, _, K, F) = x_shape[3], w_shape
    if groups < 1 or C % groups or F % groups:
        raise ShapeError(f"{op}: groups is {groups}, which must divide the {C} channels of x and the {F} filters of w")
    if C // groups != K:
        raise ShapeError(
            f"{op}: w.shape[2] is {K}, but x has {C} channels in {groups} group{'s' * (groups > 1)}: "
            f"w must be (kh,kw,C/G,F) = ({w_shape[0]}, {w_shape[1]}, {C // groups}, {F}). Images are channels-last"
        )
    return window(op, x_shape[1:3], w_shape[:2], stride, padding, dilation)


def _letters(x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, int]:
    K, M = w_shape[2], w_shape[3] // groups
    return {
        **window("conv2d", x_shape[1:3], w_shape[:2], stride, padding, dilation).letters,
        "K": K,
        "M": M,
        "range_m": M,
    }


def _case(draw: Draw) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Shapes of x, w and y, and parameters: small ones, where a window always fits."""
    groups, K, M = draw.choice([1, 1, 2, 3]), draw.integer(0 if draw.integer(0, 9) == 0 else 1, 2), draw.integer(1, 2)
    kh, kw = draw.integer(1, 3), draw.integer(1, 3)
    dilation = draw.choice([1, 1, 2, (1, 2)])
    dh, dw = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    H, W = dh * (kh - 1) + draw.integer(1, 3), dw * (kw - 1) + draw.integer(1, 3)
    params = {
        "stride": draw.choice([1, 1, 2, (1, 2), (3, 1)]),
        "padding": draw.choice(["valid", "same", "same", 1, (0, 2), ((1, 0), (0, 2))]),
        "dilation": dilation,
        "groups": groups,
    }
    x, w = (draw.integer(0 if draw.integer(0, 9) == 0 else 1, 2), H, W, groups * K), (kh, kw, K, groups * M)
    out = window("conv2d", (H, W), (kh, kw), params["stride"], params["padding"], dilation).out
    return x, w, (x[0], *out, groups * M), params


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, w, _, params = _case(draw)
    return [draw.array(x), draw.array(w)], params


def _sample_input_gradient(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, w, y, params = _case(draw)
    return [draw.array(y), draw.array(w)], {"input_shape": x, **params}


def _sample_weight_gradient(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x, w, y, params = _case(draw)
    return [draw.array(x), draw.array(y)], {"weight_shape": w, **params}


def _sample_bias(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    inputs, params = _sample(draw)
    return [*inputs, draw.array((inputs[1].shape[3],))], params


def _sample_rectified(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, w), params = _sample(draw)
    return [x, w, _bias_between(conv2d(x, w, **params).numpy())], params


def _bias_between(sums: Any) -> Any:
    """Each bias in the widest gap between its filter's sums, so that nothing lies near relu's kink."""
    F = sums.shape[3]
    sums = np.sort(sums.reshape(-1, F), axis=0)  # (N,H',W',F) -> (NH'W',F)
    padded = np.concatenate([sums[:1] - 1, sums, sums[-1:] + 1])
    gap = np.diff(padded, axis=0).argmax(0, keepdims=True) if len(sums) else np.zeros((1, F), int)
    edges = [np.take_along_axis(padded, gap + k, 0)[0] if len(sums) else np.zeros(F) for k in (0, 1)]
    return -(edges[0] + edges[1]) / 2


def _sample_pooled(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """Drawn again until no second sum of a window is so close to the largest that it could overtake it."""
    x_shape, w_shape, (_, H, W, _), params = _case(draw)
    size = min(draw.choice([1, 2, 2, 3]), H), min(draw.choice([1, 2, 2, 3]), W)
    pool = {
        "window": size,
        "pool_stride": draw.choice([None, None, 1, (2, 1)]),
        "pool_padding": draw.choice(["valid", "valid", "same", ((size[0] - 1, 0), (0, size[1] - 1))]),
    }
    for _ in range(100):
        x, w = draw.array(x_shape), draw.array(w_shape)
        sums = conv2d(x, w, **params).numpy()
        at = pooling_windows("pool", sums.shape, *pool.values())
        padded = np.pad(sums, ((0, 0), *at.padding, (0, 0)), constant_values=-1e9)
        views = np.lib.stride_tricks.sliding_window_view(padded, at.size, (1, 2))[:, :: at.stride[0], :: at.stride[1]]
        ordered = np.sort(views.reshape(*views.shape[:4], size[0] * size[1]), axis=-1)  # (N,H',W',F,kh*kw)
        ahead = ordered[..., -1:] - ordered[..., -2:-1]
        if (ahead[ahead > 0] > 0.1).all():  # equal ones are empty sums, in the padding: they have no derivative
            break
    return [x, w, _bias_between(sums)], params | pool


# ------------------------------------------------------------------------------------------------ the three
@op(
    "conv2d",
    autocast="half",
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F) -> y:(N,H',W',F)",
    definition=f"y[n,i,j,f] = Sum((u,v,c), {PLACE} * w[u,v,c,f])",
    letters=lambda x, w, **params: _letters(x.shape, w.shape, **params),
    equations=("E5",),
    source="Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning', 2016",
    samples=_sample,
    errors=[
        (
            lambda f: f(_zeros(1, 4, 4, 3), _zeros(3, 3, 2, 8)),
            r"conv2d: w.shape\[2\] is 2, but x has 3 channels in 1 group",
        ),
        (
            lambda f: f(_zeros(1, 4, 4, 3), _zeros(3, 3, 1, 8), groups=2),
            r"conv2d: groups is 2, which must divide the 3 channels",
        ),
        (
            lambda f: f(_zeros(1, 2, 4, 1), _zeros(3, 3, 1, 8)),
            r"conv2d: a window of 3 .* does not fit H=2 .*padding='same'",
        ),
        (
            lambda f: f(_zeros(1, 4, 4, 1), _zeros(3, 3, 1, 8), stride=0),
            r"conv2d: stride is 0; give a whole number of 1 or more",
        ),
        (
            lambda f: f(_zeros(1, 4, 4, 1), _zeros(3, 3, 1, 8), padding="full"),
            r"conv2d: padding is 'full'; give 'valid', 'same'",
        ),
    ],
)
def conv2d(
    x: Array, w: Array, *, stride: Ints = 1, padding: Any = "valid", dilation: Ints = 1, groups: int = 1
) -> Array:
    r"""Slide filters over images: (N,H,W,C), (kh,kw,C/G,F) -> (N,H',W',F).

    .. math:: y_{nijf} = \sum_{u,v,c} x_{n,\, s i + d u - p,\, t j + e v - q,\, K \lfloor f / M \rfloor + c} \, w_{uvcf}

    with stride (s, t), dilation (d, e), padding (p, q) above and left, K = C/G channels and M = F/G filters a group.

    stride, dilation: a number, or a pair (height, width). padding: "valid" (none), "same" (H' = ⌈H/s⌉), a number, a
    pair, or ((top, bottom), (left, right)). groups: channels and filters are cut into so many parts, each on its own.
    Raises ShapeError where channels don't fit or no window fits, ArgumentError for a stride or padding that is none.
    """
    return _convolve(x, w, None, _resolve("conv2d", x.shape, w.shape, stride, padding, dilation, groups), groups, False)


@conv2d.vjp
def _(g, y, aux, x, w, *, needs, **params):  # type: ignore[no-untyped-def]
    return (
        conv2d_input_gradient(g, w, input_shape=x.shape, **params) if needs[0] else None,
        conv2d_weight_gradient(x, g, weight_shape=w.shape, **params) if needs[1] else None,
    )


@op(
    "conv2d_input_gradient",
    shapes="g:(N,H',W',F), w:(kh,kw,C/G,F) -> y:(N,H,W,C)",
    definition="y[n,a,b,c] = Sum((u,v,m), where((a + p - d*u) % s == 0 and (b + q - e*v) % t == 0, "
    "g[n, (a + p - d*u) // s, (b + q - e*v) // t, M*(c//K) + m] * w[u, v, c % K, M*(c//K) + m], 0))",
    letters=lambda g, w, *, input_shape, **params: _letters(input_shape, w.shape, **params),
    samples=_sample_input_gradient,
)
def conv2d_input_gradient(
    g: Array,
    w: Array,
    *,
    input_shape: Sequence[int],
    stride: Ints = 1,
    padding: Any = "valid",
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """The cotangent of conv2d's x from g, that of its y: (N,H',W',F), (kh,kw,C/G,F) -> input_shape (N,H,W,C).

    Also the transposed convolution: each number of g lays a copy of the filters into the image.
    """
    at = _resolve("conv2d_input_gradient", input_shape, w.shape, stride, padding, dilation, groups)
    _check("conv2d_input_gradient", "g", g.shape, (input_shape[0], *at.out, w.shape[3]))
    kernel = backend_of(g).kernel("conv", "conv2d_input_gradient")
    return kernel(g, w, tuple(input_shape), at.stride, at.padding, at.dilation, groups)


@conv2d_input_gradient.vjp
def _(h, y, aux, g, w, *, needs, input_shape, **params):  # type: ignore[no-untyped-def]
    return (
        conv2d(h, w, **params) if needs[0] else None,
        conv2d_weight_gradient(h, g, weight_shape=w.shape, **params) if needs[1] else None,
    )


@op(
    "conv2d_weight_gradient",
    shapes="x:(N,H,W,C), g:(N,H',W',F) -> y:(kh,kw,C/G,F)",
    definition=f"y[u,v,c,f] = Sum((n,i,j), {PLACE} * g[n,i,j,f])",
    letters=lambda x, g, *, weight_shape, **params: _letters(x.shape, weight_shape, **params),
    samples=_sample_weight_gradient,
)
def conv2d_weight_gradient(
    x: Array,
    g: Array,
    *,
    weight_shape: Sequence[int],
    stride: Ints = 1,
    padding: Any = "valid",
    dilation: Ints = 1,
    groups: int = 1,
) -> Array:
    """The cotangent of conv2d's w from g, that of its y: (N,H,W,C), (N,H',W',F) -> weight_shape (kh,kw,C/G,F)."""
    at = _resolve("conv2d_weight_gradient", x.shape, weight_shape, stride, padding, dilation, groups)
    _check("conv2d_weight_gradient", "g", g.shape, (x.shape[0], *at.out, weight_shape[3]))
    kernel = backend_of(x).kernel("conv", "conv2d_weight_gradient")
    return kernel(x, g, tuple(weight_shape), at.stride, at.padding, at.dilation, groups)


@conv2d_weight_gradient.vjp
def _(h, y, aux, x, g, *, needs, weight_shape, **params):  # type: ignore[no-untyped-def]
    return (
        conv2d_input_gradient(g, h, input_shape=x.shape, **params) if needs[0] else None,
        conv2d(x, h, **params) if needs[1] else None,
    )


# ------------------------------------------------------------------------------------------------ fused
@op(
    "conv2d_bias_relu",
    autocast="half",
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F), b:(F) -> y:(N,H',W',F)",
    definition=f"y[n,i,j,f] = max(0, b[f] + Sum((u,v,c), {PLACE} * w[u,v,c,f]))",
    letters=lambda x, w, b, **params: _letters(x.shape, w.shape, **params),
    composition=lambda x, w, b, **params: relu(conv2d(x, w, **params) + b),
    why="bias and rectifier are applied while a tile of y is still in registers",
    equations=("E5", "E14"),
    samples=_sample_rectified,
)
def conv2d_bias_relu(
    x: Array, w: Array, b: Array, *, stride: Ints = 1, padding: Any = "valid", dilation: Ints = 1, groups: int = 1
) -> Array:
    """A convolutional layer in one kernel, relu(conv2d(x, w) + b): (N,H,W,C), (kh,kw,C/G,F), (F,) -> (N,H',W',F)."""
    return _convolve(
        x, w, b, _resolve("conv2d_bias_relu", x.shape, w.shape, stride, padding, dilation, groups), groups, True
    )


@conv2d_bias_relu.vjp
def _(g, y, aux, x, w, b, *, needs, **params):  # type: ignore[no-untyped-def]
    return _gradients(g, y, None, x, w, needs, None, **params)  # relu passes ȳ on where y > 0


@op(
    "conv2d_bias",
    autocast="half",
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F), b:(F) -> y:(N,H',W',F)",
    definition=f"y[n,i,j,f] = b[f] + Sum((u,v,c), {PLACE} * w[u,v,c,f])",
    letters=lambda x, w, b, **params: _letters(x.shape, w.shape, **params),
    composition=lambda x, w, b, **params: conv2d(x, w, **params) + b,
    why="the sum starts from the bias instead of from 0",
    equations=("E5",),
    samples=_sample_bias,
)
def conv2d_bias(
    x: Array, w: Array, b: Array, *, stride: Ints = 1, padding: Any = "valid", dilation: Ints = 1, groups: int = 1
) -> Array:
    """conv2d(x, w) + b in one kernel: (N,H,W,C), (kh,kw,C/G,F), (F,) -> (N,H',W',F)."""
    return _convolve(
        x, w, b, _resolve("conv2d_bias", x.shape, w.shape, stride, padding, dilation, groups), groups, False
    )


@conv2d_bias.vjp
def _(g, y, aux, x, w, b, *, needs, **params):  # type: ignore[no-untyped-def]
    return _gradients(g, None, None, x, w, needs, None, **params)


@op(
    "conv2d_bias_relu_max_pool",
    autocast="half",
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F), b:(F) -> y:(N,H',W',F)",
    definition=r"y_{n,i,j,f} = \max_{a,b} \max(0, b_f + \sum_{u,v,c} x_{n, s(σi + a) + du - p, t(τj + b) + ev - q, c} "
    r"w_{u,v,c,f})",
    reference=lambda x, w, b, **params: _pooled(Tensor(x), Tensor(w), Tensor(b), **params).numpy(),
    composition=lambda x, w, b, **params: _pooled(x, w, b, **params),
    why="the convolution's output, four times as large as what is kept of it, never leaves the cache",
    equations=("E5", "E14", "E7"),
    samples=_sample_pooled,
    errors=[
        (
            lambda f: f(_zeros(1, 4, 4, 1), _zeros(3, 3, 1, 8), _zeros(8), window=3),
            r"conv2d_bias_relu_max_pool: a window of 3 .* does not fit H=2",
        )
    ],
)
def conv2d_bias_relu_max_pool(
    x: Array,
    w: Array,
    b: Array,
    *,
    stride: Ints = 1,
    padding: Any = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    window: Ints = 2,
    pool_stride: Ints | None = None,
    pool_padding: Any = "valid",
) -> tuple[Array, Array]:
    r"""max_pool2d(relu(conv2d(x, w) + b)) in one kernel: (N,H,W,C), (kh,kw,C/G,F), (F,) -> (N,H',W',F).

    window, pool_stride and pool_padding are max_pool2d's window, stride and padding, the others conv2d's.
    """
    name = "conv2d_bias_relu_max_pool"
    at = _resolve(name, x.shape, w.shape, stride, padding, dilation, groups)
    pool = _pool_at(name, x.shape, w.shape, at, window, pool_stride, pool_padding)
    return backend_of(x).kernel("conv", "conv2d_max_pool")(x, w, b, *_place(at), groups, pool)  # type: ignore[no-any-return]


@conv2d_bias_relu_max_pool.vjp
def _(g, y, index, x, w, b, *, needs, window, pool_stride, pool_padding, **params):  # type: ignore[no-untyped-def]
    at = _resolve("conv2d_bias_relu_max_pool", x.shape, w.shape, **params)
    pool = _pool_at("conv2d_bias_relu_max_pool", x.shape, w.shape, at, window, pool_stride, pool_padding)
    return _gradients(g, y, index, x, w, needs, pool, **params)


def _pooled(
    x: Tensor, w: Tensor, b: Tensor, *, window: Any, pool_stride: Any, pool_padding: Any, **params: Any
) -> Tensor:
    return max_pool2d(relu(conv2d(x, w, **params) + b), window=window, stride=pool_stride, padding=pool_padding)


def _gradients(
    g: Tensor, y: Any, index: Any, x: Any, w: Any, needs: Any, pool: Any, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Any:  # fmt: skip
    """The cotangents of (x, w, b) in one walk over the images. A fused op's rule is never recorded: arrays will do."""
    at = _resolve("conv2d", x.shape, w.shape, stride, padding, dilation, groups)
    arrays = g.data, None if y is None else y.data, index, x.data, w.data
    return backend_of(g.data).kernel("conv", "conv2d_backward")(*arrays, *_place(at), groups, pool, needs)


def _convolve(x: Array, w: Array, b: Array | None, at: Window, groups: int, relu: bool) -> Array:
    return backend_of(x).kernel("conv", "conv2d")(x, w, b, *_place(at), groups, relu)


def _place(at: Window) -> tuple[Any, Any, Any]:
    return at.stride, at.padding, at.dilation


def _pool_at(op: str, x: Any, w: Any, at: Window, window: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any, Any]:
    return pooling_place(pooling_windows(op, (x[0], *at.out, w[3]), window, stride, padding))


def _check(op: str, name: str, shape: Any, expected: Any) -> None:
    if tuple(shape) != tuple(expected):
        raise ShapeError(
            f"{op}: {name} has shape {tuple(shape)}, but a convolution of these shapes makes {tuple(expected)}"
        )


def _zeros(*shape: int) -> Any:
    return np.zeros(shape)
