r"""A second inner loop: rows of numbers that lie anywhere, weighed and added in registers, or spread from there.

    collect   sums[n] += Sum(k, values[k] * x[offsets[k] + n])        n < some vectors, kept in registers
    spread    x[offsets[k] + n] += values[k] * row[n]   for each k    the row is kept in registers

    for k in the list:
        a = values[k] in every lane                       # one number, broadcast
        for v in 0 .. NV-1:
            sums[v] = a * x[offsets[k] + v] + sums[v]     # one load, one fused multiply-add

The micro-kernel (microkernel.py) loads less for each product, because its tile has several rows; it can't leave out
products that are zero. This is for lists of those that aren't.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import device
from .vector import BYTES, _splat

I64 = ir.IntType(64)
BLOCKS = 6, 3, 1  # vectors of 64 bytes that a loop holds: 12 registers of AVX2 at most


@functools.cache
def make(dtype: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`collect` and `spread` for float32 or float64."""
    size = np.dtype(dtype).itemsize
    scalar = ir.FloatType() if size == 4 else ir.DoubleType()
    vector = ir.VectorType(scalar, BYTES // size)

    def loop(vectors: int, spreading: bool) -> Any:
        def load(builder: Any, address: Any, index: int) -> Any:
            at = builder.inttoptr(builder.add(address, I64(index * BYTES)), vector.as_pointer())
            return builder.load(at, align=size)

        def store(builder: Any, value: Any, address: Any, index: int) -> None:
            at = builder.inttoptr(builder.add(address, I64(index * BYTES)), vector.as_pointer())
            builder.store(value, at, align=size)

        def element(builder: Any, table: Any, k: Any, kind: Any, bytes_: int) -> Any:
            at = builder.add(table, builder.mul(k, I64(bytes_)))
            return builder.load(builder.inttoptr(at, kind.as_pointer()), align=bytes_)

        def fused(builder: Any, *args: Any) -> Any:
            name = f"llvm.fmuladd.v{BYTES // size}f{8 * size}"
            found = builder.module.globals.get(name)
            return builder.call(found or ir.Function(builder.module, ir.FunctionType(vector, [vector] * 3), name), args)

        @intrinsic
        def run(typing: Any, values: Any, offsets: Any, n: Any, x: Any, row: Any) -> Any:
            def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
                values, offsets, n, x, row = args
                begin = [load(builder, row, v) for v in range(vectors)]
                before = builder.block
                body, after = builder.append_basic_block("list"), builder.append_basic_block("end")
                builder.branch(body)
                builder.position_at_end(body)  # n is 1 or more
                k = builder.phi(I64)
                kept = begin if spreading else [builder.phi(vector) for _ in begin]
                a = _splat(builder, element(builder, values, k, scalar, size), vector)
                at = builder.add(x, element(builder, offsets, k, I64, 8))
                new = []
                for v in range(vectors):
                    here = load(builder, at, v)
                    if spreading:
                        store(builder, fused(builder, a, kept[v], here), at, v)
                    else:
                        new.append(fused(builder, a, here, kept[v]))
                k_next = builder.add(k, I64(1))
                builder.cbranch(builder.icmp_signed("<", k_next, n), body, after)
                k.add_incoming(I64(0), before)
                k.add_incoming(k_next, body)
                for phi, first, later in zip(kept, begin, new, strict=False):
                    phi.add_incoming(first, before)
                    phi.add_incoming(later, body)
                builder.position_at_end(after)
                for v, total in enumerate(new):
                    store(builder, total, row, v)
                return context.get_dummy_value()

            return types.void(*[types.int64] * 5), generate

        return run

    def whole(spreading: bool) -> Any:
        six, three, one = (loop(vectors, spreading) for vectors in BLOCKS)

        @device
        def run(values, offsets, n, x, row, width):  # type: ignore[no-untyped-def]
            """For a row of `width` bytes, a multiple of 64, and a list of n numbers, 1 or more."""
            q = 0
            while q + 6 * BYTES <= width:
                six(values, offsets, n, x + q, row + q)
                q += 6 * BYTES
            if q + 3 * BYTES <= width:
                three(values, offsets, n, x + q, row + q)
                q += 3 * BYTES
            while q < width:
                one(values, offsets, n, x + q, row + q)
                q += BYTES

        return run

    return whole(False), whole(True)
