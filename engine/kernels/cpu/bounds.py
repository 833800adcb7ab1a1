"""Do all indices lie where they should? One pass, on all cores.

for part:
    wrong[part] = how many of its indices are below `low`, or not below `high`
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import ENABLED, array_at, kernel, number_at
from .threads import launch

Array = np.ndarray[Any, Any]

PART = 1 << 16  # indices in a part


@kernel
def count_outside(block, part):  # type: ignore[no-untyped-def]
    ids, wrong = array_at(block, 0, np.int64), array_at(block, 2, np.int64)
    low, high, found = number_at(block, 4), number_at(block, 5), 0
    for i in range(part * PART, min(ids.size, (part + 1) * PART)):
        found += (ids[i] < low) | (ids[i] >= high)
    wrong[part] = found


def all_within(ids: Array, low: int, high: int) -> bool:
    """Is low <= i < high for each index?"""
    if not ENABLED or ids.dtype != np.int64 or not ids.flags.c_contiguous or ids.size == 0:
        return ids.size == 0 or bool(ids.min() >= low and ids.max() < high)
    wrong = np.empty(-(-ids.size // PART), np.int64)
    launch(count_outside, len(wrong), ids, wrong, low, high)
    return not wrong.any()
