"""Index arrays are checked on the device without waiting for it: what is found is read with the next values.

    for each index i, if not low <= i < high and nothing was found yet:
        found = (number of this check, place, index)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine import replay

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
Check = tuple[tuple[int, ...], Callable[..., Exception]]  # the indices' shape, and the error from place and index
MOST = 4096  # checks before they are read without being asked


class Bounds:
    """The checks of one device since it was last read from."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._found: Any = None  # on the device: the number of the check that failed first, the place, the index
        self._checks: list[Check] = []
        self._recorded: list[Check] = []  # of graphs, which may be launched at any time; their numbers are negative
        self._modules: dict[str, Any] = {}

    def prepare(self) -> None:
        """Let there be a place for what is found: a recorded check must not make one, it would be emptied each time."""
        if self._found is None:
            self._found = self._backend.xp.zeros(3, np.int64)

    def check(self, indices: Any, low: int, high: int, explain: Callable[..., Exception]) -> None:
        if not indices.size:
            return
        xp, recording = self._backend.xp, replay.current() is not None
        self.prepare()
        kind = indices.dtype.name
        if kind not in self._modules:
            self._modules[kind] = xp.RawModule(code=TEXT % C[kind], options=("-std=c++17",))
        checks = self._recorded if recording else self._checks
        checks.append((indices.shape, explain))
        number = -len(checks) if recording else len(checks)
        flat, grid = xp.ascontiguousarray(indices), (min(-(-indices.size // BLOCK), MOST_BLOCKS),)
        numbers = [np.int64(v) for v in (low, high, number)]
        self._modules[kind].get_function("check")(grid, (BLOCK,), (np.int64(flat.size), flat, *numbers, self._found))
        if len(self._checks) == MOST and not recording:
            self.raise_found()

    def raise_found(self) -> None:
        """Raise what the checks found. Waits for the device, if there were any."""
        if not self._checks and not self._recorded:
            return
        number, place, index = self._found.get().tolist()
        checks, self._checks = self._checks, []
        if number:
            self._found.fill(0)
            shape, explain = checks[number - 1] if number > 0 else self._recorded[-number - 1]
            raise explain(tuple(map(int, np.unravel_index(place, shape))), index)
