r"""Embedding: integers become vectors, the rows of a table. The derivative adds each ȳ to the row it was read from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import DTypeError, IndexRangeError, ShapeError
from ..op import op
from ..samples import Draw


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    rows, D = draw.integer(1, 4), draw.integer(0, 3)
    return [draw.rng.integers(0, rows, draw.shape(0, 3)), draw.array((rows, D))], {}


def _sample_gradient(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    (ids, table), _ = _sample(draw)
    return [draw.array((*ids.shape, table.shape[1])), ids], {"rows": table.shape[0]}


@op(
    "embedding",
    shapes="ids:(*B), table:(V,D) -> y:(*B,D)",
    definition=r"y_{b,d} = w_{\mathrm{ids}_b,\, d}",
    indices=("ids",),
    samples=_sample,
    reference=lambda ids, table: table[ids],
    errors=[
        (
            lambda f: f(np.array([[0, 1], [7, 2]]), np.zeros((5, 2))),
            r"embedding: ids\[1, 0\] is 7, but the table has 5 rows: 0 to 4",
        ),
        (lambda f: f(np.array([-1]), np.zeros((5, 2))), r"embedding: ids\[0\] is -1, but the table has 5 rows"),
        (lambda f: f(np.array([0.5]), np.zeros((5, 2))), r"embedding: ids are float64; row numbers are integers"),
    ],
)
def embedding(ids: Array, table: Array) -> Array:
    """The rows of a table: ids (*B) of integers 0 .. V−1, table (V,D) -> (*B,D).

    Raises IndexRangeError for an id outside of the table, naming its place; DTypeError for ids that are no integers.
    """
    check_ids("embedding", ids, table.shape[0])
    return backend_of(table).kernel("embedding", "embedding")(ids, table)


@embedding.vjp(saves=("ids",))
def _(g, y, aux, ids, table, *, needs):  # type: ignore[no-untyped-def]
    return None, embedding_gradient(g, ids, rows=table.shape[0])


@op(
    "embedding_gradient",
    shapes="g:(*B,D), ids:(*B) -> y:(V',D)",
    definition=r"y_{v,d} = \sum_{b \,:\, \mathrm{ids}_b = v} g_{b,d}",
    indices=("ids",),
    samples=_sample_gradient,
    reference=lambda g, ids, *, rows: np.einsum(
        "bv,bd->vd", np.eye(rows)[ids.ravel()], g.reshape(ids.size, g.shape[-1])
    ),
)
def embedding_gradient(g: Array, ids: Array, *, rows: int) -> Array:
    """The sum of the rows of g that have the same id, in the order of ids: (*B,D), ids (*B) -> (rows,D)."""
    if g.shape[:-1] != ids.shape:
        raise ShapeError(
            f"embedding_gradient: g has shape {g.shape}, ids {ids.shape}; it needs a row per id: {(*ids.shape, 'D')}"
        )
    check_ids("embedding_gradient", ids, rows)
    return backend_of(g).kernel("embedding", "embedding_gradient")(g, ids, rows)


@embedding_gradient.vjp(saves=("ids",))
def _(h, y, aux, g, ids, *, needs, rows):  # type: ignore[no-untyped-def]
    return embedding(ids, h), None


def check_ids(op: str, ids: Array, rows: int) -> None:
    """Refuse what would read beside the table."""
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"{op}: ids are {ids.dtype}; row numbers are integers: cast with .astype('int64')")

    def explain(at: tuple[int, ...], row: int) -> IndexRangeError:
        place = f"[{', '.join(map(str, at))}]" if at else ""
        return IndexRangeError(
            f"{op}: ids{place} is {row}, but the table has {rows} rows: 0 to {rows - 1}; "
            "check the vocabulary, or make the table larger"
        )

    backend_of(ids).check_bounds(ids, 0, rows, explain)
