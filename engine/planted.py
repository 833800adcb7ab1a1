"""A vjp made wrong on purpose, for as long as a block lasts: the checker must notice, and so should a learner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .autograd import Node
from .blocks import Blocks
from .dtypes import PLANTED
from .errors import ArgumentError
from .forks import lock
from .record import OPS, Op


@dataclass(eq=False)
class Plant:
    """One error in one op. times: how often a backward pass met it."""

    op: str
    input: int | None
    order: int
    factor: float
    times: int = 0

    def spoil(self, cotangents: list[Any], create_graph: bool) -> list[Any]:
        self.times += 1
        places = range(len(cotangents)) if self.input is None else [self.input]
        for i in places:
            x = cotangents[i] if i < len(cotangents) else None
            if x is not None and self.order == 1:
                y = x * self.factor
                cotangents[i] = np.asarray(y) if isinstance(y, np.generic) else y  # of what has no axes
            elif x is not None and create_graph:
                cotangents[i] = x + (x - x.detach()) * (self.factor - 1)
        return cotangents


_here: Blocks[Plant] = Blocks("chainrule_planted")
_lock = lock()
_count: dict[str, int] = {}  # of each op, the errors planted in it at the moment, by any thread


@contextmanager
def planted(op: str, input: int | None = 0, *, order: int = 1, factor: float = 1 + PLANTED) -> Iterator[Plant]:
    """Make one op's vjp wrong until the block ends, in this thread or async task only.

    input: whose cotangent; None: that of each. order 1: it is `factor` times too large. order 2: it is right, but its
    own derivative is `factor` times too large, which only a check of the second order can see.
    """
    record = OPS[op]
    plant = Plant(op, input, order, factor)
    with _lock:
        if not _count.get(op):
            record.pull = _spoilt(record)  # type: ignore[method-assign]
        _count[op] = _count.get(op, 0) + 1
    _here.begin(plant)
    try:
        yield plant
    finally:
        _here.end(plant)
        with _lock:
            _count[op] -= 1
            if not _count[op]:
                del record.pull


def _spoilt(record: Op) -> Any:
    def wrong(node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        cotangents = list(type(record).pull(record, node, g, create_graph))  # as it is now: a trace may stand there
        for plant in _here.around():
            if plant.op == record.name:
                cotangents = plant.spoil(cotangents, create_graph)
        return cotangents

    return wrong


def sabotage(op: str, factor: float = 1.01) -> Any:
    r"""`with sabotage("softmax", factor=1.01):` each cotangent that the op hands back is `factor` times too large.

        \bar{x} = factor · \bar{y}^\top ∂y/∂x

    Forward stays right, so a loss looks as it should while what is learnt does not: watch `gradcheck` catch it, and
    training get worse. When the block ends, by an exception too, all is as before; other threads never see it. The
    block's value counts in `times` how often backward met the error.

    Raises ArgumentError for an op that doesn't exist or has no vjp of its own, and for a factor that is no number.
    """
    if not isinstance(op, str) or op not in OPS:
        raise ArgumentError(f"sabotage: there is no op '{op}'; engine.OPS lists them all")
    if not OPS[op].differentiable:
        raise ArgumentError(f"sabotage: '{op}' has no derivative to be made wrong")
    if type(OPS[op]).pull is Op.pull:
        raise ArgumentError(f"sabotage: '{op}' is made of other ops and has no vjp of its own; sabotage one of those")
    if not isinstance(factor, Real):
        raise ArgumentError(
            f"sabotage: factor is a number such as 1.01, by which cotangents are multiplied, not {factor!r}"
        )
    return planted(op, None, factor=float(factor))
