"""A formula as SIMD machine code: LLVM instructions on vectors of W float32 numbers, one vector at a time.

    lower(formula)             the formula in words that have instructions (`WORDS`), or None if it has no such form
    span(module, name, ...)    void name(args, steps, start, n): the elements start .. start + n of a row of numbers

`args` holds an address for each operand, inputs first, and `steps` the bytes from one element to the next, as NumPy's
own loops have them. A vector is read where it lies if its elements are neighbours. Else it goes through a side buffer:
filled once if the step is 0 (a broadcast number), element by element if the step is any other, and for the last few
elements of a row. So every element meets the same instructions wherever it lies, and gets the same bits.

Numbers are float32; truth values are a byte in memory and a bit in a lane. Multiplications and additions may fuse
("contract"); no other licence is taken, so that infinities, nan and -0 mean what they mean in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from engine.expr import ATOMS, Sym, call_with_params, inputs_of, rewrite, topological
from engine.formula import Formula

from .lane_math import FORMULAS

I1, I8, I32, I64, F32 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
FUSE = ("contract",)
ROUNDER = 12582912.0  # 1.5 * 2**23: adding it rounds a number below 2**22 to a whole one, in its lowest bits


# --- which words -----------------------------------------------------------------------------------------------------


def lower(formula: Formula) -> Formula | None:
    """The same formula in `WORDS` only: ops with lane mathematics become it, ops made of others become those."""

    def rule(name: str, args: tuple[Any, ...]) -> Any:
        if name in ("var", "const") or name in WORDS:
            return None
        if name in FORMULAS:
            return FORMULAS[name](*args)
        atom = ATOMS[name]
        expansion = atom.forward or (None if atom.numpy else atom.definition)
        if expansion is None:  # a primitive that only NumPy knows
            raise LookupError(name)
        return call_with_params(expansion, atom, inputs_of(atom, args), args)

    outs = list(formula.outs)
    try:
        while True:
            lowered = rewrite(outs, rule)
            if all(a is b for a, b in zip(lowered, outs, strict=True)):
                return Formula(formula.inputs, tuple(outs), formula.params)
            outs = lowered
    except LookupError:
        return None


Word = Callable[..., Any]  # (lanes, *arguments) -> value


# --- words as instructions -------------------------------------------------------------------------------------------


class Lanes:
    """Writes instructions on W lanes. A value is a vector of float32, or of bits (truth values)."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder, self.width = builder, width
        self.floats, self.ints = ir.VectorType(F32, width), ir.VectorType(I32, width)
        self.bits, self.bytes = ir.VectorType(I1, width), ir.VectorType(I8, width)

    def constant(self, value: Any) -> Any:
        if isinstance(value, bool):
            return ir.Constant(self.bits, [int(value)] * self.width)
        return ir.Constant(self.floats, [ir.Constant(F32, float(value))] * self.width)

    def whole(self, value: int) -> Any:
        return ir.Constant(self.ints, [value] * self.width)

    def number(self, x: Any) -> Any:
        """x as float32: a truth value counts as 0 or 1."""
        return x if x.type == self.floats else self.builder.select(x, self.constant(1.0), self.constant(0.0))

    def truth(self, x: Any) -> Any:
        """x as a truth value: a number is true unless it is 0."""
        return x if x.type == self.bits else self.builder.fcmp_unordered("!=", x, self.constant(0.0))

    def as_ints(self, x: Any) -> Any:
        return self.builder.bitcast(x, self.ints)

    def as_floats(self, i: Any) -> Any:
        return self.builder.bitcast(i, self.floats)

    def intrinsic(self, name: str, *args: Any) -> Any:
        full = f"llvm.{name}.v{self.width}f32"
        kind = ir.FunctionType(self.floats, [self.floats] * len(args))
        module = self.builder.module
        return self.builder.call(module.globals.get(full) or ir.Function(module, kind, full), args)

    def write(self, e: Sym, args: Sequence[Any]) -> Any:
        """The value of a node whose arguments have these values."""
        kind, word = WORDS[e.name]
        return word(self, *map(getattr(self, kind) if kind else lambda x: x, args))


def _unary(name: str) -> Word:
    return lambda v, x: v.intrinsic(name, x)


def _compare(sign: str) -> Word:
    if sign == "!=":
        return lambda v, a, b: v.builder.fcmp_unordered(sign, a, b)
    return lambda v, a, b: v.builder.fcmp_ordered(sign, a, b)


def _extremum(sign: str) -> Word:
    """NumPy's maximum and minimum: a nan on either side wins."""

    def word(v: Lanes, x: Any, y: Any) -> Any:
        b = v.builder
        if isinstance(y, ir.Constant):  # one comparison will do: "unordered" is true of nan
            return b.select(b.fcmp_unordered(sign, x, y), x, y)
        return b.select(b.or_(b.fcmp_ordered(sign, x, y), b.fcmp_unordered("!=", x, x)), x, y)

    return word


