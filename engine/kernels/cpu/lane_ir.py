"""Small words of LLVM: types, memory at an address, loops."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir

I1, I8, I32, I64, F32, F64 = (*map(ir.IntType, (1, 8, 32, 64)), ir.FloatType(), ir.DoubleType())
VOID = ir.VoidType()


def load(b: ir.IRBuilder, address: Any, kind: Any, align: int | None = None) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=align)


def store(b: ir.IRBuilder, value: Any, address: Any, align: int | None = None) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=align)


def merge(b: ir.IRBuilder, *ways: tuple[Any, Any]) -> Any:
    """The value that belongs to the block we come from."""
    value = b.phi(ways[0][0].type)
    for way in ways:
        value.add_incoming(*way)
    return value


class counting:
    """`with counting(b, n, step, (x, dx), ..) as (i, x, ..):` the loop i = 0, step, 2 step .. < n; x grows by dx."""

    def __init__(self, b: ir.IRBuilder, n: Any, step: int, *moving: tuple[Any, Any]) -> None:
        self.b, self.n, self.moving = b, n, ((I64(0), I64(step)), *moving)

    def __enter__(self) -> list[Any]:
        b, before = self.b, self.b.block
        self.head, body, self.end = (b.append_basic_block(s) for s in ("head", "body", "end"))
        b.branch(self.head)
        b.position_at_end(self.head)
        self.now = [merge(b, (x, before)) for x, _ in self.moving]
        b.cbranch(b.icmp_signed("<", self.now[0], self.n), body, self.end)
        b.position_at_end(body)
        return self.now

    def __exit__(self, *_: Any) -> None:
        b = self.b
        for x, (_, dx) in zip(self.now, self.moving, strict=True):
            x.add_incoming(b.add(x, dx), b.block)
        b.branch(self.head)
        b.position_at_end(self.end)


class variable:
    """A number in memory, to be changed in loops."""

    def __init__(self, b: ir.IRBuilder, value: Any) -> None:
        self.b = b
        with b.goto_entry_block():
            self.slot = b.alloca(value.type)
        self.set(value)

    def get(self) -> Any:
        return self.b.load(self.slot)

    def set(self, value: Any) -> None:
        self.b.store(value, self.slot)


@contextlib.contextmanager
def looping(b: ir.IRBuilder, condition: Callable[[], Any]) -> Iterator[None]:
    """`with looping(b, condition):` the body, while the condition holds."""
    head, body, end = (b.append_basic_block(s) for s in ("while", "body", "end"))
    b.branch(head)
    b.position_at_end(head)
    b.cbranch(condition(), body, end)
    b.position_at_end(body)
    yield
    b.branch(head)
    b.position_at_end(end)
