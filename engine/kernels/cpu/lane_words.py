"""Words as LLVM instructions on W numbers side by side: what formulas in SIMD lanes are made of.

Numbers are float32; truth values are a byte in memory and a bit in a lane; integers of any size are there for their
bits alone. Where 24 bits would not do on the way to a result (an angle less its whole turns, the exponent of a power),
`wide` takes numbers to float64 and `narrow` back; a float32 that meets a float64 becomes one. Multiplications and
additions may fuse ("contract"); no other licence is taken, so that infinities, nan and -0 mean what they mean in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from engine.expr import Sym, topological
from engine.formula import Formula

from .lane_ir import F32, F64, I1, I8, I32, I64, counting, load, merge, store

FUSE = ("contract",)
ROUNDER = 12582912.0  # 1.5 * 2**23: adding it rounds a number below 2**22 to a whole one, in its lowest bits
WIDE_ROUNDER = 6755399441055744.0  # 1.5 * 2**52

SPLAT = llvm.llvm_version_info[0] >= 19

Word = Callable[..., Any]  # (lanes, *arguments) -> value


class Same(ir.Constant):
    """One number in every lane; in few letters, where LLVM knows the word."""

    def _get_reference(self) -> str:
        return f"splat ({self.constant[0]})" if SPLAT else str(super()._get_reference())


class Lanes:
    """Writes instructions on W lanes. A value is a vector of float32, of float64 or of bits (truth values)."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder, self.width = builder, width
        self.floats, self.doubles = ir.VectorType(F32, width), ir.VectorType(F64, width)
        self.ints, self.longs = ir.VectorType(I32, width), ir.VectorType(I64, width)
        self.bits, self.bytes = ir.VectorType(I1, width), ir.VectorType(I8, width)

    def constant(self, value: Any, kind: Any = None) -> Any:
        if isinstance(value, bool) and kind is None:
            return Same(self.bits, int(value))
        kind = kind or self.floats
        return Same(kind, float(value))

    def whole(self, value: int, like: Any = None) -> Any:
        kind = self.ints if like is None else like.type
        return Same(kind, value)

    def numbers(self, *xs: Any) -> list[Any]:
        """xs as numbers of one kind: float64 if one of them is, else float32. A truth value counts as 0 or 1."""
        goal = self.doubles if any(getattr(x, "type", None) == self.doubles for x in xs) else self.floats
        return [self._number(x, goal) for x in xs]

    def _number(self, x: Any, goal: Any) -> Any:
        if isinstance(x, (bool, int, float)):
            return self.constant(x, goal)
        if x.type == self.bits:
            return self.builder.select(x, self.constant(1.0, goal), self.constant(0.0, goal))
        return x if x.type == goal else self.builder.fpext(x, goal)

    def truths(self, *xs: Any) -> list[Any]:
        """xs as truth values: a number is true unless it is 0."""
        b = self.builder
        values = [self.constant(bool(x)) if isinstance(x, (bool, int, float)) else x for x in xs]
        return [x if x.type == self.bits else b.fcmp_unordered("!=", x, self.constant(0.0, x.type)) for x in values]

    def beside_truth(self, y: Any, truth: Any, *xs: Any) -> list[Any]:
        """The second a truth value, the others numbers."""
        first, *rest = self.numbers(y, *xs)
        return [first, *self.truths(truth), *rest]

    def as_they_are(self, *xs: Any) -> list[Any]:
        return list(xs)

    def as_ints(self, x: Any) -> Any:
        return self.builder.bitcast(x, self.ints if x.type == self.floats else self.longs)

    def as_floats(self, i: Any) -> Any:
        return self.builder.bitcast(i, self.floats if i.type == self.ints else self.doubles)

    def intrinsic(self, name: str, *args: Any) -> Any:
        kind = args[0].type
        full = f"llvm.{name}.v{self.width}f{32 if kind == self.floats else 64}"
        module = self.builder.module
        known = module.globals.get(full)
        return self.builder.call(known or ir.Function(module, ir.FunctionType(kind, [kind] * len(args)), full), args)

    def write(self, e: Sym, args: Sequence[Any]) -> Any:
        """The value of a node whose arguments have these values."""
        kind, word = WORDS[e.name]
        return word(self, *getattr(self, kind)(*args))


