"""Where windows lie on images, as the struct Window of window.cuh."""

from __future__ import annotations

from typing import Any

import numpy as np

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

SIDES = ("H", "W", "C", "kh", "kw", "sh", "sw", "dh", "dw", "top", "left", "OH", "OW")
WINDOW = np.dtype([(name, np.int64) for name in SIDES])


def window(
    image: tuple[int, int, int], size: Pair, stride: Pair, padding: Padding, out: Pair, dilation: Pair = (1, 1)
) -> Any:
    """For images of (H,W,C): a record, which goes to a kernel by value."""
    return np.array((*image, *size, *stride, *dilation, padding[0][0], padding[1][0], *out), WINDOW)
