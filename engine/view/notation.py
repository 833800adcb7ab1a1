r"""Names as the documents have them: z^{(l)} = W^{(l)} a^{(l-1)} + b^{(l)}, a^{(l)} = σ(z^{(l)}), J, δ^{(l)}.

The documents keep a sample in a column, and write W on the left; code keeps it in a row, and writes x W. The two differ
by a transposition of everything, so a symbol here stands for the transposed array where the network is one of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..op import ElementwiseOp
from .contraction import forward
from .graph import Edge, Graph, Vertex
from .numbers import plain
from .typeset import upright
from .vjps import averaged

LEARNT = ("leaf", "parameter")


class Notation:
    """The letter and the layout of every vertex of a graph."""

    def __init__(self, graph: Graph, names: Mapping[int, str] | None = None) -> None:
        self.columns = _rows_of_samples(graph)
        self.name: dict[Vertex, str] = {}
        root_op: Any = graph.root.node and graph.root.node.op
        self.layer: dict[Vertex, int] = {}
        given = names or {}
        depth = count = leaves = inputs = 0
        for v in graph.vertices:
            if v.kind != "op":
                continue
            weight = weight_of(v)
            if weight is not None:
                depth += 1
                summed = _bias_added(v)
                self.name[v] = rf"{'u' if summed else 'z'}^{{({depth})}}"
                self.layer[v] = depth
                self.name.setdefault(weight.source, rf"W^{{({depth})}}")
                for edge in v.inputs:
                    if edge is not weight and edge.source.kind != "op":
                        letter = rf"b^{{({depth})}}" if _is_bias(edge) else rf"a^{{({depth - 1})}}"
                        self.name.setdefault(edge.source, letter)
                if summed is not None:
                    self.name[summed.target] = rf"z^{{({depth})}}"
                    self.layer[summed.target] = depth
                    for edge in summed.target.inputs:
                        if edge is not summed:
                            self.name.setdefault(edge.source, rf"b^{{({depth})}}")
        for v in graph.vertices:
            if v in self.name:
                continue
            if v is graph.root and v.shape == ():
                self.name[v] = "J"
            elif v.kind == "op" and [e.target for e in v.uses] == [graph.root] and averaged(root_op):
                self.name[v] = r"\ell"
            elif (z := _activated(v)) is not None and self.name.get(z, "").startswith("z^"):
                self.name[v], self.layer[v] = "a" + self.name[z][1:], self.layer[z]
            elif v.kind == "op":
                count += 1
                self.name[v] = rf"v_{{{count}}}"
            elif v.kind == "data":
                inputs += 1
                self.name[v] = "y" if inputs == 1 else rf"c_{{{inputs}}}"
            else:
                leaves += 1
                self.name[v] = rf"\theta_{{{leaves}}}"
        for v in graph.vertices:
            if v.number in given:
                self.name[v] = word(given[v.number])
        letters: dict[str, int] = {}
        for v, name in self.name.items():  # one letter, one thing
            letters[name] = letters.get(name, 0) + 1
            if letters[name] > 1:
                self.name[v] = rf"{{{name}}}_{{{letters[name]}}}"

    def shown(self, array: Any) -> Any:
        """An array as the documents lay it out, float64; None of what the tape did not keep."""
        if array is None:
            return None
        a = plain(array)
        if not self.columns or a.ndim == 0:
            return a
        return a[:, None] if a.ndim == 1 else a.T if a.ndim == 2 else a

    def stored(self, value: Any, shape: tuple[int, ...]) -> Any:
        """The same back in the layout of the code."""
        a = np.asarray(value)
        return (a.T if self.columns and a.ndim == 2 else a).reshape(shape)


def weight_of(v: Vertex) -> Edge | None:
    """The edge of the matrix (or filter) that an op multiplies by: a leaf of two axes or more."""
    terms = None if v.node is None else forward(v.node.op, _ranks(v))
    long = terms is not None and any(len(t.factors) == 2 for t in terms)
    filters = v.node is not None and "w" in getattr(v.node.op, "inputs", ())
    if not (long or filters):
        return None
    found = [e for e in v.inputs if e.source.kind in LEARNT and len(e.source.shape) >= 2]
    return max(
        found, key=lambda e: (e.source.kind, 1 not in e.source.shape, e.slot), default=None
    )  # "parameter" is last


def _is_bias(edge: Edge) -> bool:
    """Is the input added to a product, and no factor of it?"""
    terms = forward(edge.target.node.op, _ranks(edge.target))  # type: ignore[union-attr]
    name = edge.target.node.op.inputs[edge.slot]  # type: ignore[union-attr]
    alone = len(edge.source.shape) < 2 if terms is None else any([f.array for f in t.factors] == [name] for t in terms)
    return alone and edge.source.kind in LEARNT


def _activated(v: Vertex) -> Vertex | None:
    """What an elementwise function of one input is applied to."""
    elementwise = v.node is not None and isinstance(v.node.op, ElementwiseOp)
    if not elementwise or len(v.inputs) != 1:
        return None
    source = v.inputs[0].source
    while source.kind == "op" and source.title == "reshape":
        source = source.inputs[0].source
    return source


def _ranks(v: Vertex) -> tuple[int | None, ...]:
    return tuple(None if dtype is None else len(shape) for shape, dtype in v.node.inputs)  # type: ignore[union-attr]


def _bias_added(v: Vertex) -> Edge | None:
    """The sum that adds a bias to a product, reshaped or not, and is all that reads it. A bias is learnt, and is never
    itself multiplied; of whatever shape it is.
    """
    while len(v.uses) == 1 and (use := v.uses[0]).target.title in ("add", "reshape"):
        v = use.target
        if v.title == "add":
            others = [e.source for e in v.inputs if e is not use]
            learnt = bool(others) and others[0].kind in LEARNT
            return use if learnt and all(e.target.title == "add" for e in others[0].uses) else None
    return None


def _rows_of_samples(graph: Graph) -> bool:
    """Do the weights stand on the right of matrix products, in a network of at most two axes?"""
    weights = [e for v in graph.vertices if (e := weight_of(v)) is not None]
    return bool(weights) and all(e.slot == 1 for e in weights) and all(len(v.shape) <= 2 for v in graph.vertices)


def word(name: str) -> str:
    """A reader's own name as LaTeX: a letter stays, with its index; a word is set upright, whatever it is made of."""
    letter = r"[A-Za-z](_[A-Za-z0-9]|_\{[A-Za-z0-9]+\})?"
    return name if re.fullmatch(letter, name, re.ASCII) else upright(name)
