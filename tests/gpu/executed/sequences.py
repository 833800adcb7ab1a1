"""Sequences: recurrent cells and attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.kernels.cpu import attention, recurrent_plain
from engine.kernels.cpu.recurrent_cells import CELLS

from .case import Case, Rng, normal, replayed

# --- recurrent cells -------------------------------------------------------------------------------------------------


def _sequences(name: str) -> Callable[[Rng], Iterator[tuple[Any, ...]]]:
    """x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar"""
    G = CELLS[name].gates

    def calls(rng: Rng) -> Iterator[tuple[Any, ...]]:
        for i, (N, T, D, H, K) in enumerate(
            ((3, 4, 5, 6, 4), (1, 1, 1, 1, 1), (9, 3, 2, 33, 1), (2, 5, 3, 1, 3), (0, 2, 3, 2, 2))
        ):
            sides = (N, T, D), (D, G * H), (H, G * H), (G * H,), (G * H,), (N, H), (N, H)
            mask = (rng.random((N, T)) < 0.7).astype(np.uint8) if i % 2 == 0 else np.ones((N, T), np.uint8)
            factors = 2.0 * (rng.random((N, H)) < 0.5) if i % 2 == 0 else np.ones((N, H))
            c_bar = normal(rng, (N, H)) if i % 2 == 0 else None
            yield *[normal(rng, shape) for shape in sides], mask, factors, normal(rng, (N, K, H)), c_bar

    return calls


def _forward_and_back(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        from engine.kernels.cuda import recurrent

        x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar = args
        states, z, kept, c = recurrent.forward(name, x, w, u, b, b_u, h0, c0, mask, factors)
        *bars, _ = recurrent.backward(name, g, c_bar, x, w, u, h0, c0, mask, factors, states, z, kept)
        return states, c, *bars

    return run


def _plainly_forward_and_back(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        x, w, u, b, b_u, h0, c0, mask, factors, g, c_bar = args
        cell, c_bar = CELLS[name], np.zeros_like(h0) if c_bar is None else c_bar
        states, z, kept, c = recurrent_plain.forward(cell, x, w, u, b, b_u, h0, c0, mask, factors)
        bars = recurrent_plain.backward(cell, g, c_bar, x, w, u, h0, c0, mask, factors, states, z, kept)
        return states, c, *bars

    return run


def _texts(name: str) -> Callable[[Rng], Iterator[tuple[Any, ...]]]:
    """ids and table in place of x; weights so small that 16 bits do not drift apart"""

    def calls(rng: Rng) -> Iterator[tuple[Any, ...]]:
        for x, w, u, *others in _sequences(name)(rng):
            V = 1 + x.shape[1]
            yield rng.integers(0, V, x.shape[:2]), normal(rng, (V, x.shape[2])), 0.3 * w, 0.3 * u, *others

    return calls


def _read_and_back(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        from engine.kernels.cuda import recurrent_tokens

        ids, table, w, u, b, b_u, h0, c0, mask, factors, g, c_bar = args
        states, z, kept, c = recurrent_tokens.forward(name, ids, table, w, u, b, b_u, h0, c0, mask, factors)
        inner = g, c_bar, ids, table, w, u, h0, c0, mask, factors, states, z, kept
        *bars, _ = recurrent_tokens.backward(name, *inner)
        assert recurrent_tokens.backward(name, *inner, wanted=False)[0] is None
        return states, c, *bars

    return run


def _plainly_read_and_back(name: str) -> Callable[..., Any]:
    def run(ids: Any, table: Any, *others: Any) -> Any:
        states, c, x_bar, *bars = _plainly_forward_and_back(name)(table[ids], *others)
        table_bar = np.zeros_like(table)
        np.add.at(table_bar, ids, x_bar)
        return states, c, table_bar, *bars

    return run


# --- attention -------------------------------------------------------------------------------------------------------


def _attended(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """q, k, v, bias, mask, causal, scale, rate, seed, stream"""
    for i, (N, T, h, d, S, g, e) in enumerate((
        (2, 5, 4, 3, 7, 2, 5), (1, 33, 2, 66, 5, 1, 3), (1, 3, 1, 8, 35, 1, 130), (2, 1, 2, 4, 9, 2, 4),
        (1, 36, 1, 4, 40, 1, 4), (1, 3, 1, 0, 40, 1, 3), (1, 3, 2, 4, 0, 1, 4), (2, 0, 1, 4, 3, 1, 4),
        (1, 40, 2, 4, 35, 2, 4),
    )):  # fmt: skip
        arrays = normal(rng, (N, T, h, d)), normal(rng, (N, S, g, d)), normal(rng, (N, S, g, e))
        bias = normal(rng, ((N, h, T, S), (h, 1, 1), (T, S))[i % 3]) if i % 2 == 0 else None
        mask = rng.random(((N, 1, 1, S), (T, S), (N, h, T, S))[i % 3]) < 0.7 if i % 3 != 2 else None
        if i == 1:
            mask[3] = False  # a query that sees no key
        yield *arrays, bias, mask, i in (2, 4, 8), 0.7, (0.0, 0.3, 0.0, 1.0)[i % 4], 2**40 + i, 3


def _attended_back(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for q, k, v, *how in _attended(rng):
        y, lse = attention.plain_attention(q, k, v, *how)
        yield normal(rng, y.shape), y, lse, q, k, v, *how


def _cut_from_one(rng: Rng) -> Iterator[tuple[Any, ...]]:
    """q, k and v as they come from one product: (N,T,3,h,d)."""
    yield (normal(rng, (2, 9, 3, 2, 4)),)


def _plainly_cut(qkv: Any) -> Any:
    how = *(qkv[:, :, i] for i in range(3)), None, None, False, 0.5, 0.0, 0, 0
    y, lse = attention.plain_attention(*how)
    return y, lse, *attention.plain_attention_gradient(y, *how)[:3]


def _cut(qkv: Any) -> Any:
    from engine.kernels.cuda.attention import attention, attention_gradient

    how = *(qkv[:, :, i] for i in range(3)), None, None, False, 0.5, 0.0, 0, 0
    y, lse = attention(*how)
    return y, lse, *attention_gradient(y, y, lse, *how)


# fmt: off
CASES = [
    *[Case("recurrent", name, _plainly_forward_and_back(name), _sequences(name), 256, run=_forward_and_back(name))
      for name in CELLS],
    *[Case("recurrent_tokens", name, _plainly_read_and_back(name), _texts(name), 256, run=_read_and_back(name))
      for name in CELLS],
    Case("attention", "attention", attention.plain_attention, _attended, 64),
    Case("attention", "attention_gradient", lambda g, y, lse, *rest: attention.plain_attention_gradient(g, *rest)[:3],
         _attended_back, 256, wide=(2,)),
    Case("attention", "plain_attention_gradient", attention.plain_attention_gradient,
         lambda rng: ((g, *rest) for g, _, _, *rest in _attended_back(rng) if rest[0].size and rest[1].size), 256),
    Case("attention", "replayed", attention.plain_attention, _attended, 64, run=replayed("attention", 9)),
    Case("attention", "gradient, replayed", lambda g, y, lse, *rest: attention.plain_attention_gradient(g, *rest)[:3],
         _attended_back, 256, wide=(2,), run=replayed("attention_gradient", 12)),
    Case("attention", "views", _plainly_cut, _cut_from_one, 256, run=_cut),
]
# fmt: on