def _where(v: Lanes, c: Any, a: Any, b: Any) -> Any:
    if a.type != b.type:
        a, b = v.number(a), v.number(b)
    return v.builder.select(v.truth(c), a, b)


def _power(v: Lanes, k: Any) -> Any:
    """2^k for whole k, -126 <= k <= 127: added to ROUNDER, k + 127 is in the lowest bits, which become the exponent."""
    b = v.builder
    return v.as_floats(b.shl(v.as_ints(b.fadd(k, v.constant(ROUNDER + 127))), v.whole(23)))


def _scale(v: Lanes, p: Any, k: Any) -> Any:
    """p 2^k for whole k, -252 <= k <= 254: in two factors, so that it may underflow gradually, and reach infinity."""
    b = v.builder
    i = v.as_ints(b.fadd(k, v.constant(ROUNDER)))
    half = b.ashr(i, v.whole(1))
    for n in (half, b.sub(i, half)):
        p = b.fmul(p, v.as_floats(b.shl(b.add(n, v.whole(127)), v.whole(23))))
    return p


def _exponent(v: Lanes, x: Any) -> Any:
    """The whole k for which x / 2^k lies in [√½, √2)."""
    b = v.builder
    return b.ashr(b.sub(v.as_ints(x), v.whole(0x3F3504F3)), v.whole(23))


def _mantissa(v: Lanes, x: Any) -> Any:
    b = v.builder
    return v.as_floats(b.sub(v.as_ints(x), b.shl(_exponent(v, x), v.whole(23))))


# word -> (what its arguments are taken as, its instructions)
WORDS: dict[str, tuple[str, Word]] = {
    "add": ("number", lambda v, a, b: v.builder.fadd(a, b, flags=FUSE)),
    "subtract": ("number", lambda v, a, b: v.builder.fsub(a, b, flags=FUSE)),
    "multiply": ("number", lambda v, a, b: v.builder.fmul(a, b, flags=FUSE)),
    "divide": ("number", lambda v, a, b: v.builder.fdiv(a, b)),
    "negative": ("number", lambda v, x: v.builder.fneg(x)),
    "abs": ("number", _unary("fabs")),
    "sqrt": ("number", _unary("sqrt")),
    "floor": ("number", _unary("floor")),
    "ceil": ("number", _unary("ceil")),
    "trunc": ("number", _unary("trunc")),
    "round": ("number", _unary("rint")),
    "copysign": ("number", lambda v, a, b: v.intrinsic("copysign", a, b)),
    "maximum": ("number", _extremum(">")),
    "minimum": ("number", _extremum("<")),
    "less": ("number", _compare("<")),
    "less_equal": ("number", _compare("<=")),
    "greater": ("number", _compare(">")),
    "greater_equal": ("number", _compare(">=")),
    "equal": ("number", _compare("==")),
    "not_equal": ("number", _compare("!=")),
    "logical_not": ("truth", lambda v, x: v.builder.not_(x)),
    "logical_and": ("truth", lambda v, a, b: v.builder.and_(a, b)),
    "logical_or": ("truth", lambda v, a, b: v.builder.or_(a, b)),
    "logical_xor": ("truth", lambda v, a, b: v.builder.xor(a, b)),
    "where": ("", _where),
    # Words that only lane mathematics uses.
    "lane.fma": ("", lambda v, a, b, c: v.intrinsic("fmuladd", a, b, c)),
    "lane.nearest": ("", lambda v, x: v.builder.fsub(v.builder.fadd(x, v.constant(ROUNDER)), v.constant(ROUNDER))),
    "lane.power": ("", _power),
    "lane.scale": ("", _scale),
    "lane.exponent": ("", lambda v, x: v.builder.sitofp(_exponent(v, x), v.floats)),
    "lane.mantissa": ("", _mantissa),
    "lane.head": ("", lambda v, x: v.as_floats(v.builder.and_(v.as_ints(x), v.whole(-4096)))),
    "lane.signbit": ("", lambda v, x: v.builder.icmp_signed("<", v.as_ints(x), v.whole(0))),
}

BOOLEAN = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "lane.signbit"}
BOOLEAN |= {"logical_not", "logical_and", "logical_or", "logical_xor"}


# --- a row of numbers ------------------------------------------------------------------------------------------------


