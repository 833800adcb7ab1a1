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
                        wants = edge.source.kind != "data" and len(edge.source.shape) < 2
                        self.name.setdefault(edge.source, rf"b^{{({depth})}}" if wants else rf"a^{{({depth - 1})}}")
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
    found = [e for e in v.inputs if e.source.kind in ("parameter", "leaf") and len(e.source.shape) >= 2]
    return found[-1] if found else None


def _activated(v: Vertex) -> Vertex | None:
    """What an elementwise function of one input is applied to."""
    elementwise = v.node is not None and isinstance(v.node.op, ElementwiseOp)
    return v.inputs[0].source if elementwise and len(v.inputs) == 1 else None


def _ranks(v: Vertex) -> tuple[int | None, ...]:
    return tuple(None if dtype is None else len(shape) for shape, dtype in v.node.inputs)  # type: ignore[union-attr]


def _bias_added(v: Vertex) -> Edge | None:
    """The sum that adds a vector to a product and is all that reads it."""
    if len(v.uses) != 1:
        return None
    (use,) = v.uses
    if use.target.title != "add":
        return None
    others = [e.source for e in use.target.inputs if e is not use]
    return use if others and others[0].kind in ("parameter", "leaf") and len(others[0].shape) < 2 else None


def _rows_of_samples(graph: Graph) -> bool:
    """Do the weights stand on the right of matrix products, in a network of at most two axes?"""
    weights = [e for v in graph.vertices if (e := weight_of(v)) is not None]
    return bool(weights) and all(e.slot == 1 for e in weights) and all(len(v.shape) <= 2 for v in graph.vertices)


def word(name: str) -> str:
    """A reader's own name as LaTeX: a letter stays, with its index; a word is set upright, whatever it is made of."""
    letter = r"[A-Za-z](_[A-Za-z0-9]|_\{[A-Za-z0-9]+\})?"
    return name if re.fullmatch(letter, name, re.ASCII) else upright(name)
