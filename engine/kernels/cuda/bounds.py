"""Index arrays are checked on the device without waiting for it: what is found is read with the next values.

    for each index i, if not low <= i < high and nothing was found yet:
        found = (number of this check, place, index)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from engine import replay
from engine.errors import IndexRangeError

from .elementwise import BLOCK, MOST_BLOCKS, C

TEXT = """
extern "C" __global__ void check(long long n, const %s* indices, long long low, long long high, long long number,
                                 long long* found) {
    const long long step = gridDim.x * (long long)blockDim.x;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += step) {
        const long long index = (long long)indices[i];
        if (low <= index && index < high) continue;
        if (atomicCAS((unsigned long long*)found, 0ull, (unsigned long long)number) == 0) {
            found[1] = i;
            found[2] = index;
        }
    }
}
"""
MOST = 4096  # checks before they are read without being asked


@dataclass(eq=False)
class Check:
    """Of indices of this shape; what is wrong at a place, and the index there."""

    shape: tuple[int, ...]
    explain: Callable[..., Exception]


class Bounds:
    """The checks of one device since it was last read from."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._found: Any = None  # on the device: the number of the check that failed first, the place, the index
        self._checks: list[Check] = []
        # those of graphs, which may be launched at any time, by numbers below 0; they live as long as their recordings
        self._recorded: WeakValueDictionary[int, Check] = WeakValueDictionary()
        self._numbers = itertools.count(-1, -1)
        self._graphs = False  # may one have been launched since the last look?
        self._modules: dict[str, Any] = {}

    def prepare(self) -> None:
        """Let there be a place for what is found: a recorded check must not make one, it would be emptied each time."""
        if self._found is None:
            self._found = self._backend.xp.zeros(3, np.int64)

    def check(self, indices: Any, low: int, high: int, explain: Callable[..., Exception]) -> None:
        if not indices.size:
            return
        xp, recording = self._backend.xp, replay.current()
        self.prepare()
        kind = indices.dtype.name
        if kind not in self._modules:
            self._modules[kind] = xp.RawModule(code=TEXT % C[kind], options=("-std=c++17",))
        check = Check(indices.shape, explain)
        if recording is None:
            self._checks.append(check)
            number = len(self._checks)
        else:
            number, self._graphs = next(self._numbers), True
            self._recorded[number] = check
            recording.keep(check)
        flat, grid = xp.ascontiguousarray(indices), (min(-(-indices.size // BLOCK), MOST_BLOCKS),)
        numbers = [np.int64(v) for v in (low, high, number)]
        self._modules[kind].get_function("check")(grid, (BLOCK,), (np.int64(flat.size), flat, *numbers, self._found))
        if len(self._checks) == MOST and recording is None:
            self.raise_found()

    def raise_found(self) -> None:
        """Raise what the checks found. Waits for the device, if there were any."""
        if not self._checks and not self._graphs:
            return
        number, place, index = self._found.get().tolist()
        checks, self._checks, self._graphs = self._checks, [], bool(self._recorded)
        if not number:
            return
        self._found.fill(0)
        check = checks[number - 1] if number > 0 else self._recorded.get(number)
        if check is None:
            raise IndexRangeError(
                f"index {index}, at place {place} of its array, was out of range in a captured step that is gone now; "
                "read the step's results before you let go of it, to be told more"
            )
        raise check.explain(tuple(map(int, np.unravel_index(place, check.shape))), index)
