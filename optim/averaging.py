r"""Averaged weights: a second set of values that trails the ones being trained, and often does better.

    ema = EMA(model.parameters(), decay=0.999)
    for batch in data:
        ...
        optimizer.step()
        ema.update()
    with ema.swapped():          # the model computes with the averages inside, and has its own weights back after
        model.evaluate(...)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine import replay
from engine.backends import Array, backend_of, move
from engine.dtypes import is_half
from engine.errors import ArgumentError, ShapeError
from engine.tensor import Tensor

from .arena import Update


class Averaged:
    r"""Base class: :math:`a \leftarrow a + \mathrm{rate} \cdot (w - a)`; a starts at w in the first `update`."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        self.params = list({id(p): p for p in params}.values())
        self.averages: list[Array] = []
        self.updates = 0
        self._follow = Update(lambda a, w, *, rate: a + rate * (w - a), (), ("rate",))

    def rate(self, n: int) -> float:
        """How far the average moves towards the weights in update n = 1, 2, ..."""
        raise NotImplementedError

    def update(self) -> None:
        """Move the averages towards the weights; call it after each optimiser step (SWA: each epoch)."""
        if not self.averages:
            replay.refuse(f"begins an average ({type(self).__name__})", "call update() once before it is captured")
            self.averages = [_copy(p) for p in self.params]
        replay.each(self._count)
        self.averages[:] = [move(a, p.backend) for a, p in zip(self.averages, self.params, strict=True)]
        replay.uses(self, "averages", self.averages, f"what {type(self).__name__} remembers")
        replay.reads([p.data for p in self.params], self.params)
        for a, p in zip(self.averages, self.params, strict=True):
            self._follow(a.reshape(-1), p.data.reshape(-1), (), replay.live(self._numbers, a))

    def _count(self) -> None:
        replay.put(self, "updates", self.updates + 1)

    def _numbers(self) -> dict[str, float]:
        return {"keep": 1.0, "rate": self.rate(self.updates)}

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the parameters hold the averages; after it their own values again, also after an error."""
        own = [p.data.copy() for p in self.params]
        self.copy_to()
        try:
            yield
        finally:
            _write(self.params, own)

    def copy_to(self) -> None:
        """Put the averages into the parameters, for good."""
        if not self.averages:
            raise ArgumentError(f"{type(self).__name__}: there is no average yet; call update() after each step")
        _write(self.params, self.averages)

    def state_dict(self) -> dict[str, Any]:
        averages = {str(i): np.array(backend_of(a).to_numpy(a)) for i, a in enumerate(self.averages)}
        return {"updates": self.updates, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        averages = [np.array(state["averages"][str(i)]) for i in range(len(state["averages"]))]
        shapes, wanted = [a.shape for a in averages], [p.shape for p in self.params]
        if averages and shapes != wanted:
            raise ShapeError(f"{type(self).__name__}.load_state_dict: averages of {shapes} for parameters of {wanted}")
        self.updates, self.averages = int(state["updates"]), averages


class EMA(Averaged):
    r"""Exponential moving average, :math:`a \leftarrow \mathrm{decay} \cdot a + (1 - \mathrm{decay}) \, w`.

    In the first updates the decay is :math:`\min(\mathrm{decay}, (1 + n) / (10 + n))`, so that the start is soon
    forgotten. [Polyak and Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage]
    """

    def __init__(self, params: Iterable[Tensor], decay: float = 0.999) -> None:
        super().__init__(params)
        if not 0 <= decay < 1:
            raise ArgumentError(f"EMA: decay is the share of the old average, 0 <= decay < 1, got {decay}")
        self.decay = decay

    def rate(self, n: int) -> float:
        return 1 - min(self.decay, (1 + n) / (10 + n))


class SWA(Averaged):
    """The plain mean of all the weights at which `update` was called, once an epoch, say.

    A model with batch normalisation then needs its running statistics anew. [Izmailov et al., UAI 2018, (1)]
    """

    def rate(self, n: int) -> float:
        return 1 / n


def _copy(p: Tensor) -> Array:
    """A first average, flat in memory. 16 bits are too few for small changes."""
    with p.backend.active():
        return p.backend.xp.array(p.data, np.float32 if is_half(p.dtype) else p.dtype, order="C")


def _write(params: Iterable[Tensor], values: Iterable[Array]) -> None:
    for p, v in zip(params, values, strict=True):
        with p.backend.active():
            p.data[...] = move(v, p.backend)
        p.mark_changed()
