r"""Convolution of images, channels last. Three ops, each of which is the others' derivative:

    y  = conv2d(x, w)                      y[n,i,j,f] = Σ_{u,v,c} x[n, s·i + d·u - p, t·j + e·v - q, c] w[u,v,c,f]
    x̄  = conv2d_input_gradient(ȳ, w)       the same sum, read for x
    w̄  = conv2d_weight_gradient(x, ȳ)      the same sum, read for w

The sum is linear in x and in w, so derivatives of every order are these three again. Letters: stride s (down) and t
(across), dilation d and e, padding p (top) and q (left); what lies outside of the image counts as 0. With G groups,
filter f sees only the K = C/G channels of its own group, f // M, where M = F/G.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..op import op
from ..samples import Draw
from ..tensor import Tensor
from .activation import relu
from .window import Window, window

PLACE = "x[n, s*i + d*u - p, t*j + e*v - q, K*(f//M) + c]"


# ------------------------------------------------------------------------------------------------ shapes and samples
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
    """Each bias in the widest gap between its filter's sums, so that nothing lies near relu's kink."""
    (x, w), params = _sample(draw)
    sums = np.sort(conv2d(x, w, **params).numpy().reshape(-1, w.shape[3]), axis=0)  # (N,H',W',F) -> (NH'W',F)
    padded = np.concatenate([sums[:1] - 1, sums, sums[-1:] + 1])
    gap = np.diff(padded, axis=0).argmax(0, keepdims=True) if len(sums) else np.zeros((1, w.shape[3]), int)
    edges = [np.take_along_axis(padded, gap + k, 0)[0] if len(sums) else np.zeros(w.shape[3]) for k in (0, 1)]
    return [x, w, -(edges[0] + edges[1]) / 2], params


# ------------------------------------------------------------------------------------------------ the three
@op(
    "conv2d",
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
def conv2d(x: Array, w: Array, *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1) -> Array:
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
    g: Array, w: Array, *, input_shape: Any, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
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
    weight_shape: Any,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
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
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F), b:(F) -> y:(N,H',W',F)",
    definition=f"y[n,i,j,f] = max(0, b[f] + Sum((u,v,c), {PLACE} * w[u,v,c,f]))",
    letters=lambda x, w, b, **params: _letters(x.shape, w.shape, **params),
    composition=lambda x, w, b, **params: relu(conv2d(x, w, **params) + b),
    why="bias and rectifier are applied while a tile of y is still in registers",
    equations=("E5", "E14"),
    samples=_sample_rectified,
)
def conv2d_bias_relu(
    x: Array, w: Array, b: Array, *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
) -> Array:
    """A convolutional layer in one kernel, relu(conv2d(x, w) + b): (N,H,W,C), (kh,kw,C/G,F), (F,) -> (N,H',W',F)."""
    return _convolve(
        x, w, b, _resolve("conv2d_bias_relu", x.shape, w.shape, stride, padding, dilation, groups), groups, True
    )


@conv2d_bias_relu.vjp
def _(g, y, aux, x, w, b, *, needs, **params):  # type: ignore[no-untyped-def]
    # relu passes ȳ on where y > 0; the bias stands in every pixel, so its cotangent is the sum over them
    passed, b_bar = backend_of(y.data).kernel("bias", "rectified_gradient")(g.data, y.data)
    x_bar, w_bar = _gradients(Tensor(passed), x, w, needs, params)
    return x_bar, w_bar, b_bar


@op(
    "conv2d_bias",
    shapes="x:(N,H,W,C), w:(kh,kw,C/G,F), b:(F) -> y:(N,H',W',F)",
    definition=f"y[n,i,j,f] = b[f] + Sum((u,v,c), {PLACE} * w[u,v,c,f])",
    letters=lambda x, w, b, **params: _letters(x.shape, w.shape, **params),
    composition=lambda x, w, b, **params: conv2d(x, w, **params) + b,
    why="the sum starts from the bias instead of from 0",
    equations=("E5",),
    samples=_sample_bias,
)
def conv2d_bias(
    x: Array, w: Array, b: Array, *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
) -> Array:
    """conv2d(x, w) + b in one kernel: (N,H,W,C), (kh,kw,C/G,F), (F,) -> (N,H',W',F)."""
    return _convolve(
        x, w, b, _resolve("conv2d_bias", x.shape, w.shape, stride, padding, dilation, groups), groups, False
    )


@conv2d_bias.vjp
def _(g, y, aux, x, w, b, *, needs, **params):  # type: ignore[no-untyped-def]
    b_bar = backend_of(g.data).kernel("bias", "bias_gradient")(g.data) if needs[2] else None  # (N,H',W',F) -> (F,)
    return *_gradients(g, x, w, needs, params), b_bar


def _gradients(g: Tensor, x: Any, w: Any, needs: Any, params: Any) -> tuple[Any, Any]:
    return (
        conv2d_input_gradient(g, w, input_shape=x.shape, **params) if needs[0] else None,
        conv2d_weight_gradient(x, g, weight_shape=w.shape, **params) if needs[1] else None,
    )


def _convolve(x: Array, w: Array, b: Array | None, at: Window, groups: int, relu: bool) -> Array:
    return backend_of(x).kernel("conv", "conv2d")(x, w, b, at.stride, at.padding, at.dilation, groups, relu)


def _check(op: str, name: str, shape: Any, expected: Any) -> None:
    if tuple(shape) != tuple(expected):
        raise ShapeError(
            f"{op}: {name} has shape {tuple(shape)}, but a convolution of these shapes makes {tuple(expected)}"
        )


def _zeros(*shape: int) -> Any:
    return np.zeros(shape)
