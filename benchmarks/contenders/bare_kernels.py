"""Chain Rule's elementwise kernels alone: arrays in, arrays out. NumPy has neither tensors nor a tape; nor has this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine import OPS
from engine.elementwise import ElementwiseOp

from ..kernels import KernelCase, cotangent
from . import Call


def kernel(case: KernelCase) -> Call | None:
    op, xs = OPS[case.op], case.arrays()
    if not isinstance(op, ElementwiseOp):
        return None
    kernels = op.kernels("cpu")
    forward = entered(kernels.forward, kernels.forward, xs)
    if case.direction == "forward":
        return Call(lambda: forward(*xs), lambda: [forward(*xs)])
    y = forward(*xs)
    g = cotangent(y.shape)
    wanted = [pull for i in case.leaves if (pull := kernels.pulls[i]) is not None]
    pulls = [entered(pull.kernel, lambda *values, pull=pull: pull(values), (g, *xs, y)) for pull in wanted]

    def run() -> list[Any]:
        y = forward(*xs)
        return [y, *[pull(g, *xs, y) for pull in pulls]]

    return Call(run, run)


def entered(kernel: Any, general: Callable[..., Any], values: Sequence[Any]) -> Callable[..., Any]:
    """How an op calls this kernel: by its short way, and where that declines by the general one."""
    general(*values)  # it has met them now

    def call(*values: Any) -> Any:
        y = kernel.short(*values)
        return general(*values) if y is NotImplemented else y

    return call
