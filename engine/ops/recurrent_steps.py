r"""Recurrent layers as the textbook writes them: one step, and a loop over the steps, in ops.

These are the definitions of the fused ops in `recurrent.py` (the tests hold the two equal, and derivatives of higher
order go through here), and what runs with other activations than the usual ones.

    x_t (N,D), h (N,H)     W (D,GH), U (H,GH), b: for each of the G gates a block of H columns
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backends import backend_of
from ..tensor import Tensor
from .activation import sigmoid
from .comparison import where
from .dropout import dropout
from .join import split, stack
from .matmul import matmul
from .trigonometric import tanh

Activation = Callable[[Tensor], Tensor]


# ------------------------------------------------------------------------------------------------ one step
def simple_rnn_step(x: Any, h: Any, w: Any, u: Any, b: Any, activation: Activation = tanh) -> Tensor:
    """h' = f(x W + h U + b): equation E8, which writes the matrices on the left."""
    z = matmul(x, w) + matmul(h, u)  # (N,D) @ (D,H) + (N,H) @ (H,H) -> (N,H)
    return activation(z if b is None else z + b)


def gru_step(
    x: Any, h: Any, past: Any, w: Any, u: Any, b: Any, reset_after: bool = True,
    activation: Activation = tanh, recurrent_activation: Activation = sigmoid,
) -> Tensor:  # fmt: skip
    """The new state from the old one, h; `past` is what the products see of it (h, or h after dropout).

    u = σ(z_u + m_u), r = σ(z_r + m_r), h' = u h + (1 - u) a, with z = x W + b and m = h U + b';
    a = f(z_a + r m_a) with reset_after (b is (2,3H): b and b'), else a = f(z_a + (r h) U_a) (b is (3H)).
    """
    H = h.shape[1]
    b_z, b_m = (b, None) if b is None or not reset_after else (b[0], b[1])
    z = matmul(x, w)  # (N,D) @ (D,3H) -> (N,3H)
    z_u, z_r, z_a = split(z if b_z is None else z + b_z, 3, axis=1)
    if reset_after:
        m = matmul(past, u)  # (N,H) @ (H,3H) -> (N,3H)
        m_u, m_r, m_a = split(m if b_m is None else m + b_m, 3, axis=1)
        update, reset = recurrent_activation(z_u + m_u), recurrent_activation(z_r + m_r)
        new = activation(z_a + reset * m_a)
    else:
        m_u, m_r = split(matmul(past, u[:, : 2 * H]), 2, axis=1)
        update, reset = recurrent_activation(z_u + m_u), recurrent_activation(z_r + m_r)
        new = activation(z_a + matmul(reset * past, u[:, 2 * H :]))
    y: Tensor = update * h + (1 - update) * new
    return y


def lstm_step(
    x: Any, h: Any, c: Any, w: Any, u: Any, b: Any,
    activation: Activation = tanh, recurrent_activation: Activation = sigmoid,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(h', c'): c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), with (i, f, g, o) = x W + h U + b."""
    z = matmul(x, w) + matmul(h, u)  # (N,D) @ (D,4H) + (N,H) @ (H,4H) -> (N,4H)
    i, f, g, o = split(z if b is None else z + b, 4, axis=1)
    c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)  # forget a little, write a little
    return recurrent_activation(o) * activation(c), c  # reveal a little


# ------------------------------------------------------------------------------------------------ all steps
def simple_rnn_loop(
    x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, mask: Any = None, *,
    sequence: bool = True, recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0, **functions: Any,
) -> Tensor:  # fmt: skip
    """(N,T,D) -> every hidden state (N,T,H), or the last (N,1,H)."""
    h, keep = start(x, u, h0), factors(x, u, recurrent_dropout, seed, stream)
    states = []
    for t in range(x.shape[1]):
        h = carried(mask, t, simple_rnn_step(x[:, t], h * keep, w, u, b, **functions), h)
        states.append(h)
    y: Tensor = stack(states if sequence else states[-1:], axis=1)
    return y


def gru_loop(
    x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, mask: Any = None, *,
    sequence: bool = True, recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0, **options: Any,
) -> Tensor:  # fmt: skip
    """(N,T,D) -> every hidden state (N,T,H), or the last (N,1,H)."""
    h, keep = start(x, u, h0), factors(x, u, recurrent_dropout, seed, stream)
    states = []
    for t in range(x.shape[1]):
        h = carried(mask, t, gru_step(x[:, t], h, h * keep, w, u, b, **options), h)
        states.append(h)
    y: Tensor = stack(states if sequence else states[-1:], axis=1)
    return y


def lstm_loop(
    x: Any, w: Any, u: Any, b: Any = None, h0: Any = None, c0: Any = None, mask: Any = None, *,
    sequence: bool = True, cell: bool = False,
    recurrent_dropout: float = 0.0, seed: int = 0, stream: int = 0, **functions: Any,
) -> Tensor:  # fmt: skip
    """(N,T,D) -> every hidden state (N,T,H), or the last (N,1,H); `cell` puts the last cell state behind them."""
    h, c, keep = start(x, u, h0), start(x, u, c0), factors(x, u, recurrent_dropout, seed, stream)
    states = []
    for t in range(x.shape[1]):
        new_h, new_c = lstm_step(x[:, t], h * keep, c, w, u, b, **functions)
        h, c = carried(mask, t, new_h, h), carried(mask, t, new_c, c)
        states.append(h)
    states = states if sequence else states[-1:]
    y: Tensor = stack([*states, c] if cell else states, axis=1)
    return y


def start(x: Any, u: Any, state: Any) -> Any:
    """The state before the first step: zeros (N,H) unless given."""
    return Tensor(backend_of(x.data).xp.zeros((x.shape[0], u.shape[0]), x.dtype)) if state is None else state


def factors(x: Any, u: Any, rate: float, seed: int, stream: int) -> Any:
    """What h is multiplied by before each product: one dropout mask (N,H) for all steps, or 1."""
    if rate == 0:
        return 1.0
    ones = backend_of(x.data).xp.ones((x.shape[0], u.shape[0]), x.dtype)
    return dropout(Tensor(ones), rate=rate, seed=seed, stream=stream)


def carried(mask: Any, t: int, new: Tensor, old: Tensor) -> Tensor:
    """The old state where step t is masked, (N,T) -> (N,1)."""
    return new if mask is None else where(mask[:, t : t + 1] != 0, new, old)
