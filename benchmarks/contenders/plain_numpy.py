"""NumPy, as one would write it by hand: whole-array operations with fresh results, and the textbook's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels import KernelCase, cotangent
from . import Call

FORWARD: dict[str, Callable[..., Any]] = {
    "clip": lambda x, min, max: np.clip(x, min, max),
    "reshape": np.reshape,
    "expand_dims": np.expand_dims,
    "squeeze": np.squeeze,
    "broadcast_to": np.broadcast_to,
    "broadcast_arrays": np.broadcast_arrays,
    "permute_dims": np.transpose,
    "swapaxes": np.swapaxes,
    "moveaxis": np.moveaxis,
    "matrix_transpose": np.matrix_transpose,
    "astype": lambda x, dtype: x.astype(dtype),
    "getitem": lambda x, index: x[index],
    "concat": lambda *xs, axis=0: np.concatenate(xs, axis),
    "stack": lambda *xs: np.stack(xs),
    "split": np.split,
    "unstack": lambda x: tuple(x),
    "pad": np.pad,
    "diff": np.diff,
    "tril": np.tril,
    "triu": np.triu,
    "diagonal": np.diagonal,
    "trace": np.trace,
    "flip": np.flip,
    "roll": np.roll,
    "tile": lambda x, repetitions: np.tile(x, repetitions),
    "repeat": np.repeat,
    "take": np.take,
    "take_along_axis": lambda x, i: np.take_along_axis(x, i, -1),
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "var": np.var,
    "std": np.std,
    "prod": np.prod,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "all": np.all,
    "any": np.any,
    "count_nonzero": np.count_nonzero,
    "norm": lambda x, axis=None: np.sqrt(np.sum(x * x, axis)),
    "cumulative_sum": np.cumulative_sum,
    "cumulative_prod": np.cumulative_prod,
    "argsort": lambda x: np.argsort(x, stable=True),
    "nonzero": np.nonzero,
    "searchsorted": np.searchsorted,
    "unique_counts": np.unique_counts,
    "unique_values": np.unique_values,
    "matrix_product": np.matmul,
    "matmul": np.matmul,
    "vecdot": np.vecdot,
    "outer": np.outer,
    "tensordot": np.tensordot,
    "einsum": lambda *xs, equation: np.einsum(equation, *xs, optimize=True),
    "embedding": lambda ids, table: table[ids],
}


def kernel(case: KernelCase) -> Call | None:
    from engine import OPS
    from engine.elementwise import ElementwiseOp

    op, xs = OPS[case.op], case.arrays()
    if isinstance(op, ElementwiseOp):
        return elementwise(op, case, xs)
    f = FORWARD.get(case.op)
    if f is None or case.direction == "backward":
        return None
    return Call(lambda: f(*xs, **case.params), lambda: [f(*xs, **case.params)])


def elementwise(op: Any, case: KernelCase, xs: list[np.ndarray]) -> Call:
    """The record's formulas as whole-array operations: y, and of g the cotangent of each input.

    Warnings are switched off once for all calls, not in each: that takes longer than a small array's logarithm.
    """
    dtype = next((x.dtype for x in xs if x.dtype.kind == "f"), xs[-1].dtype)
    params = tuple(op.params.values())
    forward = op.forward.numpy(dtype, quietly=False)
    if case.direction == "forward":
        return Call(lambda: forward(*xs, *params), lambda: [forward(*xs, *params)], silence)
    g = cotangent(np.shape(forward(*xs, *params)))
    formulas = [op.vjps[i] for i in case.leaves if op.vjps[i] is not None]
    rules = [(f.inputs, f.numpy(dtype, quietly=False)) for f in formulas]  # one that reads nothing is a flat op's: 0

    def run() -> list[Any]:
        y = forward(*xs, *params)
        named = dict(zip((*op.inputs, *op.params), (*xs, *params), strict=True), g=g, y=y)
        return [y, *(f(*(named[n] for n in used)) if used else np.zeros_like(g) for used, f in rules)]

    return Call(run, run, silence)


def silence() -> Any:
    return np.errstate(all="ignore")
