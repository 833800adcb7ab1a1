"""The short way into a formula's machine code: arrays of one shape, and numbers.

NumPy's way through a ufunc takes half a microsecond: which loop, which axes first, does anything overlap, which marks
did arithmetic leave? For small arrays that lie in rows, all of one shape, none of this is a question:

    for each input:
        an array of the expected dtype:    its address, and its step (0 if it has no axes)
        a Python number:                   rounded and put aside, step 0
        anything else:                     decline: NotImplemented
    if some are large:                     see `lane_large.py`
    if all lie in rows and have one shape: make the result, and run the span over it
    else:                                  let the ufunc do it all

In rows: in C order and aligned. An array without axes goes with any shape, as a number does; where there is no array
at all, it declines. Whoever is declined goes the general way (`ElementwiseOp._unusual`).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from . import buffers
from .lane_ir import F32, F64, I1, I32, I64, counting, load, store, variable
from .lane_loop import call, enter, leave
from .lane_ufunc import Lanes, team_words
from .objects import (
    AXES,
    DATA,
    DTYPE,
    EMPTY,
    FLAGS,
    HEAD,
    IN_A_ROW,
    SHAPE,
    TYPE,
    as_expected,
    builtin,
    immortal,
    python,
    table,
)

MOST = 8  # inputs
LARGEST, EXACT = float(np.finfo(np.float32).max), 1 << 24  # numbers up to here are rounded here as NumPy does it

WORDS = (  # what the machine code is told of a formula
    "ufunc", "result dtype", "ndarray", "float", "int", "declined",  # objects; declined: NotImplemented
    "span", "loop", "rows",  # the formula's machine code, see `lane_loop`, `lane_rows`
    "make", "call", "keep", "whole", "let_go", "take_back",  # functions of NumPy and Python, see `entry`
    "data", "stock", "team", "large",  # words of the loop, of `buffers`, of `lane_ufunc`, of `_large`
    "flush",  # do subnormal numbers count as 0?
    "given", "read",  # how many arguments, and how many of them are inputs
    "below", "result step",  # elements from which an array is large; bytes of an element
)  # fmt: skip
SEVERAL = 64  # times `below`: arrays of several shapes whose sizes multiply to more may have a large result
PLENTY = 1 << 32  # where the product of sizes stops growing: times one that is not large it still fits into a word
READ = 4  # words about each input that is read: its place among the given in bytes, dtype, step; a number, too?


# ------------------------------------------------------------------------------------------------------ in machine code
def entries(module: ir.Module) -> None:
    """Add `object lane_entry(block, inputs, count)`, a METH_FASTCALL function of C.

    `block` is an array of whole numbers: `WORDS`, then `READ` words for each input that is read.
    """
    function = ir.Function(module, ir.FunctionType(I64, [I64] * 3), "lane_entry")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    block, given, count = function.args
    objects, places, steps, numbers = (b.ptrtoint(b.alloca(ir.ArrayType(I64, MOST + 1)), I64) for _ in range(4))
    overflow = b.alloca(I32)
    words_at = load(b, b.add(block, I64(DATA)), I64)
    word = {name: load(b, b.add(words_at, I64(8 * k)), I64) for k, name in enumerate(WORDS)}
    kinds = b.add(words_at, I64(8 * len(WORDS)))
    axes, shape, n = variable(b, I32(0)), variable(b, I64(0)), variable(b, I64(1))  # of the first array with axes
    # all in rows and of one shape? is there any array? a large one? the product of their sizes, up to PLENTY
    alike, arrays, large, most = variable(b, I1(1)), variable(b, I1(0)), variable(b, I1(0)), variable(b, I64(1))
    numbered, real = variable(b, I1(0)), variable(b, I1(0))  # is there a number? an array of what a number becomes?
    decline = function.append_basic_block("decline")

    def need(condition: Any) -> None:
        """Decline unless it holds."""
        on = b.append_basic_block("on")
        b.cbranch(condition, on, decline)
        b.position_at_end(on)

    def take_array(x: Any, kind: Any, place: Any, step: Any) -> None:
        need(b.icmp_unsigned("==", load(b, b.add(x, I64(DTYPE)), I64), load(b, b.add(kind, I64(8)), I64)))
        in_a_row = b.icmp_unsigned("==", b.and_(load(b, b.add(x, I64(FLAGS)), I32), I32(IN_A_ROW)), I32(IN_A_ROW))
        alike.set(b.and_(alike.get(), in_a_row))
        arrays.set(I1(1))
        real.set(b.or_(real.get(), b.icmp_signed("!=", load(b, b.add(kind, I64(24)), I64), I64(0))))
        store(b, load(b, b.add(x, I64(DATA)), I64), place)
        its_axes, its_shape = load(b, b.add(x, I64(AXES)), I32), load(b, b.add(x, I64(SHAPE)), I64)
        size = variable(b, I64(1))
        with counting(b, b.sext(its_axes, I64), 1, (its_shape, I64(8))) as (_, side):
            size.set(b.mul(size.get(), load(b, side, I64)))
        large.set(b.or_(large.get(), b.icmp_unsigned(">=", size.get(), word["below"])))
        product = b.mul(most.get(), size.get())
        most.set(b.select(b.icmp_unsigned("<", product, I64(PLENTY)), product, I64(PLENTY)))
        with b.if_else(b.icmp_signed("==", its_axes, I32(0))) as (point, row):
            with point:
                store(b, I64(0), step)
            with row:
                store(b, load(b, b.add(kind, I64(16)), I64), step)
                with b.if_else(b.icmp_signed("==", axes.get(), I32(0))) as (first, later):
                    with first:
                        axes.set(its_axes)
                        shape.set(its_shape)
                        n.set(size.get())
                    with later:
                        as_many = b.icmp_signed("==", axes.get(), its_axes)
                        alike.set(b.and_(alike.get(), as_many))
                        count = b.select(as_many, b.sext(its_axes, I64), I64(0))
                        sides = (shape.get(), I64(8)), (its_shape, I64(8))
                        with counting(b, count, 1, *sides) as (_, one, other):
                            equal = b.icmp_signed("==", load(b, one, I64), load(b, other, I64))
                            alike.set(b.and_(alike.get(), equal))

    def take_number(x: Any, its_type: Any, kind: Any, number: Any) -> None:
        need(b.icmp_signed("!=", load(b, b.add(kind, I64(24)), I64), I64(0)))
        numbered.set(I1(1))
        with b.if_else(b.icmp_unsigned("==", its_type, word["float"])) as (broken, whole):
            with broken:
                value = load(b, b.add(x, I64(HEAD)), F64)
                beyond = b.or_(b.fcmp_ordered(">", value, F64(LARGEST)), b.fcmp_ordered("<", value, F64(-LARGEST)))
                infinite = b.or_(*(b.fcmp_ordered("==", value, F64(end)) for end in (math.inf, -math.inf)))
                need(b.or_(b.not_(beyond), infinite))
                store(b, b.fptrunc(value, F32), number)
            with whole:
                need(b.icmp_unsigned("==", its_type, word["int"]))
                value = call(b, word["whole"], [x, overflow], I64)
                need(b.icmp_signed("==", b.load(overflow), I32(0)))
                need(b.icmp_unsigned("<=", b.add(value, I64(EXACT)), I64(2 * EXACT)))
                store(b, b.sitofp(value, F32), number)

    need(b.icmp_signed("==", count, word["given"]))
    moving = (kinds, I64(8 * READ)), *((slots, I64(8)) for slots in (objects, places, steps, numbers))
    with counting(b, word["read"], 1, *moving) as (_, kind, here, place, step, number):
        x = load(b, b.add(given, load(b, kind, I64)), I64)
        store(b, x, here)
        its_type = load(b, b.add(x, I64(TYPE)), I64)
        with b.if_else(b.icmp_unsigned("==", its_type, word["ndarray"])) as (array, other):
            with array:
                take_array(x, kind, place, step)
            with other:
                store(b, number, place)
                store(b, I64(0), step)
                take_number(x, its_type, kind, number)
    need(arrays.get())
    many = b.icmp_unsigned(">=", most.get(), b.mul(word["below"], I64(SEVERAL)))
    with b.if_then(b.or_(large.get(), b.and_(b.not_(alike.get()), many)), likely=False):
        compute = load(b, word["large"], I64)
        need(b.icmp_unsigned("!=", compute, I64(0)))
        b.ret(call(b, compute, [words_at, objects, places], I64))
    with b.if_then(b.not_(alike.get()), likely=False):
        need(b.icmp_signed("!=", axes.get(), I32(0)))
        need(b.or_(b.not_(numbered.get()), real.get()))  # else NumPy makes 64 bits of the number
        b.ret(call(b, word["call"], [word["ufunc"], objects, word["read"], I64(0)], I64))

    call(b, word["keep"], [word["result dtype"]])  # the array that is made owns a reference to it
    result = call(b, word["make"], [axes.get(), shape.get(), word["result dtype"], I32(0)], I64)
    with b.if_then(b.icmp_unsigned("==", result, I64(0)), likely=False):
        b.ret(result)  # no memory: the exception is set
    last = b.mul(word["read"], I64(8))
    store(b, load(b, b.add(result, I64(DATA)), I64), b.add(places, last))
    store(b, word["result step"], b.add(steps, last))
    state = enter(b, word["flush"])
    call(b, word["span"], [places, steps, I64(0), n.get()])
    leave(b, state)
    b.ret(result)

    b.position_at_end(decline)
    call(b, word["keep"], [word["declined"]])
    b.ret(word["declined"])


# ----------------------------------------------------------------------------------------------------------- in Python
def entry(
    run: Any, lanes: Lanes, kinds: str, result: str, codes: tuple[int, int], below: int, given: int, read: Sequence[int]
) -> Callable[..., Any] | None:
    """A function of `given` arguments that computes `run`, a ufunc, of those that it reads.

    It declines (NotImplemented) unless these are arrays of `kinds`, small (fewer than `below` elements) or rows, and
    Python numbers in place of "f". read: places of the inputs among the `given`; codes: the addresses of `lane_entry`
    and `lane_rows`. None where it is not known how objects lie in memory. The function raises ValueError where shapes
    don't broadcast.
    """
    if len(kinds) > MOST or not as_expected():
        return None
    dtypes, made = [np.dtype(kind) for kind in kinds], np.dtype(result)
    words = {
        **lanes._asdict(), "given": given, "read": len(read), "below": below, "result step": made.itemsize,
        "ufunc": id(run), "result dtype": id(made), "declined": id(NotImplemented),
        "ndarray": id(np.ndarray), "float": id(float), "int": id(int),
        "rows": codes[1], "large": ctypes.addressof(_large), "stock": ctypes.addressof(buffers.stock),
        "team": ctypes.addressof(team_words),
        "make": table()[EMPTY], "call": python("PyObject_Vectorcall"), "keep": python("Py_IncRef"),
        "whole": python("PyLong_AsLongLongAndOverflow"),
        "let_go": python("PyEval_SaveThread"), "take_back": python("PyEval_RestoreThread"),
    }  # fmt: skip
    block = [words[name] for name in WORDS]
    for place, dtype in zip(read, dtypes, strict=True):
        block += [8 * place, id(dtype), dtype.itemsize, dtype.char == "f"]
    told = np.array(block, np.int64)
    immortal((run, dtypes, made))  # it borrows what it is told of
    return builtin(codes[0], told)


_large = ctypes.c_int64(0)  # the address of `lane_large.compute`, once it is there


@functools.cache
def prepare_large() -> None:
    """Until this was called, large arrays are declined."""
    buffers.prepare()
    if buffers.stock[buffers.MAKE]:
        _large.value = importlib.import_module(".lane_large", __package__).compute.address
