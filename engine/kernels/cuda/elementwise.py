r"""Kernels of formulas, as CUDA C++ text: one for arrays that lie flat, one for any layout that broadcasting makes.

    for each element i of the result:                      # one thread takes every (grid size)-th
        x_k = input k at i                                 # an address from i, or from the place of i in the layout
        y_j[i] = formula(x_1, ..., x_m)

The text comes from the op's record, as the CPU's code does. Literals are of the computing type: float32 kernels hold no
double. Sixteen bits are storage: `load` makes floats of them, and the result is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...dtypes import bool_
from ...formula import Formula

RANK = 10  # axes of the general layout, after those that can be walked as one were joined
BLOCK = 256
MOST_BLOCKS = 1 << 16
WORDS = (Path(__file__).parent / "words.cuh").read_text()
C = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    "float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double",
}  # fmt: skip
HEADER = {"float16": "#include <cuda_fp16.h>\n", "bfloat16": "#include <cuda_bf16.h>\n"}


# ------------------------------------------------------------------------------------------------ the text
@dataclass(frozen=True)
class Types:
    """What a kernel is made for: per input the dtype of an array, or None for a number; the results'; the index."""

    inputs: tuple[str | None, ...]
    computed: str  # the dtype that is computed in, 16 bits counting as float32's storage
    outs: tuple[str, ...]
    wide: bool = False  # more elements than 32 bits can count
    update: bool = False  # the results may lie over inputs


def types_of(formula: Formula, xs: Sequence[Any], update: bool = False) -> Types:
    """From arrays and numbers. All arrays but conditions are of one dtype (`ElementwiseOp` sees to that)."""
    dtypes = [x.dtype if hasattr(x, "dtype") else None for x in xs]
    strong = [d for d in dtypes if d is not None]
    dtype = next((d for d in strong if d != bool_), strong[0])
    outs = tuple("bool" if b and not update else dtype.name for b in formula.booleans)
    return Types(tuple(None if d is None else d.name for d in dtypes), dtype.name, outs, False, update)


def source(formula: Formula, types: Types) -> str:
    """The text of the kernels `flat` and `strided`."""
    computed = "float" if types.computed in HEADER else C[types.computed]
    space = "reals" if np.dtype(_known(types.computed)).kind == "f" else "wholes"
    names = [f"x_{n}" for n in formula.inputs]
    restrict = "" if types.update else " __restrict__"
    inputs = [
        f"const T {n}" if kind is None else f"const {C[kind]}*{restrict} {n}"
        for n, kind in zip(names, types.inputs, strict=True)
    ]
    outs = [f"{C[kind]}*{restrict} y{k}_" for k, kind in enumerate(types.outs)]
    arguments = ", ".join([*inputs, *outs])
    m = len(names) + len(outs)

    lines, results = formula.cuda()
    body = "".join(f"    const {'bool' if b else 'T'} {t} = {s};\n" for t, s, b in lines)
    for k, (result, kind) in enumerate(zip(results, types.outs, strict=True)):
        body += f"    y{k} = store<{C[kind]}>({result});\n"
    head = [f"const {'bool' if kind == 'bool' else 'T'} {n}" for n, kind in zip(names, types.inputs, strict=True)]
    head += [f"{C[kind]}& y{k}" for k, kind in enumerate(types.outs)]

    def call(at: Sequence[str]) -> str:
        loads = [
            n if kind is None else f"load<{'bool' if kind == 'bool' else 'T'}>({n}[{i}])"
            for n, kind, i in zip(names, types.inputs, at, strict=False)
        ]
        stores = [f"y{k}_[{at[len(names) + k]}]" for k in range(len(outs))]
        return f"formula({', '.join([*loads, *stores])});"

    loop = "for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (Index)blockDim.x)"
    headers = "".join(HEADER[kind] for kind in HEADER if kind in (*types.inputs, *types.outs))
    return f"""{headers}typedef {computed} T;
typedef {"unsigned long long" if types.wide else "unsigned int"} Index;
{WORDS}
namespace {space} {{
__device__ __forceinline__ void formula({", ".join(head)}) {{
{body}}}
}}
using {space}::formula;

struct Layout {{ long long rank, side[{RANK}], step[{m}][{RANK}]; }};  // from the last axis to the first

extern "C" __global__ void flat(Index n, {arguments}) {{
    {loop} {{
        {call(["i"] * m)}
    }}
}}

extern "C" __global__ void strided(Index n, Layout at, {arguments}) {{
    {loop} {{
        Index rest = i;
        long long o[{m}] = {{}};
        for (int a = 0; a < at.rank; a++) {{
            const Index side = (Index)at.side[a], j = rest % side;
            rest /= side;
            for (int k = 0; k < {m}; k++) o[k] += j * at.step[k][a];
        }}
        {call([f"o[{k}]" for k in range(m)])}
    }}
}}
"""


