"""The arena: parameters, and what an optimiser remembers of each, side by side in flat buffers.

An update is one formula on numbers, and a small network has dozens of small arrays. Packed end to end they are one long
array, and a step is one pass of one kernel over it:

    data   | kernel 0 | bias 0 | kernel 1 | ...      p.data is a view of its segment
    grad   | ...                                     gradients are copied here; a long one is read where it is
    m, v   | ...                                     one buffer for each thing remembered
    master | ...                                     of 16-bit parameters: their values in 32, which small steps change

Nobody outside notices: a parameter that was given other memory meanwhile (loaded, moved, copied) is found by identity,
and all are packed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine import changes
from engine.backends import Array, backend_of, move
from engine.dtypes import float32, is_half
from engine.expr import lift, var
from engine.formula import Formula
from engine.tensor import Tensor

LONG = 1 << 18  # numbers: a gradient of so many is copied for longer than a call of the kernel takes
State = dict[str, Array]  # of one parameter: {"m": ..., "v": ...}, each of its shape
MASTER = "master"  # what is remembered of a 16-bit parameter besides


class Arena:
    """The parameters of one group that share a device and a dtype."""

    def __init__(self, params: Sequence[Tensor], states: Sequence[State], slots: dict[str, float]) -> None:
        """Pack them; `slots` gives the names and first values of what is remembered."""
        backend, dtype = params[0].backend, params[0].dtype
        xp = backend.xp
        ends = np.cumsum([p.size for p in params]).tolist()
        self.params, self.segments = list(params), list(map(slice, [0, *ends[:-1]], ends))
        wide = float32 if is_half(dtype) else dtype  # 16 bits are too few to remember small changes
        self.data, self.grad = xp.empty(ends[-1], dtype), xp.empty(ends[-1], wide)
        self.slots = {name: xp.full(ends[-1], first, wide) for name, first in slots.items()}
        self.master = xp.full(ends[-1], np.nan, wide) if is_half(dtype) else None  # NaN: to be taken from the data
        buffers = self.slots if self.master is None else {**self.slots, MASTER: self.master}
        self.views = []
        for p, state, segment in zip(params, states, self.segments, strict=True):
            self.data[segment] = p.data.reshape(-1)
            p.mark_changed()  # a graph that saved the old memory must not outlive the step that moves it
            p.data = self.data[segment].reshape(p.shape)
            self.views.append(p.data)
            for name, buffer in buffers.items():
                if name in state:
                    buffer[segment] = move(state[name], backend).reshape(-1)
                state[name] = buffer[segment].reshape(p.shape)

    def weights(self, stretch: slice) -> Array:
        """What an update changes: the data, or its master in 32 bits, where nobody else has changed the data since."""
        data = self.data[stretch]
        if self.master is None:
            return data
        master, xp = self.master[stretch], backend_of(data).xp
        master[...] = xp.where(master.astype(data.dtype) == data, master, data.astype(master.dtype))
        return master

    def round(self, stretch: slice) -> None:
        """The data is its master, rounded."""
        if self.master is not None:
            self.data[stretch] = self.master[stretch].astype(self.data.dtype)

    def collect(self, clip: Callable[[Array], Array] | None) -> list[tuple[slice, Array]]:
        """The stretches of neighbours that have a gradient and may learn, each with its gradient, end to end.

        Their values are about to change, so graphs that saved them are made to notice.
        """
        stretches: list[tuple[slice, Array]] = []
        for p, segment in zip(self.params, self.segments, strict=True):
            if p.grad is None or not p.requires_grad:
                continue
            g = (p.grad.data if clip is None else clip(p.grad.data)).reshape(-1)
            if g.size >= LONG and g.dtype == self.grad.dtype and g.flags.c_contiguous and g.base is not self.data:
                stretches.append((segment, g))  # no other parameter's update changes it before its turn
            else:
                self.grad[segment] = g  # one by one: CuPy's concatenate would send a table to the device
                if stretches and stretches[-1][0].stop == segment.start and stretches[-1][1].base is self.grad:
                    segment = slice(stretches.pop()[0].start, segment.stop)
                stretches.append((segment, self.grad[segment]))
            p.storage.version += 1
        for stretch, _ in stretches:
            changes.mark(self.data[stretch])
        return stretches


# ------------------------------------------------------------------------------------------------ the kernel
class Update:
    """A formula that replaces arrays by its results: new w, m, v = f(w, g, m, v, numbers)."""

    def __init__(self, rule: Callable[..., Any], slots: Sequence[str], numbers: Sequence[str]) -> None:
        """rule(w, g, *slots, **numbers) -> (w, *slots), of symbols. Before it, w is multiplied by the number `keep`."""
        w, g, *memory = map(var, ("w", "g", *slots))
        outs = rule(var("keep") * w, g, *memory, **{n: var(n) for n in numbers})
        self.numbers = ("keep", *numbers)
        outs = tuple(map(lift, outs if isinstance(outs, tuple) else (outs,)))
        self.formula = Formula(("w", "g", *slots, *self.numbers), outs, self.numbers)
        self._compiled: dict[str, Callable[..., None]] = {}  # by device

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_compiled": {}}  # machine code can't be copied

    def __call__(self, w: Array, g: Array, memory: Sequence[Array], numbers: dict[str, float]) -> None:
        """Flat arrays of one length; w and memory are overwritten."""
        backend = backend_of(w)
        run = self._compiled.get(backend.name)
        if run is None:
            run = self._compiled[backend.name] = backend.compile_update(self.formula)
        run(w, g, *memory, *(numbers[n] for n in self.numbers), out=(w, *memory))
