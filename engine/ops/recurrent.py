r"""Recurrent layers over whole sequences, each in one kernel: simple, GRU and LSTM.

A state h (N,H) goes through the sequence, and each step makes the next from it and from x_t. The kernels compute all
steps; `recurrent_steps.py` holds the same as a loop of ops, the composition that derivatives of higher order replay.

mask (N,T), of truth values: where it is False the step is left out, the state stays, and the output repeats the last
one. recurrent_dropout: h is multiplied by one mask for all steps before it meets U, zeros with this probability, else
1 / (1 - rate): dropout that is the same function at each step of a sequence [Gal and Ghahramani, NIPS 2016, (7)]. The
mask is a function of (seed, stream), as in `dropout`, and is made again for the derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, backend_of, concatenate
from ..errors import ArgumentError, ShapeError
from ..op import op
from ..samples import Draw, interval
from ..tensor import Tensor
from .recurrent_steps import gru_loop, lstm_loop, simple_rnn_loop

GAL = "Gal and Ghahramani, 'A Theoretically Grounded Application of Dropout in Recurrent Neural Networks', NIPS 2016"
SMALL = interval(-1.0, 1.0)


# ------------------------------------------------------------------------------------------------ samples and checks
def _sample(gates: int, biases: tuple[int, ...] = (), cell: bool = False) -> Any:
    """Draws for a cell of so many gates: each optional input there or not."""

    def sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
        N, T, D, H = draw.integer(0 if draw.integer(0, 9) == 0 else 1, 3), *(draw.integer(1, 3) for _ in range(3))
        inputs: list[Any] = [draw.array(s, SMALL) for s in ((N, T, D), (D, gates * H), (H, gates * H))]
        for shape in [(*biases, gates * H), (N, H), (N, H)][: 3 if cell else 2]:
            inputs.append(draw.array(shape, SMALL) if draw.integer(0, 3) else None)
        inputs.append(draw.rng.random((N, T)) < 0.7 if draw.integer(0, 1) else None)
        params: dict[str, Any] = {
            "sequence": bool(draw.integer(0, 1)),
            "recurrent_dropout": draw.choice([0.0, 0.0, 0.3]),
        }
        params |= {"cell": bool(draw.integer(0, 1))} if cell else {}
        return inputs, params | {"seed": draw.integer(0, 2**20), "stream": draw.integer(0, 3)}

    return sample


def reference(loop: Any) -> Any:
    """The loop of ops, on arrays."""
    return lambda *xs, **params: loop(*(None if x is None else Tensor(x) for x in xs), **params).numpy()


def _errors(name: str, gates: int) -> Any:
    x, w, u = np.zeros((2, 3, 4)), np.zeros((4, 5 * gates)), np.zeros((5, 5 * gates))
    wide = np.zeros((6, 5 * gates))
    refused = (
        f"u has 6 rows, one for each unit, so it needs {6 * gates}" if gates > 1 else "u.shape.0. is 6, but H is 5"
    )
    return [
        (lambda f: f(x, w[:3], u), rf"{name}: w.shape\[0\] is 3, but D is 4 from x.shape\[2\]"),
        (lambda f: f(x[0], w, u), rf"{name}: x has 2 dimensions \(3, 4\), but x:\(N,T,D\) needs 3"),
        (lambda f: f(x, w, wide), f"{name}: {refused}"),
        (lambda f: f(x[:, :0], w, u), rf"{name}: x has no steps, shape \(2, 0, 4\): a sequence needs at least one"),
        (lambda f: f(x, w, u, recurrent_dropout=1.5), rf"{name}: recurrent_dropout is 1.5, but it is a probability"),
    ]


def check(name: str, gates: int, x: Array, u: Array, rate: float) -> None:
    H, GH = u.shape
    if gates * H != GH or H == 0:
        raise ShapeError(
            f"{name}: u has {H} rows, one for each unit, so it needs {gates * H} columns, {gates} for each of at least "
            f"one unit, but it is {u.shape}"
        )
    if x.shape[1] == 0:
        raise ShapeError(f"{name}: x has no steps, shape {x.shape}: a sequence needs at least one")
    if not 0 <= rate <= 1:
        raise ArgumentError(f"{name}: recurrent_dropout is {rate}, but it is a probability, 0 <= rate <= 1")


# ------------------------------------------------------------------------------------------------ to the kernels
Dropout = tuple[float, int, int]  # rate, seed, stream


def _in_full(x: Array, u: Array, h0: Any, c0: Any, mask: Any, dropout: Dropout) -> tuple[Array, ...]:
    """States (N,H), mask (N,T) and dropout's factors (N,H): zeros and ones where nothing is given. x is (N,T,..)."""
    xp, (N, T), H = backend_of(u).xp, x.shape[:2], u.shape[0]
    h0, c0 = (xp.zeros((N, H), u.dtype) if a is None else a for a in (h0, c0))
    here = xp.ones((N, T), xp.uint8) if mask is None else xp.ascontiguousarray(mask != 0).view(xp.uint8)
    keep = xp.ones((N, H), u.dtype)
    if dropout[0]:
        keep = backend_of(u).kernel("dropout", "dropout")(keep, *dropout)
    return h0, c0, here, keep


