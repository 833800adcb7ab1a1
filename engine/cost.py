"""What an op costs: floating-point operations counted in its own definition, and the bytes it reads and writes.

    y[n,k] = Sum(j, a[n,j] * b[j,k])        one product and one sum for each n, k, j: 2 N K J

Index notation is a loop nest, so its size is known; a formula counts once for each element; a fused op costs what its
composition does. Moving numbers about (reshape, gather, sort) counts as none, and neither does counting them (a sum of
x ** 0, by which a mean is divided).

Attention, from its composition: 4 N h T S d for the two products, and 5 N h T S for the weights between them (scale,
exp, exp, sum, quotient). A causal one is counted whole, with one more for each weight that may be hidden.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from .elementwise import ElementwiseOp
from .expr import topological
from .index import REDUCTIONS, parse, runs
from .record import Op, Unkept
from .shapes import Shape, prod


def flops(op: Op, shapes: Sequence[Shape | None], result: Shape, params: Mapping[str, Any] | None = None) -> int:
    """Floating-point operations of one call. shapes: of the inputs, None for one that is left out."""
    if isinstance(op, ElementwiseOp):
        steps = sum(e.name not in ("var", "const") for e in topological(op.definition.outs))
        return steps * prod(result)
    if not runs(op.note.definition):
        return 0
    names = getattr(op, "inputs", ())
    known = {n: s for n, s in zip(names, shapes, strict=False) if s is not None}
    return _Nest(op, known, shapes, result, {**getattr(op, "defaults", {}), **(params or {})}).count()


class _Nest:
    """The loops of a definition, for arrays of given shapes."""

    def __init__(
        self,
        op: Op,
        known: Mapping[str, Shape],
        shapes: Sequence[Shape | None],
        result: Shape,
        params: dict[str, Any],
    ) -> None:
        self.definition = parse(op.note.definition)
        stubs = [None if s is None else Unkept(s, None) for s in shapes]
        letters = op.note.letters(*stubs, **params) if op.note.letters else {}
        self.whole = {n: prod(s) for n, s in known.items()}
        self.ranges = {k.removeprefix("range_"): int(v) for k, v in letters.items() if k.startswith("range_")}
        for n in ast.walk(self.definition.body):
            if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id in known:
                axes = n.slice.elts if isinstance(n.slice, ast.Tuple) else [n.slice]
                core = known[n.value.id][-len(axes) :]
                if len(axes) == 1 and len(self.definition.axes) == 0:  # reduced over whatever axes: all elements
                    core = (self.whole[n.value.id] // max(prod(result), 1),)
                for axis, size in zip(axes, core, strict=False):
                    if isinstance(axis, ast.Name):
                        self.ranges.setdefault(axis.id, size)
        leading = len(result) - len(self.definition.axes)
        self.core = dict(zip(self.definition.axes, result[leading:], strict=False))
        self.batch = prod(result[:leading])

    def count(self) -> int:
        return self.batch * self._each(self.definition.body, self.core)

    def _each(self, n: ast.expr, loops: Mapping[str, int]) -> int:
        """Within these loops, letter -> length. A sum stands outside of those whose letters it does not use, as any
        programmer would write it. Indices are not computed with.
        """
        once = prod(list(loops.values()))
        match n:
            case ast.Call(func=ast.Name(id="Sum"), args=[_, ast.BinOp(op=ast.Pow(), right=ast.Constant(value=0))]):
                return 0
            case ast.Call(func=ast.Name(id=name), args=[indices, body]) if name in REDUCTIONS:
                letters = indices.elts if isinstance(indices, ast.Tuple) else [indices]
                used = {m.id for m in ast.walk(body) if isinstance(m, ast.Name)}
                inner = {k: size for k, size in loops.items() if k in used}
                inner |= {i.id: self.ranges.get(i.id, 1) for i in letters if isinstance(i, ast.Name)}
                return self._each(body, inner) + prod(list(inner.values()))
            case ast.BinOp():
                return once + self._each(n.left, loops) + self._each(n.right, loops)
            case ast.UnaryOp():
                return once + self._each(n.operand, loops)
            case ast.Call(func=ast.Name(id="len")):
                return 0
            case ast.Call(func=ast.Name(id="where"), args=[_, *arms]):
                return max(self._each(arm, loops) for arm in arms)
            case ast.Call():
                return once + sum(self._each(arg, loops) for arg in n.args)
        return 0
