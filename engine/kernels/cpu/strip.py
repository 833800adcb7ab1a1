"""A strip of a table's columns: a vector of neighbours, or one single column where less than a vector is left.

    zero = zeros(np.float32)               a vector, or np.float32(0): what follows takes either
    x = read(address, zero)
    write(address, x * every(2.0, x))

So the body of a column kernel is written once: it is run on vectors, and then on the last columns one by one.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .vector import BYTES, IR, Vector, _splat


def _scalar(kind: Any) -> Any:
    return kind.scalar if isinstance(kind, Vector) else kind


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, (kind.ir if isinstance(kind, Vector) else IR[kind]).as_pointer())


@intrinsic
def zeros(typing: Any, dtype: Any) -> Any:
    """A vector of zeros."""
    result = Vector(dtype.dtype, BYTES * 8 // dtype.dtype.bitwidth)
    return result(dtype), lambda context, builder, signature, args: result.ir([0.0] * result.lanes)


@intrinsic
def read(typing: Any, address: Any, like: Any) -> Any:
    """What lies at an address: a vector or a number, as `like` is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0], like), align=_scalar(like).bitwidth // 8)

    return like(types.int64, like), generate


@intrinsic
def write(typing: Any, address: Any, value: Any) -> Any:
    """Write a vector or a number to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0], value), align=_scalar(value).bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, value), generate


@intrinsic
def every(typing: Any, number: Any, like: Any) -> Any:
    """`number` in each lane, or as it is, as `like` has it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.cast(builder, args[0], number, _scalar(like))
        return _splat(builder, value, like.ir) if isinstance(like, Vector) else value

    return like(number, like), generate
