"""Recurrent layers over whole sequences: one product for all steps' inputs, then a product and a kernel per step.

    z = x W + b                                             # (NT,D) @ (D,GH), once
    for t:                                                  # two launches each; nothing waits
        m = past U                                          # (N,H) @ (H,GH)
        z[t], h, c, past = step(z[t], m, h, c)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backends import concatenate

from .launch import elements, product, run, xp
from .matmul import matmul
from .reduce import total

Array = Any

GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}
STEP = np.dtype([(name, np.int64) for name in ("gates", "N", "steps", "H", "t", "first")])


def forward(
    name: str, x: Array, w: Array, u: Array, b: Array, b_u: Array, h0: Array, c0: Array, mask: Array, factors: Array
) -> tuple[Array, Array, Array, Array]:
    """A cell over sequences: x (N,T,D), w (D,GH), u (H,GH), b, b_u (GH), h0, c0 (N,H), mask (N,T) of uint8, and
    factors (N,H) of h before each product -> hidden states (N,T,H); for `backward` the gates (N,T,GH) and what is kept
    (N,T,H); and the last cell state (N,H).
    """
    (N, T, D), (H, GH), dtype = x.shape, u.shape, x.dtype
    z = matmul(x.reshape(N * T, D), w, bias=b).reshape(N, T, GH)  # (NT,D) @ (D,GH) -> (NT,GH)
    states, kept = xp().empty((N, T, H), dtype), xp().empty((N, T, H), dtype)
    h, c, past = _copy(h0), _copy(c0), h0 * factors
    u, b_u, mask, factors = map(xp().ascontiguousarray, (u, b_u, mask, factors))
    for t in range(T):
        m, step = product(past, u), np.array((GATES[name], N, T, H, t, 0), STEP)  # (N,H) @ (H,GH) -> (N,GH)
        arrays = z, m, b_u, h, c, kept, states, past, factors, mask
        run("recurrent", "recurrent_forward", dtype, elements(N * H), *arrays, step)
    return states, z, kept, c


def backward(
    name: str, g: Array, c_bar: Array | None, x: Array, w: Array, u: Array, h0: Array, c0: Array, mask: Array,
    factors: Array, states: Array, gates: Array, kept: Array, *, wanted: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    """From g (N,K,H), which belongs to the last K hidden states, and c_bar (N,H), to the last cell state (None: zeros):

    x_bar (N,T,D), or None unless it is `wanted`, w_bar (D,GH), u_bar (H,GH), b_bar, b_u_bar (GH), h0_bar (N,H),
    c0_bar (N,H); and whether the gates are used up: they are not.
    """
    (N, T, D), (H, GH), dtype = x.shape, u.shape, x.dtype
    h_bar, past_bar = xp().zeros((N, H), dtype), xp().zeros((N, H), dtype)
    c_bar = xp().zeros((N, H), dtype) if c_bar is None else _copy(c_bar)
    z_bar, m_now = xp().empty((N, T, GH), dtype), xp().empty((N, GH), dtype)
    m_bar = xp().empty((N, T, GH), dtype) if name == "gru" else None
    before, start = (kept, c0) if name == "lstm" else (states, h0)
    g, start, factors, mask = map(xp().ascontiguousarray, (g, start, factors, mask))
    for t in reversed(range(T)):
        arrays = gates, kept, before, start, g, past_bar, factors, mask, h_bar, c_bar, z_bar, m_bar, m_now
        step = np.array((GATES[name], N, T, H, t, T - g.shape[1]), STEP)
        run("recurrent", "recurrent_backward", dtype, elements(N * H), *arrays, step)
        past_bar = product(m_now, u.T)  # (N,GH) @ (GH,H) -> (N,H)
    h_bar = h_bar + past_bar * factors
    z_rows = z_bar.reshape(N * T, GH)
    m_rows = z_rows if m_bar is None else m_bar.reshape(N * T, GH)
    past = concatenate([h0[:, None], states[:, :-1]], 1) * factors[:, None]  # (N,T,H)
    x_bar = matmul(z_rows, w.T).reshape(N, T, D) if wanted else None  # (NT,GH) @ (GH,D) -> (NT,D)
    w_bar = matmul(x.reshape(N * T, D).T, z_rows)  # (D,NT) @ (NT,GH) -> (D,GH)
    u_bar = matmul(past.reshape(N * T, H).T, m_rows)  # (H,NT) @ (NT,GH) -> (H,GH)
    return x_bar, w_bar, u_bar, total(z_rows, (0,)), total(m_rows, (0,)), h_bar, c_bar, False


def _copy(a: Array) -> Array:
    return xp().array(a, order="C")
