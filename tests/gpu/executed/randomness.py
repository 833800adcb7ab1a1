"""Random bits, and what is dropped by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.kernels.cpu import dropout, random

from .case import Case, Rng, normal, replayed

# --- random numbers, dropout -----------------------------------------------------------------------------------------


def _streams(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for start, n in ((0, 4), (0, 1), (5, 6), (3, 2000), (2**34 - 3, 9), (0, 0)):
        yield int(rng.integers(2**63)), int(rng.integers(2**63)), start, n
    yield 2**64 - 1, 2**64 - 1, 1, 5


def _plain_bits(seed: int, stream: int, start: int, n: int) -> Any:
    first, skip = divmod(start, 4)
    return random.philox_words(seed, stream, first, -(-(skip + n) // 4))[skip : skip + n]


def _dropped(rng: Rng) -> Iterator[tuple[Any, ...]]:
    for i, shape in enumerate(((5,), (3, 7), (1030,), (), (0,), (4, 4))):
        yield normal(rng, shape), (0.5, 0.1, 0.9, 0.5, 0.5, 1.0)[i], int(rng.integers(2**63)), int(rng.integers(2**63))


# fmt: off
CASES = [
    Case("random", "philox_bits", _plain_bits, _streams, dtypes=(np.float32,)),
    Case("dropout", "dropout", dropout.plain_dropout, _dropped, 2),
    Case("dropout", "replayed", dropout.plain_dropout, _dropped, 2, run=replayed("dropout", 3)),
]
# fmt: on