def _unary(name: str) -> Word:
    return lambda v, x: v.intrinsic(name, x)


def _compare(sign: str) -> Word:
    if sign == "!=":
        return lambda v, a, b: v.builder.fcmp_unordered(sign, a, b)
    return lambda v, a, b: v.builder.fcmp_ordered(sign, a, b)


def _extremum(sign: str) -> Word:
    """NumPy's maximum and minimum: a nan on either side wins. `y > x ? y : x`, one instruction, is x where y is nan."""

    def word(v: Lanes, x: Any, y: Any) -> Any:
        b = v.builder
        x, y = (y, x) if isinstance(x, ir.Constant) else (x, y)
        z = b.select(b.fcmp_ordered(sign, y, x), y, x)
        return z if isinstance(y, ir.Constant) else b.select(b.fcmp_unordered("uno", y, y), y, z)

    return word


def _where(v: Lanes, c: Any, a: Any, b: Any) -> Any:
    if not all(isinstance(x, bool) or getattr(x, "type", None) == v.bits for x in (a, b)):
        a, b = v.numbers(a, b)
    else:
        a, b = v.truths(a, b)
    return v.builder.select(v.truths(c)[0], a, b)


def _round(v: Lanes, x: Any) -> Any:
    rounder = v.constant(ROUNDER if x.type == v.floats else WIDE_ROUNDER, x.type)
    return v.builder.fsub(v.builder.fadd(x, rounder, flags=FUSE), rounder)


def _last_bits(v: Lanes, k: Any, plus: int = 0) -> Any:
    """Integers whose lowest bits are those of the whole number k + plus."""
    return v.as_ints(v.builder.fadd(k, v.constant(ROUNDER + plus)))


def _power(v: Lanes, k: Any) -> Any:
    """2^k for whole k, -126 <= k <= 127; 0 for k = -127, inf for 128: the lowest bits of k + 127 are the exponent."""
    return v.as_floats(v.builder.shl(_last_bits(v, k, 127), v.whole(23)))


def _scale(v: Lanes, p: Any, k: Any) -> Any:
    """p 2^k for whole k, -252 <= k <= 254: in two factors, so that it may underflow gradually, and reach infinity."""
    b = v.builder
    i = _last_bits(v, k)
    half = b.ashr(i, v.whole(1))
    for n in (half, b.sub(i, half)):
        p = b.fmul(p, v.as_floats(b.shl(b.add(n, v.whole(127)), v.whole(23))))
    return p


def _above_root_half(v: Lanes, x: Any) -> Any:
    """The bits of x, counted from those of √½."""
    i = v.as_ints(x)
    return v.builder.sub(i, v.whole(0x3F3504F3 if x.type == v.floats else 0x3FE6A09E667F3BCD, i))


def _exponent(v: Lanes, x: Any) -> Any:
    """The whole k for which x / 2^k lies in [√½, √2), as float32."""
    b, i, shift = v.builder, _above_root_half(v, x), 23
    if i.type == v.longs:  # its upper half has all of the exponent
        i, shift = b.trunc(b.lshr(i, v.whole(32, i)), v.ints), 20
    return b.sitofp(b.ashr(i, v.whole(shift)), v.floats)


def _mantissa(v: Lanes, x: Any) -> Any:
    b, i = v.builder, _above_root_half(v, x)
    fraction, root = (0x7FFFFF, 0x3F3504F3) if x.type == v.floats else ((1 << 52) - 1, 0x3FE6A09E667F3BCD)
    return v.as_floats(b.add(b.and_(i, v.whole(fraction, i)), v.whole(root, i)))


def _odd(v: Lanes, k: Any) -> Any:
    b = v.builder
    return b.icmp_signed("<", b.shl(_last_bits(v, k), v.whole(31)), v.whole(0))


def _turned(v: Lanes, x: Any, k: Any) -> Any:
    """x, with its sign changed where k is 2 or 3 more than a multiple of 4."""
    b = v.builder
    sign = b.and_(b.shl(_last_bits(v, k), v.whole(30)), v.whole(-(1 << 31)))
    return v.as_floats(b.xor(v.as_ints(x), sign))


