"""A row of numbers, computed in SIMD lanes: the loop around the instructions of a formula.

    span(module, name, ...)    void name(args, steps, start, n): the elements start .. start + n of a row of numbers

`args` holds an address for each operand, inputs first, and `steps` the bytes from one element to the next, as NumPy's
own loops have them. Vectors are read and written where they lie:

    while numbers are left:
        if the operands lie in rows, and a vector's worth is left: as many whole vectors as there are, in place
        else: one vector, by way of side buffers
        for each vector: read, compute, write

A number that is broadcast (a step of 0) fills its side buffer once. So every element meets the same instructions
wherever it lies, and gets the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from engine.formula import Formula

from .lane_ir import F32, I1, I64, counting, load, looping, store, variable
from .lane_words import Lanes, compute
from .lanes import kinds_of


class Operand:
    """An array of the call: where it lies, its step, and the side buffer that stands in for it."""

    def __init__(self, b: ir.IRBuilder, lanes: Lanes, j: int, kind: str) -> None:
        self.lanes, self.j, self.truth, self.item = lanes, j, kind == "?", np.dtype(kind).itemsize
        self.memory = F32 if kind == "f" else ir.IntType(8 * self.item)
        self.vector = ir.VectorType(self.memory, lanes.width)
        memory = b.alloca(self.vector)
        memory.align = 64
        self.buffer = b.ptrtoint(memory, I64)

    def open(self, b: ir.IRBuilder, args: Any, steps: Any, start: Any) -> None:
        self.step = load(b, b.add(steps, I64(8 * self.j)), I64)
        self.first = b.add(load(b, b.add(args, I64(8 * self.j)), I64), b.mul(self.step, start))
        self.broadcast = b.icmp_signed("==", self.step, I64(0))
        self.in_row = b.icmp_signed("==", self.step, I64(self.item))

    def copy_in(self, b: ir.IRBuilder, address: Any, count: Any) -> None:
        self._copy(b, address, self.step, self.buffer, I64(self.item), count)

    def copy_out(self, b: ir.IRBuilder, address: Any, count: Any) -> None:
        self._copy(b, self.buffer, I64(self.item), address, self.step, count)

    def _copy(self, b: ir.IRBuilder, *words: Any) -> None:
        name = f"lane_copy_{self.memory}"
        b.call(b.module.globals.get(name) or _copier(b.module, name, self.memory), words)

    def read(self, b: ir.IRBuilder, address: Any) -> Any:
        x = load(b, address, self.vector, self.item)
        return b.icmp_unsigned("!=", x, self.lanes.whole(0, x)) if self.truth else x

    def write(self, b: ir.IRBuilder, value: Any, address: Any) -> None:
        store(b, b.zext(value, self.vector) if self.truth else value, address, self.item)


def span(module: ir.Module, name: str, formula: Formula, kinds: Sequence[str], width: int) -> None:
    """Add `void name(i64 args, i64 steps, i64 start, i64 n)` to the module; `kinds`: what the inputs are."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 4), name)
    args, steps, start, n = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    lanes = Lanes(b, width)
    inputs = [Operand(b, lanes, j, kind) for j, kind in enumerate(kinds)]
    outputs = [Operand(b, lanes, len(inputs) + j, kind) for j, kind in enumerate(kinds_of(formula, kinds))]
    operands = inputs + outputs
    for o in operands:
        o.open(b, args, steps, start)
    scattered = I1(0)  # is any operand neither in a row nor one number?
    for o in operands:
        scattered = b.or_(scattered, b.not_(o.in_row if o in outputs else b.or_(o.in_row, o.broadcast)))
    with b.if_then(b.icmp_signed(">", n, I64(0))):
        for o in inputs:
            with b.if_then(o.broadcast):
                o.copy_in(b, o.first, I64(width))
    starts = [b.select(o.broadcast, o.buffer, o.first) if o in inputs else o.first for o in operands]
    i, places = variable(b, I64(0)), [variable(b, place) for place in starts]
    with looping(b, lambda: b.icmp_signed("<", i.get(), n)):
        rest = b.sub(n, i.get())
        short = b.icmp_signed("<", rest, I64(width))
        aside = b.or_(scattered, short)
        count = b.select(aside, b.select(short, rest, I64(width)), b.and_(rest, I64(-width)))
        with b.if_then(aside, likely=False):
            for o, place in zip(inputs, places, strict=False):
                with b.if_then(b.not_(o.broadcast)):
                    o.copy_in(b, place.get(), count)
        moving = [
            (b.select(aside, o.buffer, place.get()), b.mul(o.step, I64(width)))
            for o, place in zip(operands, places, strict=True)
        ]
        with counting(b, count, width, *moving) as (_, *at):
            values = {name: o.read(b, p) for name, o, p in zip(formula.inputs, inputs, at, strict=False)}
            results = compute(lanes, formula, values)
            for o, value, p in zip(outputs, results, at[len(inputs) :], strict=True):
                o.write(b, value, p)
        with b.if_then(aside, likely=False):
            for o, place in zip(outputs, places[len(inputs) :], strict=True):
                o.copy_out(b, place.get(), count)
        i.set(b.add(i.get(), count))
        for o, place in zip(operands, places, strict=True):
            place.set(b.add(place.get(), b.mul(o.step, count)))
    b.ret_void()


def _copier(module: ir.Module, name: str, memory: Any) -> ir.Function:
    """`void name(source, its step, target, its step, count)`: one number after the other."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 5), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    source, source_step, target, target_step, count = function.args
    with counting(b, count, 1, (source, source_step), (target, target_step)) as (_, here, there):
        store(b, load(b, here, memory), there)
    b.ret_void()
    return function
