"""Recurrent layers in NumPy, one step after the other: what the kernels of `recurrent.py` must equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from .recurrent_cells import Cell

Array = np.ndarray[Any, Any]


def forward(
    cell: Cell, x: Array, w: Array, u: Array, b: Array, b_u: Array, h0: Array, c0: Array, mask: Array, factors: Array
) -> tuple[Array, Array, Array, Array]:
    """x (N,T,D), w (D,GH), u (H,GH), b, b_u (GH), h0, c0 (N,H), mask (N,T), factors (N,H) of h before the product

    -> hidden states (N,T,H), gates (N,T,GH), kept (N,T,H), the last cell state (N,H).
    """
    (N, T, _), H = x.shape, u.shape[0]
    z = x @ w + b  # (N,T,D) @ (D,GH) -> (N,T,GH)
    states, kept = np.empty((N, T, H), x.dtype), np.empty((N, T, H), x.dtype)
    h, c = h0, c0
    for t in range(T):
        m = (h * factors) @ u + b_u  # (N,H) @ (H,GH) -> (N,GH)
        z[:, t], kept[:, t], new_h, new_c = cell.plain(z[:, t], m, h, c)
        here = mask[:, t, None] != 0  # where a step is masked, the state stays
        h, c = np.where(here, new_h, h), np.where(here, new_c, c)
        states[:, t] = h
        if cell.has_cell:
            kept[:, t] = c
    return states, z, kept, c


def backward(
    cell: Cell, g: Array, c_bar: Array, x: Array, w: Array, u: Array, h0: Array, c0: Array, mask: Array,
    factors: Array, states: Array, gates: Array, kept: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """g (N,K,H) belongs to the last K hidden states, c_bar (N,H) to the last cell state

    -> x_bar (N,T,D), w_bar (D,GH), u_bar (H,GH), b_bar, b_u_bar (GH), h0_bar, c0_bar (N,H).
    """
    T, first = states.shape[1], states.shape[1] - g.shape[1]
    z_bar, m_bar, h_bar = np.empty_like(gates), np.empty_like(gates), np.zeros_like(h0)
    before, start = (kept, c0) if cell.has_cell else (states, h0)
    for t in reversed(range(T)):
        if t >= first:
            h_bar = h_bar + g[:, t - first]
        earlier = before[:, t - 1] if t else start
        zt, mt, past_h, past_c = cell.plain_backward(gates[:, t], kept[:, t], earlier, h_bar, c_bar)
        here = mask[:, t, None] != 0
        z_bar[:, t], m_bar[:, t] = np.where(here, zt, 0), np.where(here, mt, 0)
        h_bar = np.where(here, past_h + factors * (mt @ u.T), h_bar)  # (N,GH) @ (GH,H) -> (N,H)
        c_bar = np.where(here, past_c, c_bar)
    past = np.concatenate([h0[:, None], states[:, :-1]], 1) * factors[:, None]  # (N,T,H)
    x_bar = z_bar @ w.T  # (N,T,GH) @ (GH,D) -> (N,T,D)
    w_bar, u_bar = (_rows(a).T @ _rows(b) for a, b in ((x, z_bar), (past, m_bar)))  # (D,NT) @ (NT,GH) -> (D,GH)
    return x_bar, w_bar, u_bar, _rows(z_bar).sum(0), _rows(m_bar).sum(0), h_bar, c_bar


def _rows(a: Array) -> Array:
    """(N,T,F) -> (NT,F)"""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])
