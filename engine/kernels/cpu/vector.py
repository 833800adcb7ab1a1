"""A few numbers side by side as one value that kernels compute with: what a loop over them would be vectorised to.

    v = load(address, np.float32)          16 float32 or 8 float64: 64 bytes
    store(address, v * fill(2.0, v) + v)   operators work lane by lane

LLVM cuts such a value into the registers that the processor has. Loops are written so by hand where LLVM can't find the
vectors itself: it may not reorder a sum or skip a NaN in a maximum, and it gives up on many arrays that might overlap.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, models, register_model

from engine.expr import var
from engine.formula import Formula

from . import lane_math
from .lane_words import Lanes, compute

BYTES = 64
IR = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int32: ir.IntType(32)}
IR |= {types.int64: ir.IntType(64), types.boolean: ir.IntType(1)}
FUSE = ("contract",)


class Vector(types.Type):
    """`lanes` numbers of one scalar type."""

    def __init__(self, scalar: Any, lanes: int) -> None:
        self.scalar, self.lanes, self.ir = scalar, lanes, ir.VectorType(IR[scalar], lanes)
        super().__init__(name=f"Vector({scalar}, {lanes})")

    @property
    def truths(self) -> Vector:
        return Vector(types.boolean, self.lanes)

    @property
    def integers(self) -> Vector:
        """Integers of the same width."""
        return Vector(types.int32 if self.scalar.bitwidth == 32 else types.int64, self.lanes)


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.ir)


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    )


def _reduction(builder: Any, name: str, vector: Any, start: Any = None) -> Any:
    """All lanes to one number. A sum is a tree whose form depends on the processor alone."""
    scalar, kind = vector.type.element, f"v{vector.type.count}f{32 if vector.type.element == ir.FloatType() else 64}"
    args = [vector] if start is None else [start, vector]
    full = f"llvm.vector.reduce.{name}.{kind}"
    found = builder.module.globals.get(full)
    function = found or ir.Function(builder.module, ir.FunctionType(scalar, [a.type for a in args]), full)
    return builder.call(function, args, fastmath=("reassoc",) if start is not None else ())


# ------------------------------------------------------------------------------------------------ memory
@intrinsic
def load(typing: Any, address: Any, dtype: Any) -> Any:
    """The numbers at an address."""
    result = Vector(dtype.dtype, BYTES * 8 // dtype.dtype.bitwidth)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], result.ir.as_pointer()), align=dtype.dtype.bitwidth // 8)

    return result(types.int64, dtype), generate


@intrinsic
def store(typing: Any, address: Any, vector: Any) -> Any:
    """Write the lanes to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], vector.ir.as_pointer())
        builder.store(args[1], pointer, align=vector.scalar.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def load_bytes(typing: Any, address: Any, like: Any) -> Any:
    """As many uint8 as `like` has lanes, as integers of its width."""
    result = like.integers

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.VectorType(ir.IntType(8), like.lanes)
        return builder.zext(builder.load(builder.inttoptr(args[0], narrow.as_pointer()), align=1), result.ir)

    return result(types.int64, like), generate


@intrinsic
def store_bytes(typing: Any, address: Any, vector: Any) -> Any:
    """Integer lanes as uint8."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.VectorType(ir.IntType(8), vector.lanes)
        builder.store(builder.trunc(args[1], narrow), builder.inttoptr(args[0], narrow.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


# ------------------------------------------------------------------------------------------------ making
@intrinsic
def fill(typing: Any, number: Any, like: Any) -> Any:
    """`number` in every lane, as `like` has them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.cast(builder, args[0], number, like.scalar), like.ir)

    return like(number, like), generate


@intrinsic
def fill_integers(typing: Any, number: Any, like: Any) -> Any:
    """An integer in every lane, of the width that `like`'s numbers have."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.cast(builder, args[0], number, like.integers.scalar), like.integers.ir)

    return like.integers(number, like), generate


# ------------------------------------------------------------------------------------------------ arithmetic
def _binary(f: Any) -> Any:
    @intrinsic
    def word(typing: Any, a: Any, b: Any) -> Any:
        return a(a, b), lambda context, builder, signature, args: f(builder, *args)

    return word


def _operate(of: Any, f: Any) -> None:
    @infer_global(of)
    class _Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return args[0](*args) if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1] else None

    lower_builtin(of, Vector, Vector)(lambda context, builder, signature, args: f(builder, *args))


_operate(operator.add, lambda b, x, y: b.fadd(x, y, flags=FUSE))
_operate(operator.sub, lambda b, x, y: b.fsub(x, y, flags=FUSE))
_operate(operator.mul, lambda b, x, y: b.fmul(x, y, flags=FUSE))
_operate(operator.truediv, lambda b, x, y: b.fdiv(x, y))

larger = _binary(lambda b, x, y: b.select(b.fcmp_ordered(">", y, x), y, x))  # x where y is NaN


def _formula(f: Any) -> Any:
    """A function of float32, as the elementwise op of that name computes it."""
    formula = Formula(("x",), (f(var("x")),))

    @intrinsic
    def word(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return compute(Lanes(builder, x.lanes), formula, {"x": args[0]})[0]

        return x(x), generate

    return word


exp, log = _formula(lane_math.exp), _formula(lane_math.log)
exp_down = _formula(lane_math.exp_down)  # for x <= 0
logistic, tanh_short = _formula(lane_math.logistic), _formula(lane_math.tanh_short)


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The sum of all lanes."""
    return x.scalar(x), lambda context, builder, signature, args: _reduction(
        builder, "fadd", args[0], x.ir.element(-0.0)
    )


@intrinsic
def largest(typing: Any, x: Any) -> Any:
    """The largest of all lanes; NaN is left out."""
    return x.scalar(x), lambda context, builder, signature, args: _reduction(builder, "fmax", args[0])


# ------------------------------------------------------------------------------------------------ choice
@intrinsic
def beats(typing: Any, value: Any, best: Any) -> Any:
    """Where value > best, or is the first NaN."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x, y = args  # "unordered" comparisons are true where a NaN is met
        return b.and_(b.fcmp_unordered(">", x, y), b.fcmp_ordered("ord", y, y))

    return value.truths(value, best), generate


@intrinsic
def positive(typing: Any, x: Any) -> Any:
    """Where x > 0; not where it is NaN."""
    zero = ir.Constant(x.ir, [0.0] * x.lanes)
    return x.truths(x), lambda context, builder, signature, args: builder.fcmp_ordered(">", args[0], zero)


@intrinsic
def equal(typing: Any, a: Any, b: Any) -> Any:
    """Where two integers are equal."""
    return a.truths(a, b), lambda context, builder, signature, args: builder.icmp_signed("==", *args)


@intrinsic
def choose(typing: Any, truth: Any, a: Any, b: Any) -> Any:
    """a where it is true, else b."""
    return a(truth, a, b), lambda context, builder, signature, args: builder.select(*args)
