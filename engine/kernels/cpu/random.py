"""Philox-4x32-10 in a serial loop: four words a block, the blocks independent, so LLVM runs them in SIMD lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel

LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@kernel("void(uint64, uint64, uint64, uint32[::1])")
def philox_blocks(seed: Any, stream: Any, first: Any, words: Any) -> None:
    """words[4b : 4b + 4] = philox(counter = (first + b, stream), key = seed)."""
    # All in uint64, cut back to 32 bits by hand: Numba would widen uint32 arithmetic silently.
    for b in range(words.size // 4):
        block = first + np.uint64(b)
        c0, c1, c2, c3 = block & LOW, block >> HIGH, stream & LOW, stream >> HIGH
        k0, k1 = seed & LOW, seed >> HIGH
        for _ in range(10):
            p0, p1 = M0 * c0, M1 * c2
            c0, c1, c2, c3 = (p1 >> HIGH) ^ c1 ^ k0, p1 & LOW, (p0 >> HIGH) ^ c3 ^ k1, p0 & LOW
            k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
        words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = c0, c1, c2, c3


def philox_bits(seed: int, stream: int, start: int, n: int) -> Any:
    """Words start .. start + n of (seed, stream), uint32."""
    first, skip = divmod(start, 4)
    words = np.empty(-(-(skip + n) // 4) * 4, np.uint32)  # whole blocks
    philox_blocks(np.uint64(seed), np.uint64(stream), np.uint64(first), words)
    return words[skip : skip + n]
