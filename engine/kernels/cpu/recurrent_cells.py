"""What one step of a recurrent cell computes, for a row of H units: as NumPy, and in lanes.

A step gets z = x_t W + b and m = h_{t-1} U + b', both (G H): a block of H numbers for each of the G gates.

    simple_rnn   h' = tanh(z + m)
    gru          u = σ(z_u + m_u)   r = σ(z_r + m_r)   a = tanh(z_a + r m_a)         h' = u h + (1 - u) a
    lstm         i = σ(z_i + m_i)   f = σ(z_f + m_f)   g = tanh(z_g + m_g)           c' = f c + i g
                 o = σ(z_o + m_o)                                                    h' = o tanh(c')

Backward needs the gates and `kept`: c' of an LSTM, m_a of a GRU. It gives z̄ and m̄ (which differ for the GRU's
candidate a only) and what of h̄ and c̄ goes past the products to the step before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .jit import device
from .microkernel import tile_shape
from .vector import BYTES, fill, load, logistic, store, tanh_short

Array = np.ndarray[Any, Any]
F = np.float32
SIZE = 4
PANEL = math.lcm(BYTES, tile_shape(SIZE).columns * SIZE)  # bytes of a row in a panel: whole vectors, whole tiles


@dataclass(frozen=True)
class Cell:
    """One kind of cell.

    plain            (z, m, h, c) -> gates, kept, h', c'                                  all (N,H) or (N,GH)
    plain_backward   (gates, kept, before, h̄, c̄) -> z̄, m̄, h̄ past the products, c̄        `before`: c of an LSTM, else h
    forward          the same for one row, by addresses: (z, m, h, c, gates, leap, kept, H), where h and c are replaced
    backward         (gates, m̄, leap, kept, before, h̄, c̄, H); the gates become z̄, h̄ and c̄ are replaced

    Of gates and m̄ a row lies in panels (`place`), `leap` bytes from one to the next.
    """

    name: str
    gates: int  # G
    plain: Callable[..., Any]
    plain_backward: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    has_cell: bool = False  # a second state c beside h
    own_recurrent: bool = False  # m̄ is not z̄


# --- NumPy: the contracts --------------------------------------------------------------------------------------------


def plain_sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), where no e^ overflows."""
    e = np.exp(-np.abs(x))
    y: Array = np.where(x > 0, x.dtype.type(1), e) / (1 + e)
    return y


def plain_simple_rnn(z: Array, m: Array, h: Array, c: Array) -> Any:
    new = np.tanh(z + m)
    return new, new, new, c


def plain_simple_rnn_backward(gates: Array, kept: Array, before: Array, h_bar: Array, c_bar: Array) -> Any:
    z_bar = h_bar * (1 - gates * gates)
    return z_bar, z_bar, np.zeros_like(h_bar), c_bar


def plain_gru(z: Array, m: Array, h: Array, c: Array) -> Any:
    (z_u, z_r, z_a), (m_u, m_r, m_a) = np.split(z, 3, -1), np.split(m, 3, -1)
    u, r = plain_sigmoid(z_u + m_u), plain_sigmoid(z_r + m_r)
    a = np.tanh(z_a + r * m_a)
    return np.concatenate([u, r, a], -1), m_a, u * h + (1 - u) * a, c


def plain_gru_backward(gates: Array, kept: Array, before: Array, h_bar: Array, c_bar: Array) -> Any:
    u, r, a = np.split(gates, 3, -1)
    u_bar = h_bar * (before - a) * u * (1 - u)
    a_bar = h_bar * (1 - u) * (1 - a * a)
    r_bar = a_bar * kept * r * (1 - r)
    z_bar, m_bar = (np.concatenate([u_bar, r_bar, last], -1) for last in (a_bar, a_bar * r))
    return z_bar, m_bar, h_bar * u, c_bar


def plain_lstm(z: Array, m: Array, h: Array, c: Array) -> Any:
    i, f, g, o = np.split(z + m, 4, -1)
    i, f, g, o = plain_sigmoid(i), plain_sigmoid(f), np.tanh(g), plain_sigmoid(o)
    c = f * c + i * g
    return np.concatenate([i, f, g, o], -1), c, o * np.tanh(c), c


def plain_lstm_backward(gates: Array, kept: Array, before: Array, h_bar: Array, c_bar: Array) -> Any:
    i, f, g, o = np.split(gates, 4, -1)
    t = np.tanh(kept)
    c_bar = c_bar + h_bar * o * (1 - t * t)
    parts = c_bar * g * i * (1 - i), c_bar * before * f * (1 - f), c_bar * i * (1 - g * g), h_bar * t * o * (1 - o)
    z_bar = np.concatenate(parts, -1)
    return z_bar, z_bar, np.zeros_like(h_bar), c_bar * f


# --- one row, in lanes -----------------------------------------------------------------------------------------------


@device
def place(row, leap, j):  # type: ignore[no-untyped-def]
    """Where byte j of a row lies, which is cut into panels `leap` bytes apart."""
    return row + j // PANEL * leap + j % PANEL


@device
def read(row, leap, j):  # type: ignore[no-untyped-def]
    return load(place(row, leap, j), F)


