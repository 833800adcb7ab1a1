"""Recurrent layers over rows of a table, which are written out here."""

from __future__ import annotations

from typing import Any

from . import recurrent
from .embedding import embedding, embedding_gradient

Array = Any


def forward(name: str, ids: Array, table: Array, *others: Array) -> tuple[Array, ...]:
    """`recurrent.forward` of x = table[ids]: ids (N,T), table (V,D)."""
    return recurrent.forward(name, embedding(ids, table), *others)


def backward(
    name: str, g: Array, c_bar: Array | None, ids: Array, table: Array, *others: Array, wanted: bool = True
) -> tuple[Any, ...]:
    """`recurrent.backward`, with the cotangent of the table (V,D) in place of x's."""
    x_bar, *bars = recurrent.backward(name, g, c_bar, embedding(ids, table), *others, wanted=wanted)
    return embedding_gradient(x_bar, ids, table.shape[0]) if wanted else None, *bars
