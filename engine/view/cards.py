"""What a drawing says of one vertex: the same words on every medium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..op import ElementwiseOp, Op
from .graph import Graph, Vertex
from .numbers import brief, digits, words
from .vjps import Rule, rule

# Families of ops share a colour: what they do to the shape of a tensor
FAMILIES = {
    "parameter": "#d66018", "leaf": "#d66018", "data": "#7d8590",
    "elementwise": "#26619c", "reduction": "#7a4fb0", "structure": "#5f6b76", "product": "#1f7a4d", "loss": "#b3261e",
}  # fmt: skip
MODULES = {
    "loss": "loss", "cross_entropy": "loss", "reduce": "reduction", "softmax": "reduction", "norm": "reduction",
    "pool": "reduction", "scan": "reduction", "linalg": "product", "matmul": "product", "conv": "product",
    "attention": "product", "recurrent": "product", "einsum": "product",
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A vertex in words. rules: what flows back to each input that wants a gradient."""

    title: str
    family: str
    shape: str
    latex: str
    params: str
    value: str
    gradient: str
    rules: tuple[tuple[Any, Rule], ...]


def card(v: Vertex, graph: Graph) -> Card:
    """All that a drawing says of a vertex."""
    params = "" if v.node is None else ", ".join(f"{k}={_short(x)}" for k, x in v.node.params.items() if x is not None)
    value = brief(v.value) if v.value is not None else "not kept: no vjp reads it"
    value = value if graph.numbers else ""
    gradient = brief(v.gradient) if v.gradient is not None else ""
    wanted = [e for e in v.inputs if e.source.kind != "data"]
    rules = tuple((e, rule(e)) for e in wanted)
    return Card(v.title, family(v), words(v.shape), v.latex, params, value, gradient, rules)


def _short(x: Any) -> str:
    text = digits(x) if isinstance(x, float) else repr(x)
    return text if len(text) <= 40 else text[:37] + "..."


def family(v: Vertex) -> str:
    """Of which kind a vertex is; an op by the file it is written in."""
    return v.kind if v.node is None else family_of(v.node.op)


def family_of(op: Op) -> str:
    if isinstance(op, ElementwiseOp):
        return "elementwise"
    return MODULES.get(op.__module__.rpartition(".")[2], "structure")