def _known(name: str) -> str:
    return "float32" if name == "bfloat16" else name


# ------------------------------------------------------------------------------------------------ the layout
def joined(shape: Sequence[int], steps: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Sides and steps (in elements) with every two axes that all operands can walk as one joined; sides of 1 go."""
    sides: list[int] = []
    kept: list[list[int]] = [[] for _ in steps]
    for a, n in enumerate(shape):
        if n == 1:
            continue
        if sides and all(k[-1] == n * s[a] for k, s in zip(kept, steps, strict=True)):
            sides[-1] *= n
            for k, s in zip(kept, steps, strict=True):
                k[-1] = s[a]
        else:
            sides.append(n)
            for k, s in zip(kept, steps, strict=True):
                k.append(s[a])
    return sides, kept


def steps_in(array: Any, shape: Sequence[int]) -> list[int]:
    """An array's steps along the axes of a shape that it broadcasts to; 0 where it is repeated, and for numbers."""
    if not hasattr(array, "strides"):
        return [0] * len(shape)
    lead = [0] * (len(shape) - array.ndim)
    return lead + [0 if n == 1 else s // array.itemsize for n, s in zip(array.shape, array.strides, strict=True)]


def layout(sides: Sequence[int], steps: Sequence[Sequence[int]]) -> Any:
    """The struct Layout, as its bytes."""
    if len(sides) > RANK:
        raise ValueError(f"an elementwise kernel walks {RANK} axes that can't be joined, here are {len(sides)}")
    numbers = np.zeros(1 + RANK * (1 + len(steps)), np.int64)
    numbers[0] = len(sides)
    for row, values in enumerate([sides, *steps]):
        numbers[1 + row * RANK : 1 + row * RANK + len(sides)] = values[::-1]
    return numbers.view([("bytes", "u1", (numbers.nbytes,))])


# ------------------------------------------------------------------------------------------------ the launch
class Elementwise:
    """A formula on a GPU's arrays and weak numbers: `kernel(*xs)` makes its results, `out=` writes over arrays."""

    def __init__(self, formula: Formula, backend: Any) -> None:
        self.formula, self.backend = formula, backend
        self._modules: dict[Types, Any] = {}
        self.direct = None  # the CPU has a short way for small arrays

    def __call__(self, *xs: Any, out: Sequence[Any] | None = None) -> Any:
        types = types_of(self.formula, xs, out is not None)
        shape = np.broadcast_shapes(*[x.shape for x in xs if hasattr(x, "shape")])
        with self.backend.active():
            outs = out or [self.backend.xp.empty(shape, name) for name in types.outs]
            if outs[0].size:
                self._launch(types, xs, outs, shape, outs[0].size)
        return outs[0] if len(outs) == 1 else tuple(outs)

    def small(self, key: Any, xs: Any) -> None:
        """There is no other way for small arrays."""

    def _launch(self, types: Types, xs: Sequence[Any], outs: Sequence[Any], shape: Sequence[int], n: int) -> None:
        if n >= 1 << 31:
            types = Types(types.inputs, types.computed, types.outs, True, types.update)
        scalar = np.dtype("float32" if types.computed in HEADER else types.computed).type
        arguments = [x if hasattr(x, "dtype") else scalar(x) for x in xs] + list(outs)
        count = (np.uint64 if types.wide else np.uint32)(n)
        grid = (min(-(-n // BLOCK), MOST_BLOCKS),)
        module = self._module(types)
        arrays = [x for x in (*xs, *outs) if hasattr(x, "strides")]
        if all(x.shape == tuple(shape) and x.flags.c_contiguous for x in arrays):
            module.get_function("flat")(grid, (BLOCK,), (count, *arguments))
        else:
            sides, steps = joined(shape, [steps_in(x, shape) for x in (*xs, *outs)])
            module.get_function("strided")(grid, (BLOCK,), (count, layout(sides, steps), *arguments))

    def _module(self, types: Types) -> Any:
        if types not in self._modules:
            self._modules[types] = self.backend.xp.RawModule(code=source(self.formula, types), options=("-std=c++17",))
        return self._modules[types]


class Update:
    """Several formulas of the same inputs, each written over an array: `update(*inputs, out=arrays)`."""

    def __init__(self, formula: Formula, backend: Any) -> None:
        self._kernel = Elementwise(formula, backend)

    def __call__(self, *xs: Any, out: Sequence[Any]) -> None:
        self._kernel(*xs, out=out)
