"""Philox-4x32-10: the words of the CPU, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.replay import refuse

from .launch import elements, run, xp


def philox_bits(seed: int, stream: int, start: int, n: int) -> Any:
    """Words start .. start + n of (seed, stream), uint32."""
    refuse("draws random bits", "draw them before, and give them to the step")
    first, skip = divmod(start, 4)
    words = xp().empty((n,), np.uint32)
    place = np.uint64(seed), np.uint64(stream), np.uint64(first)
    run("random", "philox_bits", np.int64, elements(-(-(skip + n) // 4) if n else 0), *place, skip, words, n)
    return words