def _biases(b: Any) -> tuple[Any, Any]:
    """Of the input and of the state: (2,GH) are both, (GH) is the input's."""
    return (b, None) if b is None or b.ndim == 1 else (b[0], b[1])


def both(b: Array, b_u: Array) -> Array:
    """(GH), (GH) -> (2,GH)"""
    return concatenate([b[None], b_u[None]], 0)


def _course(
    kernels: str, name: str, xs: Sequence[Array], w: Array, u: Array, b: Any, h0: Any, c0: Any, mask: Any,
    dropout: Dropout,
) -> tuple[Any, ...]:  # fmt: skip
    """The states (N,T,H) or wider, the gates, what the cell keeps, its last state (N,H); what else the way back needs.

    xs: x (N,T,D) for the kernels "recurrent"; ids (N,T) and a table (V,D) for "recurrent_tokens".
    """
    backend, GH = backend_of(u), u.shape[1]
    biases = [backend.xp.zeros(GH, u.dtype) if a is None else a for a in _biases(b)]
    full = _in_full(xs[0], u, h0, c0, mask, dropout)
    found: tuple[Any, ...] = backend.kernel(kernels, "forward")(name, *xs, w, u, *biases, *full)
    return found


def forward(
    kernels: str, name: str, xs: Sequence[Array], w: Array, u: Array, b: Any, h0: Any, c0: Any, mask: Any,
    sequence: bool, cell: bool, dropout: Dropout,
) -> tuple[Array, list[Any]]:  # fmt: skip
    """y, and for the derivative what its course left, for the first who takes it."""
    course, H = _course(kernels, name, xs, w, u, b, h0, c0, mask, dropout), u.shape[0]
    states, c = course[0], course[3]
    y = states[..., :H] if sequence else states[:, -1:, :H]
    y = concatenate([y, c[:, None]], 1) if cell else y
    return backend_of(u).xp.ascontiguousarray(y), [course]


def backward(
    kernels: str, name: str, g: Any, courses: list[Any], xs: Sequence[Any], w: Any, u: Any, b: Any, h0: Any, c0: Any,
    mask: Any, cell: bool, dropout: Dropout, wanted: bool,
) -> Any:  # fmt: skip
    """Cotangents of x (or of the table; only where `wanted`), w, u, b, b_u, h0 and c0.

    A kernel may turn the gates into their cotangents where they lie: who then walks through the graph once more
    (`retain_graph`) goes the way forward again.
    """
    xs = [x.data for x in xs]
    w, u, b, h0, c0, mask = (None if a is None else a.data for a in (w, u, b, h0, c0, mask))
    try:
        course = courses.pop()  # nobody else has it now
    except IndexError:
        course = _course(kernels, name, xs, w, u, b, h0, c0, mask, dropout)
    states, gates, kept, _, *rest = course
    h_bar, c_bar = (g.data[:, :-1], g.data[:, -1]) if cell else (g.data, None)
    full = _in_full(xs[0], u, h0, c0, mask, dropout)
    back = backend_of(u).kernel(kernels, "backward")
    *bars, used_up = back(name, h_bar, c_bar, *xs, w, u, *full, states, gates, kept, *rest, wanted=wanted)
    if not used_up:
        courses.append(course)
    return bars


