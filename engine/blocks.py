"""What is in force for as long as a block lasts, in this thread or async task: a mode, a planted error, a trace.

A generator may be closed in another context than it was opened in (by the garbage collector, by an event loop), or
while a block that began later is still open. From there the variables of the first context can't be set back. So a
block that has ended is left out, wherever it is still found.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Generic, TypeVar

T = TypeVar("T")


class Block(Generic[T]):
    """One block of a setting. value: what holds inside; when the block was left behind, that of the one around it."""

    __slots__ = ("around", "heirs", "left", "value")

    def __init__(self, value: T, around: Block[T] | None) -> None:
        self.value, self.around, self.left = value, around, False
        self.heirs: list[Block[T]] = []  # blocks inside that were left behind: they have this one's value

    def leave(self) -> None:
        assert self.around is not None
        self.left = True
        if self.around.around is not None:  # the outermost one stays as it is
            self.around.heirs.append(self)
        self._take(self.around.value)

    def _take(self, value: T) -> None:
        self.value = value
        for heir in self.heirs:
            heir._take(value)


Begun = tuple[Block[T], Token[Block[T]]]


class Setting(Generic[T]):
    """A value that a block changes for its own length. What is begun inside, such as a task, keeps it."""

    def __init__(self, name: str, value: T) -> None:
        outermost = Block(value, None)
        self._block: ContextVar[Block[T]] = ContextVar(name, default=outermost)
        self.block: Callable[[], Block[T]] = self._block.get  # the innermost; its value is the one in force

    def begin(self, value: T) -> Begun[T]:
        around = self.block()
        while around.left and around.around is not None:
            around = around.around
        block = Block(value, around)
        return block, self._block.set(block)

    def end(self, begun: Begun[T]) -> None:
        block, token = begun
        if self.block() is block:
            try:
                self._block.reset(token)
                return
            except ValueError:  # this is a copy of the context that it began in
                pass
        block.leave()


class Blocks(Generic[T]):
    """The blocks of one kind around the caller; what is begun inside one is without it when it has ended."""

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