class Operand:
    """An array of the call: where it lies, its step, and the side buffer that stands in for it."""

    def __init__(self, b: ir.IRBuilder, lanes: Lanes, j: int, truth: bool) -> None:
        self.lanes, self.j, self.memory = lanes, j, I8 if truth else F32
        self.vector = lanes.bytes if truth else lanes.floats
        self.item = 1 if truth else 4
        memory = b.alloca(self.vector)
        memory.align = 64
        self.buffer = b.ptrtoint(memory, I64)

    def open(self, b: ir.IRBuilder, args: Any, steps: Any, start: Any) -> None:
        self.step = load(b, b.add(steps, I64(8 * self.j)), I64)
        self.first = b.add(load(b, b.add(args, I64(8 * self.j)), I64), b.mul(self.step, start))
        self.broadcast = b.icmp_signed("==", self.step, I64(0))
        self.in_row = b.icmp_signed("==", self.step, I64(self.item))

    def splat(self, b: ir.IRBuilder) -> None:
        """Fill the side buffer with the one number."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = b.insert_element(undefined, load(b, self.first, self.memory), I32(0))
        zeros = ir.Constant(self.lanes.ints, [0] * self.lanes.width)
        store(b, b.shuffle_vector(one, undefined, zeros), self.buffer, self.item)

    def copy(self, b: ir.IRBuilder, address: Any, count: Any, inwards: bool) -> None:
        """`count` elements from the array at `address` to the side buffer, or back."""
        with counting(b, count, 1, (address, self.step), (self.buffer, I64(self.item))) as (_, there, here):
            source, target = (there, here) if inwards else (here, there)
            store(b, load(b, source, self.memory), target, self.item)

    def read(self, b: ir.IRBuilder, address: Any) -> Any:
        x = load(b, address, self.vector, self.item)
        if self.vector == self.lanes.floats:
            return x
        return b.icmp_unsigned("!=", x, ir.Constant(self.vector, [0] * self.lanes.width))

    def write(self, b: ir.IRBuilder, value: Any, address: Any) -> None:
        store(b, value if value.type == self.lanes.floats else b.zext(value, self.lanes.bytes), address, self.item)


def span(module: ir.Module, name: str, formula: Formula, truths: Sequence[bool], width: int) -> None:
    """Add `void name(i64 args, i64 steps, i64 start, i64 n)` to the module; `truths`: which inputs are truth values."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 4), name)
    args, steps, start, n = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    lanes = Lanes(b, width)
    inputs = [Operand(b, lanes, j, truth) for j, truth in enumerate(truths)]
    outputs = [Operand(b, lanes, len(inputs) + j, truth) for j, truth in enumerate(truths_of(formula, truths))]
    operands = inputs + outputs
    for o in operands:
        o.open(b, args, steps, start)
    scattered = I1(0)  # is any operand neither in a row nor one number?
    for o in operands:
        scattered = b.or_(scattered, b.not_(o.in_row if o in outputs else b.or_(o.in_row, o.broadcast)))
    with b.if_then(b.icmp_signed(">", n, I64(0))):
        moving = []
        for o in operands:
            if o in inputs:
                with b.if_then(o.broadcast):
                    o.splat(b)
                moving.append((b.select(o.broadcast, o.buffer, o.first), b.mul(o.step, I64(width))))
            else:
                moving.append((o.first, b.mul(o.step, I64(width))))
        with counting(b, n, width, *moving) as (i, *places):
            rest = b.sub(n, i)
            short = b.icmp_signed("<", rest, I64(width))
            aside, count = b.or_(short, scattered), b.select(short, rest, I64(width))
            straight = b.block
            with b.if_then(aside, likely=False):
                for o, place in zip(operands, places, strict=True):
                    if o in inputs:
                        with b.if_then(b.not_(o.broadcast)):
                            o.copy(b, place, count, inwards=True)
                detour = b.block
            here = [merge(b, (place, straight), (o.buffer, detour)) for o, place in zip(operands, places, strict=True)]
            values = {name: o.read(b, p) for name, o, p in zip(formula.inputs, operands, here, strict=False)}
            results = _compute(lanes, formula, values)
            for o, value, p in zip(outputs, results, here[len(inputs) :], strict=True):
                o.write(b, value, p)
            with b.if_then(aside, likely=False):
                for o, place in zip(outputs, places[len(inputs) :], strict=True):
                    o.copy(b, place, count, inwards=False)
    b.ret_void()


def _compute(lanes: Lanes, formula: Formula, inputs: dict[str, Any]) -> list[Any]:
    values: dict[Sym, Any] = {}
    for e in topological(formula.outs):
        if e.name == "var":
            values[e] = inputs[e.args[0]]
        elif e.name == "const":
            values[e] = lanes.constant(e.args[0])
        else:
            values[e] = lanes.write(e, [values[a] for a in e.args])
    return [values[e] for e in formula.outs]


def words_of(formula: Formula) -> int:
    """How many instructions (or a few) an element takes."""
    return sum(e.name in WORDS for e in topological(formula.outs))


def truths_of(formula: Formula, truths: Sequence[bool]) -> list[bool]:
    """Which outputs are truth values, given which inputs are."""
    inputs = dict(zip(formula.inputs, truths, strict=True))
    truth: dict[Sym, bool] = {}
    for e in topological(formula.outs):
        if e.name == "var":
            truth[e] = inputs[e.args[0]]
        elif e.name == "const":
            truth[e] = isinstance(e.args[0], bool)
        elif e.name == "where":
            truth[e] = truth[e.args[1]] and truth[e.args[2]]
        else:
            truth[e] = e.name in BOOLEAN
    return [truth[e] for e in formula.outs]


# --- small words of LLVM ---------------------------------------------------------------------------------------------


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