def where_wanted(needs: Any, *bars: Any) -> list[Any]:
    return [Tensor(bar) if need and bar is not None else None for need, bar in zip(needs, bars, strict=True)]


# ------------------------------------------------------------------------------------------------ the simple cell
@op(
    "simple_rnn",
    autocast="half",
    shapes="x:(N,T,D), w:(D,H), u:(H,H), b:(H), h0:(N,H), mask:(N,T) -> y:(N,T',H)",
    definition=r"h_t = \tanh\left(x_t W + h_{t-1} U + b\right)",
    indices=("mask",),
    composition=simple_rnn_loop,
    reference=reference(simple_rnn_loop),
    why="all steps in one kernel; a part of the batch goes through them alone, so cores never wait for each other",
    source="Elman, 'Finding Structure in Time', Cognitive Science 14, 1990; " + GAL,
    equations=("E8",),
    samples=_sample(1),
    errors=_errors("simple_rnn", 1),
)
def simple_rnn(
    x: Array, w: Array, u: Array, b: Array | None = None, h0: Array | None = None, mask: Array | None = None, *,
    sequence: bool = True, recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0,
) -> tuple[Array, Any]:  # fmt: skip
    r"""h_t = tanh(x_t W + h_{t-1} U + b): (N,T,D), (D,H), (H,H), (H) -> every h_t (N,T,H), or the last one (N,1,H).

    h0: the state before the first step, zeros unless given. mask, recurrent_dropout: see the module.
    Raises ShapeError where sides don't fit or there is no step.
    """
    check("simple_rnn", 1, x, u, recurrent_dropout)
    dropout = recurrent_dropout, seed, stream
    return forward("recurrent", "simple_rnn", [x], w, u, b, h0, None, mask, sequence, False, dropout)


@simple_rnn.vjp(saves=("y",))
def _(g, y, aux, x, w, u, b, h0, mask, *, needs, sequence, recurrent_dropout, seed, stream):  # type: ignore[no-untyped-def]
    dropout = recurrent_dropout, seed, stream
    bars = backward("recurrent", "simple_rnn", g, aux, [x], w, u, b, h0, None, mask, False, dropout, needs[0])
    x_bar, w_bar, u_bar, b_bar, _, h_bar, _ = bars
    return where_wanted(needs, x_bar, w_bar, u_bar, b_bar, h_bar, None)


# ------------------------------------------------------------------------------------------------ gated cells
@op(
    "gru",
    autocast="half",
    shapes="x:(N,T,D), w:(D,3H), u:(H,3H), b:(2,3H), h0:(N,H), mask:(N,T) -> y:(N,T',H)",
    definition=r"\begin{aligned} z &= x_t W + b_0, \quad m = h_{t-1} U + b_1 \\ u &= \sigma(z_u + m_u), \quad "
    r"r = \sigma(z_r + m_r), \quad a = \tanh(z_a + r \odot m_a) \\ h_t &= u \odot h_{t-1} + (1 - u) \odot a "
    r"\end{aligned}",
    indices=("mask",),
    composition=gru_loop,
    reference=reference(gru_loop),
    why="all steps in one kernel; a part of the batch goes through them alone, so cores never wait for each other",
    source="Cho et al., 'Learning Phrase Representations using RNN Encoder-Decoder', EMNLP 2014; the reset gate after "
    "the product, as in cuDNN and Keras' reset_after=True; " + GAL,
    samples=_sample(3, (2,)),
    errors=_errors("gru", 3),
)
def gru(
    x: Array, w: Array, u: Array, b: Array | None = None, h0: Array | None = None, mask: Array | None = None, *,
    sequence: bool = True, recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0,
) -> tuple[Array, Any]:  # fmt: skip
    r"""Gated recurrent unit: (N,T,D), (D,3H), (H,3H), (2,3H) -> every h_t (N,T,H), or the last one (N,1,H).

    Blocks of columns: update u, reset r, candidate a (Keras' order z, r, h). b: of the input, and of the state.
    h0: the state before the first step, zeros unless given. mask, recurrent_dropout: see the module.
    Raises ShapeError where sides don't fit or there is no step.
    """
    check("gru", 3, x, u, recurrent_dropout)
    return forward("recurrent", "gru", [x], w, u, b, h0, None, mask, sequence, False, (recurrent_dropout, seed, stream))


