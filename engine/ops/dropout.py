r"""Dropout: a random part of the numbers becomes 0, the rest is scaled up so that the expected value stays.

The mask is a function of (seed, stream, element index), see `engine/random.py`: it is made again wherever it is needed,
on any device and number of threads, and never stored. With the mask given, dropout is linear, and it is its own vjp.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ArgumentError
from ..op import op
from ..samples import Draw


def _sample(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    rate = draw.choice([0.0, 0.1, 0.5, 0.9, 1.0])
    return [draw.array(draw.shape(0, 4))], {"rate": rate, "seed": draw.integer(0, 2**20), "stream": draw.integer(0, 5)}


def _reference(x: Any, *, rate: float, seed: int, stream: int) -> Any:
    """Word i of (seed, stream) decides on element i."""
    from ..random import bernoulli

    words = backend_of(x).random_bits(seed, stream, 0, x.size)
    return np.where(bernoulli(words, 1 - rate).reshape(x.shape), x / (1 - rate) if rate < 1 else x, 0.0)


@op(
    "dropout",
    shapes="x:(*B) -> y:(*B)",
    definition=r"y_i = \begin{cases} x_i / (1 - r) & \text{with probability } 1 - r \\ "
    r"0 & \text{otherwise} \end{cases}",
    source="Srivastava et al., 'Dropout', JMLR 15, 2014",
    samples=_sample,
    reference=_reference,
    errors=[
        (lambda f: f(np.zeros(3), rate=1.5, seed=0), r"dropout: rate is 1.5, but it is a probability, 0 <= rate <= 1")
    ],
)
def dropout(x: Array, *, rate: float, seed: int, stream: int = 0) -> Array:
    r"""Each number is 0 with probability `rate`, else x / (1 − rate): any shape -> the same shape.

    seed, stream: what the mask depends on (`Generator.key`); element i uses word i. Another call needs another stream:
    `generator.split().key`. Raises ArgumentError for a rate outside of 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ArgumentError(f"dropout: rate is {rate}, but it is a probability, 0 <= rate <= 1")
    if rate == 0:
        return x.copy()
    return backend_of(x).kernel("dropout", "dropout")(x, rate, seed, stream)


@dropout.vjp(saves=())
def _(g, y, aux, x, *, needs, **params):  # type: ignore[no-untyped-def]
    return dropout(g, **params)
