"""The kernels that are made of formulas, in batches: of every elementwise op, its derivatives, and every optimiser.

An op that is registered is among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np

import engine
import optim
from engine.backends.cpu import cpu
from engine.elementwise import ElementwiseOp
from engine.formula import Formula
from engine.kernels.cuda.elementwise import Types, source

BATCH = 15  # ops of one text
WHOLES = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "bitwise_left_shift", "bitwise_right_shift"}
# CUDA's own float32 functions that go through double for some arguments: large angles
DOUBLES_ALLOWED = re.compile(r"(sin|cos|tan|sinc)_")


Named = tuple[str, Formula, str]  # the name of a kernel, its formula, and which of its inputs holds truth values


def elementwise() -> list[str]:
    """The names of all such ops."""
    return sorted(name for name, op in engine.OPS.items() if isinstance(op, ElementwiseOp))


def formulas(names: list[str]) -> Iterator[Named]:
    """These ops, and each of their derivatives, with params as declared."""
    for name in names:
        op = engine.OPS[name]
        yield name, op.forward.bound(op.params), op.condition
        for i, rule in enumerate(op.vjps):
            if rule is not None and rule.inputs:
                yield f"{name}_vjp{i}", rule.bound(op.params), op.condition


def updates() -> Iterator[Named]:
    """The step of every optimiser, as it asks for it."""
    found: list[Formula] = []

    def compile_update(self: object, formula: Formula) -> Callable[..., None]:
        found.append(formula)
        return lambda *xs, out: None

    with patch.object(type(cpu), "compile_update", compile_update):
        for make in (
            optim.SGD, lambda p: optim.SGD(p, momentum=0.9), lambda p: optim.SGD(p, momentum=0.9, nesterov=True),
            optim.Adam, optim.AdamW, optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.Lion,
        ):  # fmt: skip
            p = engine.Tensor(np.ones(3, np.float32), requires_grad=True)
            p.grad = engine.Tensor(np.ones(3, np.float32))
            before = len(found)
            make([p]).step()
            for i, formula in enumerate(found[before:]):
                yield f"update{before + i}", formula, ""


def text(name: str, formula: Formula, condition: str, dtype: str, update: bool) -> str:
    """Both kernels of a formula, under names of their own."""
    kinds = tuple(None if n in formula.params else "bool" if n == condition else dtype for n in formula.inputs)
    outs = tuple("bool" if b and not update else dtype for b in formula.booleans)
    made = source(formula, Types(kinds, dtype, outs, False, update))
    body = re.sub(r'extern "C" __global__ void (\w+)\(', rf'extern "C" __global__ void {name}_\1(', made)
    return f"namespace of_{name} {{\n{re.sub(r'#include .*', '', body)}}}\n"


Batch = tuple[str, set[str]]  # a text, and those of its kernels that may hold doubles


def _batch(items: Iterator[Named], dtype: str, update: bool = False) -> Batch:
    named = list(items)
    header = {"float16": "#include <cuda_fp16.h>\n", "bfloat16": "#include <cuda_bf16.h>\n"}.get(dtype, "")
    allowed = {
        f"{name}_{kind}" for name, *_ in named for kind in ("flat", "strided") if DOUBLES_ALLOWED.match(f"{name}_")
    }
    return header + "".join(text(*item, dtype, update) for item in named), allowed


def _batches() -> dict[str, Callable[[], Batch]]:
    """By dtype and number; a batch is made when it is called."""
    reals = [name for name in elementwise() if name not in WHOLES]
    found: dict[str, Callable[[], Batch]] = {}
    for i in range(0, len(reals), BATCH):
        found[f"float32-{reals[i]}"] = lambda some=reals[i : i + BATCH]: _batch(formulas(some), "float32")
    found["int64"] = lambda: _batch(formulas(sorted(WHOLES)), "int64")
    few = ["add", "exp", "less", "maximum", "sigmoid"]  # the ways in and out: what is between is float32's
    for dtype in ("float16", "bfloat16", "float64"):
        found[dtype] = lambda dtype=dtype: _batch(formulas(few), dtype)
    found["updates"] = lambda: _batch(updates(), "float32", True)
    return found


BATCHES = _batches()
