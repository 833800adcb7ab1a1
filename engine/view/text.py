"""The computation graph as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..autograd import Node
from ..errors import ArgumentError
from ..tensor import Tensor
from .given import named, printable
from .graph import nodes_behind


def graph(y: Tensor, *, equations: bool = True, limit: int = 200, names: Mapping[str, Tensor] | None = None) -> str:
    """The graph behind y, results first: one line a node with its inputs, shape and equation.

        %2 = add(%1, leaf (3,))           (3,)   y = a + b
        %1 = multiply(leaf (3,), data)    (3,)   y = a b

    leaf: a tensor that gets `.grad`; data: one that needs no gradient. names: {"x": x}, for those that are to be called
    something else. At most `limit` lines.
    """
    if not isinstance(y, Tensor):
        raise ArgumentError(f"graph: prints the graph of a tensor, not a {type(y).__name__}")
    called = {id(t.data): " ".join(printable(name).split()) for name, t in named("graph", names).items()}
    if y.node is None:
        return f"{called.get(id(y.data), 'leaf' if y.requires_grad else 'data')} {y.shape}"
    nodes = nodes_behind(y)[::-1]
    number = {id(n): len(nodes) - k for k, n in enumerate(nodes)}
    rows = [
        (f"%{number[id(n)]} = {_call(n, number, called)}", str(n.shape), n.op.latex if equations else "")
        for n in nodes[:limit]
    ]
    wide, shape = (max(len(r[k]) for r in rows) for k in (0, 1))
    lines = [f"{a:<{wide}}  {b:<{shape}}  {c}".rstrip() for a, b, c in rows]
    if len(nodes) > limit:
        lines.append(f"... and {len(nodes) - limit} more")
    return "\n".join(lines)


def _call(n: Node, number: Mapping[int, int], called: Mapping[int, str]) -> str:
    inputs = []
    array: Any
    for parent, array, (shape, dtype) in zip(n.parents, n.arrays, n.inputs, strict=True):
        if isinstance(parent, Node):
            inputs.append(f"%{number[id(parent)]}")
        elif dtype is None:
            inputs.append("number")
        else:
            array, kind = (array, "data") if parent is None else (parent.data, "leaf")
            inputs.append(f"{called.get(id(array), kind)} {shape}")
    params = [f"{k}={v!r}" for k, v in n.params.items() if v is not None]
    return f"{n.op.name}({', '.join(inputs + params)})"
