"""What is in force for as long as a block lasts, in this thread or async task: a planted error, a trace."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Blocks(Generic[T]):
    """The blocks of one kind around the caller.

    A generator may be closed in another context than it was opened in, whose variables can't be set back from there. So
    no block is put back: what has ended is left out, wherever it is still listed.
    """

    def __init__(self, name: str) -> None:
        self._listed: ContextVar[tuple[T, ...]] = ContextVar(name, default=())
        self._open: dict[int, T] = {}

    def begin(self, block: T) -> None:
        self._open[id(block)] = block
        self._listed.set((*self.around(), block))

    def end(self, block: T) -> None:
        del self._open[id(block)]
        self._listed.set(self.around())

    def around(self) -> tuple[T, ...]:
        """Those that are open, the outermost first."""
        return tuple(b for b in self._listed.get() if self._open.get(id(b)) is b)
