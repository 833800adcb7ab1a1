"""Philox-4x32-10: four words a block, the blocks independent, so LLVM runs them in SIMD lanes and cores share them."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.random import philox

from .jit import ENABLED, array_at, device, kernel
from .threads import launch

LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

PART = 1 << 14  # blocks in a part: 0.06 ms of work, well above the price of a launch


@device
def fill_words(seed, stream, first, words):  # type: ignore[no-untyped-def]
    """words[4b : 4b + 4] = philox(counter = (first + b, stream), key = seed)"""
    # All in uint64, cut back to 32 bits by hand: Numba would widen uint32 arithmetic silently.
    for b in range(words.size // 4):
        counter = first + np.uint64(b)
        c0, c1, c2, c3 = counter & LOW, counter >> HIGH, stream & LOW, stream >> HIGH
        k0, k1 = seed & LOW, seed >> HIGH
        for _ in range(10):
            p0, p1 = M0 * c0, M1 * c2
            c0, c1, c2, c3 = (p1 >> HIGH) ^ c1 ^ k0, p1 & LOW, (p0 >> HIGH) ^ c3 ^ k1, p0 & LOW
            k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
        words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = c0, c1, c2, c3


@kernel
def philox_blocks(block, part):  # type: ignore[no-untyped-def]
    """The words of this part's blocks."""
    place, words = array_at(block, 0, np.uint64), array_at(block, 2, np.uint32)
    mine = words[4 * PART * part : 4 * PART * (part + 1)]
    fill_words(place[0], place[1], place[2] + np.uint64(part * PART), mine)


def philox_bits(seed: int, stream: int, start: int, n: int) -> Any:
    """Words start .. start + n of (seed, stream), uint32."""
    first, skip = divmod(start, 4)
    blocks = -(-(skip + n) // 4)
    if not ENABLED:
        return philox_words(seed, stream, first, blocks)[skip : skip + n]
    words = np.empty(4 * blocks, np.uint32)
    launch(philox_blocks, -(-blocks // PART), np.array([seed, stream, first], np.uint64), words)
    return words[skip : skip + n]


def philox_words(seed: int, stream: int, first: int, blocks: int) -> Any:
    """The same from the definition: the kernel's contract, and its stand-in where Numba is switched off."""
    counter = np.empty((blocks, 4), np.uint64)
    index = np.uint64(first) + np.arange(blocks, dtype=np.uint64)
    counter[:, 0], counter[:, 1] = index & LOW, index >> HIGH
    counter[:, 2], counter[:, 3] = np.uint64(stream) & LOW, np.uint64(stream) >> HIGH
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64)
    return philox(counter, key).reshape(-1)  # (B,4) -> (4B,)