@device
def write(row, leap, j, numbers):  # type: ignore[no-untyped-def]
    store(place(row, leap, j), numbers)


@device
def simple_rnn_forward(z, m, h, c, gates, leap, kept, H):  # type: ignore[no-untyped-def]
    for j in range(0, H * SIZE, BYTES):
        new = tanh_short(load(z + j, F) + load(m + j, F))
        write(gates, leap, j, new)
        store(h + j, new)


@device
def simple_rnn_backward(gates, m_bar, leap, kept, before, h_bar, c_bar, H):  # type: ignore[no-untyped-def]
    for j in range(0, H * SIZE, BYTES):
        y = read(gates, leap, j)
        write(gates, leap, j, load(h_bar + j, F) * (fill(F(1), y) - y * y))
        store(h_bar + j, fill(F(0), y))


@device
def gru_forward(z, m, h, c, gates, leap, kept, H):  # type: ignore[no-untyped-def]
    u_, r_, a_ = 0, H * SIZE, 2 * H * SIZE
    for j in range(0, H * SIZE, BYTES):
        u = logistic(load(z + u_ + j, F) + load(m + u_ + j, F))
        r = logistic(load(z + r_ + j, F) + load(m + r_ + j, F))
        m_a = load(m + a_ + j, F)
        a = tanh_short(load(z + a_ + j, F) + r * m_a)
        write(gates, leap, u_ + j, u)
        write(gates, leap, r_ + j, r)
        write(gates, leap, a_ + j, a)
        store(kept + j, m_a)
        store(h + j, u * load(h + j, F) + (fill(F(1), u) - u) * a)


@device
def gru_backward(gates, m_bar, leap, kept, before, h_bar, c_bar, H):  # type: ignore[no-untyped-def]
    u_, r_, a_ = 0, H * SIZE, 2 * H * SIZE
    for j in range(0, H * SIZE, BYTES):
        u, r, a = read(gates, leap, u_ + j), read(gates, leap, r_ + j), read(gates, leap, a_ + j)
        g, one = load(h_bar + j, F), fill(F(1), u)
        u_bar = g * (load(before + j, F) - a) * u * (one - u)
        a_bar = g * (one - u) * (one - a * a)
        r_bar = a_bar * load(kept + j, F) * r * (one - r)
        write(gates, leap, u_ + j, u_bar)
        write(gates, leap, r_ + j, r_bar)
        write(gates, leap, a_ + j, a_bar)
        write(m_bar, leap, u_ + j, u_bar)
        write(m_bar, leap, r_ + j, r_bar)
        write(m_bar, leap, a_ + j, a_bar * r)
        store(h_bar + j, g * u)


@device
def lstm_forward(z, m, h, c, gates, leap, kept, H):  # type: ignore[no-untyped-def]
    i_, f_, g_, o_ = 0, H * SIZE, 2 * H * SIZE, 3 * H * SIZE
    for j in range(0, H * SIZE, BYTES):
        i = logistic(load(z + i_ + j, F) + load(m + i_ + j, F))
        g = tanh_short(load(z + g_ + j, F) + load(m + g_ + j, F))
        write(gates, leap, i_ + j, i)
        write(gates, leap, g_ + j, g)
        f = logistic(load(z + f_ + j, F) + load(m + f_ + j, F))
        write(gates, leap, f_ + j, f)
        new = f * load(c + j, F) + i * g
        store(c + j, new)
        store(kept + j, new)
        o = logistic(load(z + o_ + j, F) + load(m + o_ + j, F))
        write(gates, leap, o_ + j, o)
        store(h + j, o * tanh_short(new))


@device
def lstm_backward(gates, m_bar, leap, kept, before, h_bar, c_bar, H):  # type: ignore[no-untyped-def]
    i_, f_, g_, o_ = 0, H * SIZE, 2 * H * SIZE, 3 * H * SIZE
    for j in range(0, H * SIZE, BYTES):
        i, f = read(gates, leap, i_ + j), read(gates, leap, f_ + j)
        g, o = read(gates, leap, g_ + j), read(gates, leap, o_ + j)
        t, y, one = tanh_short(load(kept + j, F)), load(h_bar + j, F), fill(F(1), i)
        s = load(c_bar + j, F) + y * o * (one - t * t)
        write(gates, leap, i_ + j, s * g * i * (one - i))
        write(gates, leap, f_ + j, s * load(before + j, F) * f * (one - f))
        write(gates, leap, g_ + j, s * i * (one - g * g))
        write(gates, leap, o_ + j, y * t * o * (one - o))
        store(c_bar + j, s * f)
        store(h_bar + j, fill(F(0), y))


CELLS = {
    cell.name: cell
    for cell in (
        Cell("simple_rnn", 1, plain_simple_rnn, plain_simple_rnn_backward, simple_rnn_forward, simple_rnn_backward),
        Cell("gru", 3, plain_gru, plain_gru_backward, gru_forward, gru_backward, own_recurrent=True),
        Cell("lstm", 4, plain_lstm, plain_lstm_backward, lstm_forward, lstm_backward, has_cell=True),
    )
}
