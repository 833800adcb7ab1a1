"""Assignment on a device where threads write in any order: the last of equal indices has to be found first."""

from __future__ import annotations

from typing import Any


def assign_last(xp: Any, target: Any, index: tuple[Any, ...], values: Any) -> None:
    """target[index] = values. Of values for one element the last stays, in the C order of target[index].

    Each value has a number; an element takes that of the largest number that names it.
    """
    if not any(hasattr(p, "dtype") and p.dtype != bool for p in index):  # no element is named twice
        target[index] = values
        return
    last = xp.full(target.shape, -1, xp.int32)
    room = last[index].shape
    numbers = xp.arange(last[index].size, dtype=xp.int32).reshape(room)
    xp.maximum.at(last, index, numbers)
    if numbers.size:
        values = xp.broadcast_to(values, room).reshape(-1)
        target[...] = xp.where(last >= 0, values[xp.maximum(last, 0)].astype(target.dtype), target)
