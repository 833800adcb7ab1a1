"""Sliding windows: where those of a convolution or of a pooling lie on an image.

Along one axis of length H, window i covers s·i + d·u − p for u = 0 .. k − 1: stride s, dilation d, p elements of
padding before the first. There are as many windows as fit:

    H' = ⌊(H + p + p' − d·(k − 1) − 1) / s⌋ + 1          p' is the padding behind the last element

"valid" pads nothing. "same" pads so that H' = ⌈H/s⌉, and where that is an odd number, one more behind than before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..integers import whole

Pair = tuple[int, int]


class Window(NamedTuple):
    """Resolved numbers of both axes."""

    size: Pair  # (kh, kw)
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]  # ((top, bottom), (left, right))
    out: Pair  # (H', W')

    @property
    def letters(self) -> dict[str, int]:
        """The letters of the definitions: x[n, s*i + d*u - p, t*j + e*v - q, c], and how far u and v run."""
        (s, t), (d, e), ((p, _), (q, _)) = self.stride, self.dilation, self.padding
        return {"s": s, "t": t, "d": d, "e": e, "p": p, "q": q, "range_u": self.size[0], "range_v": self.size[1]}


def remembered(f: Callable[..., Window]) -> Callable[..., Window]:
    """f, which finds the windows once for the same arguments; to it, lists and arrays are tuples."""
    known = lru_cache(maxsize=1024, typed=True)(f)  # 1.0 and True are equal to 1

    @wraps(f)
    def found(*args: Any, **named: Any) -> Window:
        try:
            return known(*args, **named)
        except TypeError:  # not hashable
            return known(*map(_hashable, args), **{name: _hashable(value) for name, value in named.items()})

    return found


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(_hashable, value)) if isinstance(value, (tuple, list)) else value


@remembered
def window(op: str, image: Any, size: Any, stride: Any = 1, padding: Any = "valid", dilation: Any = 1) -> Window:
    """The windows of `size` (a number or a pair) on an image of (H, W).

    Raises ArgumentError for a stride, dilation or padding that is none, ShapeError where no window fits.
    """
    size, stride, dilation = (
        _pair(op, what, value) for what, value in (("window", size), ("stride", stride), ("dilation", dilation))
    )
    sides, out = [], []
    for axis, (n, k, s, d) in enumerate(zip(image, size, stride, dilation, strict=True)):
        reach = d * (k - 1) + 1  # elements from the first to the last that one window covers
        before, behind = _sides(op, padding, axis, n, reach, s)
        count = (n + before + behind - reach) // s + 1
        if padding == "same":
            count = -(-n // s)
        elif count < 1:
            name = "HW"[axis]
            raise ShapeError(
                f"{op}: a window of {k} (dilation {d}: it reaches over {reach}) does not fit {name}={n} with padding "
                f"{before} and {behind}; use padding='same', a smaller window or a larger image"
            )
        sides.append((before, behind))
        out.append(count)
    return Window(size, stride, dilation, (sides[0], sides[1]), (out[0], out[1]))


def _sides(op: str, padding: Any, axis: int, n: int, reach: int, stride: int) -> Pair:
    """Padding before and behind one axis."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max((-(-n // stride) - 1) * stride + reach - n, 0)
        return total // 2, total - total // 2
    side = padding[axis] if isinstance(padding, tuple) and len(padding) == 2 else padding
    before, behind = side if isinstance(side, tuple) and len(side) == 2 and side is not padding else (side, side)
    if _is_count(before) and _is_count(behind):
        return int(before), int(behind)
    raise ArgumentError(
        f"{op}: padding is {padding!r}; give 'valid', 'same', a number, (height, width) or "
        "((top, bottom), (left, right)), each 0 or more"
    )


def _is_count(value: Any) -> bool:
    n = whole(value)
    return n is not None and n >= 0


def _pair(op: str, what: str, value: Any) -> Pair:
    """A number stands for both axes."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(_is_count(k) and k >= 1 for k in pair):
        raise ArgumentError(
            f"{op}: {what} is {value!r}; give a whole number of 1 or more, or a pair of them (height, width)"
        )
    return int(pair[0]), int(pair[1])