def _times_sign(v: Lanes, x: Any, y: Any) -> Any:
    b = v.builder
    return v.as_floats(b.xor(v.as_ints(x), b.and_(v.as_ints(y), v.whole(-(1 << 31)))))


def _neighbour(v: Lanes, x: Any, larger: Any) -> Any:
    """The next float32 of larger or smaller size."""
    b = v.builder
    return v.as_floats(b.add(v.as_ints(x), b.select(larger, v.whole(1), v.whole(-1))))


def _in_few_lanes(f: Callable[..., Any]) -> Word:
    """(y, needed, *xs): y, but in the few lanes where `needed`, one by one, what `f` makes of the numbers xs."""

    def word(v: Lanes, y: Any, needed: Any, *xs: Any) -> Any:
        b = v.builder
        with b.goto_entry_block():
            places = [b.ptrtoint(b.alloca(x.type), I64) for x in (y, *xs)] + [b.ptrtoint(b.alloca(v.bytes), I64)]
        straight = b.block
        with b.if_then(_any(v, needed), likely=False):
            for x, place in zip((y, *xs, b.zext(needed, v.bytes)), places, strict=True):
                store(b, x, place)
            moving = [(place, I64(4)) for place in places[:-1]] + [(places[-1], I64(1))]
            with (
                counting(b, I64(v.width), 1, *moving) as (_, at_y, *at_xs, at_needed),
                b.if_then(b.trunc(load(b, at_needed, I8), I1)),
            ):
                store(b, b.fptrunc(f(b, *(b.fpext(load(b, at, F32), F64) for at in at_xs)), F32), at_y)
            done, detour = load(b, places[0], y.type), b.block
        return merge(b, (y, straight), (done, detour))

    return word


def _any(v: Lanes, bits: Any) -> Any:
    name = f"llvm.vector.reduce.or.v{v.width}i1"
    known = v.builder.module.globals.get(name)
    return v.builder.call(known or ir.Function(v.builder.module, ir.FunctionType(I1, [v.bits]), name), [bits])


def _libm(name: str) -> Callable[..., Any]:
    def call(b: ir.IRBuilder, x: Any) -> Any:
        full = f"llvm.{name}.f64"
        return b.call(b.module.globals.get(full) or ir.Function(b.module, ir.FunctionType(F64, [F64]), full), [x])

    return call


def _inside(v: Lanes, n: Any) -> tuple[Any, Any]:
    """Is 0 <= n < the number of bits, and that number less 1?"""
    bits = n.type.element.width
    return v.builder.icmp_unsigned("<", n, v.whole(bits, n)), v.whole(bits - 1, n)


def _shift_left(v: Lanes, a: Any, n: Any) -> Any:
    return v.builder.select(_inside(v, n)[0], v.builder.shl(a, n), v.whole(0, a))


def _shift_right(v: Lanes, a: Any, n: Any) -> Any:
    """Copies of the sign come in; beyond all bits, as for n < 0 in NumPy, they are all that is left."""
    inside, most = _inside(v, n)
    return v.builder.ashr(a, v.builder.select(inside, n, most))


