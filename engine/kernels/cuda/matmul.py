"""Matrix products: cuBLAS makes them. 16 bits are added up in 32."""

from __future__ import annotations

from typing import Any

from engine.errors import DTypeError

from .bias import add_bias
from .launch import is_float, product, xp

Array = Any


def matmul(
    a: Array,
    b: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    out: Array | None = None,
    bias: Array | None = None,
    relu: bool = False,
) -> Array:
    """(M,K) @ (K,N) -> (M,N), or (B,M,K) @ (B,K,N) -> (B,M,N); an operand of two axes serves the whole batch.

    `transpose_a`, `transpose_b` swap the last two axes of an operand before the product. `bias` (N,) is added to every
    row; `relu` then sets negative numbers to 0. Raises DTypeError for other or mixed dtypes.
    """
    if a.dtype != b.dtype or not is_float(a.dtype):
        found = f"a is {a.dtype} and b is {b.dtype}"
        raise DTypeError(f"matmul: {found}; cast both to float32 or both to float64")
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    y = product(a, b)
    if bias is not None or relu:
        y = add_bias(xp().ascontiguousarray(y), bias, relu)
    if out is None:
        return y
    out[...] = y
    return out