@gru.vjp(saves=("y",))
def _(g, y, aux, x, w, u, b, h0, mask, *, needs, sequence, recurrent_dropout, seed, stream):  # type: ignore[no-untyped-def]
    dropout = recurrent_dropout, seed, stream
    bars = backward("recurrent", "gru", g, aux, [x], w, u, b, h0, None, mask, False, dropout, needs[0])
    x_bar, w_bar, u_bar, b_x, b_h, h_bar, _ = bars
    b_bar = both(b_x, b_h) if needs[3] else None
    return where_wanted(needs, x_bar, w_bar, u_bar, b_bar, h_bar, None)


@op(
    "lstm",
    autocast="half",
    shapes="x:(N,T,D), w:(D,4H), u:(H,4H), b:(4H), h0:(N,H), c0:(N,H), mask:(N,T) -> y:(N,T',H)",
    definition=r"\begin{aligned} (i, f, g, o) &= x_t W + h_{t-1} U + b \\ c_t &= \sigma(f) \odot c_{t-1} + "
    r"\sigma(i) \odot \tanh(g) \\ h_t &= \sigma(o) \odot \tanh(c_t) \end{aligned}",
    indices=("mask",),
    composition=lstm_loop,
    reference=reference(lstm_loop),
    why="all steps in one kernel; a part of the batch goes through them alone, so cores never wait for each other",
    source="Hochreiter and Schmidhuber, 'Long Short-Term Memory', Neural Computation 9, 1997; the forget gate of Gers, "
    "Schmidhuber and Cummins, 2000; " + GAL,
    samples=_sample(4, cell=True),
    errors=_errors("lstm", 4),
)
def lstm(
    x: Array, w: Array, u: Array, b: Array | None = None, h0: Array | None = None, c0: Array | None = None,
    mask: Array | None = None, *, sequence: bool = True, cell: bool = False,
    recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0,
) -> tuple[Array, Any]:  # fmt: skip
    r"""Long short-term memory: (N,T,D), (D,4H), (H,4H), (4H) -> every h_t (N,T,H), or the last one (N,1,H).

    Blocks of columns: input i, forget f, candidate g, output o (Keras' order). `cell` puts the last c_t behind the
    hidden states, as one step more. h0, c0: the states before the first step, zeros unless given. mask,
    recurrent_dropout: see the module. Raises ShapeError where sides don't fit or there is no step.
    """
    check("lstm", 4, x, u, recurrent_dropout)
    return forward("recurrent", "lstm", [x], w, u, b, h0, c0, mask, sequence, cell, (recurrent_dropout, seed, stream))


@lstm.vjp(saves=("y",))
def _(g, y, aux, x, w, u, b, h0, c0, mask, *, needs, sequence, cell, recurrent_dropout, seed, stream):  # type: ignore[no-untyped-def]
    dropout = recurrent_dropout, seed, stream
    bars = backward("recurrent", "lstm", g, aux, [x], w, u, b, h0, c0, mask, cell, dropout, needs[0])
    x_bar, w_bar, u_bar, b_bar, _, h_bar, c_bar = bars
    return where_wanted(needs, x_bar, w_bar, u_bar, b_bar, h_bar, c_bar, None)