# word -> (what its arguments are taken as, its instructions)
WORDS: dict[str, tuple[str, Word]] = {
    "add": ("numbers", lambda v, a, b: v.builder.fadd(a, b, flags=FUSE)),
    "subtract": ("numbers", lambda v, a, b: v.builder.fsub(a, b, flags=FUSE)),
    "multiply": ("numbers", lambda v, a, b: v.builder.fmul(a, b, flags=FUSE)),
    "divide": ("numbers", lambda v, a, b: v.builder.fdiv(a, b)),
    "negative": ("numbers", lambda v, x: v.builder.fneg(x)),
    "abs": ("numbers", _unary("fabs")),
    "sqrt": ("numbers", _unary("sqrt")),
    "floor": ("numbers", _unary("floor")),
    "ceil": ("numbers", _unary("ceil")),
    "trunc": ("numbers", _unary("trunc")),
    "round": ("numbers", _unary("rint")),
    "copysign": ("numbers", lambda v, a, b: v.intrinsic("copysign", a, b)),
    "maximum": ("numbers", _extremum(">")),
    "minimum": ("numbers", _extremum("<")),
    "less": ("numbers", _compare("<")),
    "less_equal": ("numbers", _compare("<=")),
    "greater": ("numbers", _compare(">")),
    "greater_equal": ("numbers", _compare(">=")),
    "equal": ("numbers", _compare("==")),
    "not_equal": ("numbers", _compare("!=")),
    "logical_not": ("truths", lambda v, x: v.builder.not_(x)),
    "logical_and": ("truths", lambda v, a, b: v.builder.and_(a, b)),
    "logical_or": ("truths", lambda v, a, b: v.builder.or_(a, b)),
    "logical_xor": ("truths", lambda v, a, b: v.builder.xor(a, b)),
    "where": ("as_they_are", _where),
    "bitwise_invert": ("as_they_are", lambda v, a: v.builder.not_(a)),
    "bitwise_and": ("as_they_are", lambda v, a, b: v.builder.and_(a, b)),
    "bitwise_or": ("as_they_are", lambda v, a, b: v.builder.or_(a, b)),
    "bitwise_xor": ("as_they_are", lambda v, a, b: v.builder.xor(a, b)),
    "bitwise_left_shift": ("as_they_are", _shift_left),
    "bitwise_right_shift": ("as_they_are", _shift_right),
    # Words that only lane mathematics uses; lane_math.py says what they mean.
    "lane.fma": ("numbers", lambda v, a, b, c: v.intrinsic("fmuladd", a, b, c)),
    "lane.nearest": ("numbers", _round),
    "lane.power": ("numbers", _power),
    "lane.scale": ("numbers", _scale),
    "lane.exponent": ("numbers", _exponent),
    "lane.mantissa": ("numbers", _mantissa),
    "lane.fused": ("numbers", lambda v, a, b, c: v.intrinsic("fma", a, b, c)),
    "lane.wide": ("numbers", lambda v, x: v.builder.fpext(x, v.doubles)),
    "lane.narrow": ("numbers", lambda v, x: v.builder.fptrunc(x, v.floats)),
    "lane.odd": ("numbers", _odd),
    "lane.turned": ("numbers", _turned),
    "lane.times_sign": ("numbers", _times_sign),
    "lane.neighbour": ("beside_truth", _neighbour),
    "lane.signbit": ("numbers", lambda v, x: v.builder.icmp_signed("<", v.as_ints(x), v.whole(0))),
    "lane.far_sin": ("beside_truth", _in_few_lanes(_libm("sin"))),
    "lane.far_cos": ("beside_truth", _in_few_lanes(_libm("cos"))),
    "lane.far_tan": ("beside_truth", _in_few_lanes(_libm("tan"))),
    "lane.far_fmod": ("beside_truth", _in_few_lanes(lambda b, x, y: b.frem(x, y))),
}

LIBM = {f"lane.far_{name}": name for name in ("sin", "cos", "tan", "fmod")}  # what they take from the C library
LIBM["lane.fused"] = "fmaf"  # on a processor that can't
BOOLEAN = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "lane.signbit", "lane.odd"}

BOOLEAN |= {"logical_not", "logical_and", "logical_or", "logical_xor"}
SHIFTS = {"bitwise_left_shift", "bitwise_right_shift"}
BITWISE = {"bitwise_invert", "bitwise_and", "bitwise_or", "bitwise_xor"} | SHIFTS


def compute(lanes: Lanes, formula: Formula, inputs: dict[str, Any]) -> list[Any]:
    """Write the formula; its results, given the values of its inputs."""
    values: dict[Sym, Any] = {}
    for e in topological(formula.outs):
        if e.name == "var":
            values[e] = inputs[e.args[0]]
        elif e.name == "const":
            values[e] = e.args[0]
        else:
            values[e] = lanes.write(e, [values[a] for a in e.args])
    results = [values[e] for e in formula.outs]
    return [lanes.constant(y) if isinstance(y, (bool, int, float)) else y for y in results]
