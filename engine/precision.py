"""Mixed precision: products in 16 bits, everything delicate in 32.

    with autocast("float16"):
        loss = cross_entropy(y, model(x))     # products of matrices and convolutions take and give float16
    scaler.scale(loss).backward()             # optim.GradScaler: small gradients must not vanish in 16 bits

Each op's record says what it asks for (`Note.autocast`): "half" ops get their float32 inputs rounded to 16 bits,
"float32" ops get 16-bit inputs widened. All others take what comes. Parameters stay float32: a cast of one is recorded,
so its gradient comes back in float32, and it is made once within a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import changes
from .autograd import AUTOCAST, Switched, is_grad_enabled, mode
from .backends import Array
from .blocks import Setting
from .dtypes import canonical, float32, is_half
from .errors import DTypeError
from .tensor import Tensor


class _Block:
    """What one `autocast` block rounds to, and the parameters that it has rounded."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.cast: dict[int, tuple[Tensor, Array, Tensor, int]] = {}  # id -> (leaf, its data, the cast, when)


_rounding: Setting[_Block | None] = Setting("chainrule_autocast", None)


@contextmanager
def autocast(dtype: Any = "float16", enabled: bool = True) -> Iterator[None]:
    """Inside, ops that gain from it run in `dtype`, "float16" or "bfloat16", and those that would suffer in float32.

    Wrap the forward pass and the loss; `backward` follows by itself. With float16 scale the loss (`optim.GradScaler`);
    bfloat16 has float32's range and needs no scaling. enabled=False switches it off inside another block.
    Raises DTypeError for another dtype.
    """
    goal = canonical(dtype)
    if not is_half(goal):
        raise DTypeError(f"autocast: dtype is {goal}; it is what products are rounded to, float16 or bfloat16")
    begun = _rounding.begin(_Block(goal))
    try:
        with Switched(AUTOCAST, enabled):
            yield
    finally:
        _rounding.end(begun)


def is_autocast_enabled() -> bool:
    """Is this within an `autocast` block?"""
    return bool(mode() & AUTOCAST)


def cast(wish: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """An op's arguments as its record wishes, within a block."""
    block = _rounding.block().value
    if not wish or block is None:
        return args
    if wish == "half":
        return tuple(_rounded(a, block) if isinstance(a, Tensor) and a.dtype == float32 else a for a in args)
    return tuple(a.astype(float32) if isinstance(a, Tensor) and is_half(a.dtype) else a for a in args)


def _rounded(x: Tensor, block: _Block) -> Tensor:
    if not (x.is_leaf and x.requires_grad):
        return x.astype(block.dtype)
    known = block.cast.get(id(x))
    if known is None or known[0] is not x or not _serves(*known):
        known = block.cast[id(x)] = x, x.data, x.astype(block.dtype), changes.tick()
    return known[2]


def _serves(leaf: Tensor, data: Array, rounded: Tensor, made: int) -> bool:
    """Is this cast still the leaf's? Not if its values changed since, if its graph is gone, or recording was off."""
    node = rounded.node
    alive = not is_grad_enabled() if node is None else not node.freed
    return alive and leaf.data is data and not changes.changed(data, made)
