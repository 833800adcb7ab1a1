"""A graph as one HTML file that needs nothing else: no network, no library.

The browser does what it is good at: it sets the formulas (MathML), sizes the boxes and stacks the rows (CSS); folding
is its own <details>. A short script draws the edges between what is visible, and says where a weight is used.
"""

from __future__ import annotations

import itertools
import json
from importlib.resources import files
from typing import Any

from .cards import FAMILIES, Card, card
from .given import escape
from .graph import Graph, Group, Vertex
from .layout import Lane, Plan, plan
from .numbers import colour, picture
from .typeset import mathml

OPEN = 80  # a drawing of more vertices opens folded
INSIDE = 60  # a fused op is shown with its composition in drawings of no more vertices
_count = itertools.count(1)


def fragment(graph: Graph, *, fold: bool | None = None, title: str = "") -> str:
    """The drawing as an element with its own style and script, for a notebook or a page."""
    page = Page(graph, fold)
    name = f"chain-rule-{next(_count)}"
    style, script = _asset("view.css"), _asset("view.js")
    colours = "".join(f".cr-view .{k}{{--family:{c}}}" for k, c in FAMILIES.items())
    head = f'<div class="cr-title">{escape(title)}</div>' if title else ""
    return (
        f'<div class="cr-view" id="{name}"><style>{style}{colours}</style>{head}'
        f'<div class="cr-hint">hover: where it is used, what flows back · click: numbers, fold and unfold</div>'
        f'<div class="cr-canvas">{page.body}<svg class="cr-edges"></svg></div>'
        f'<div class="cr-tip"></div>{page.templates}'
        f'<script type="application/json" class="cr-data">{_json(page.edges)}</script>'
        f"<script>(function(root){{{script}}})(document.getElementById({json.dumps(name)}))</script></div>"
    )


def page(graph: Graph, *, fold: bool | None = None, title: str = "Chain Rule") -> str:
    """The same as a whole file."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"></head><body style="margin:16px;background:#fff">'
        f"{fragment(graph, fold=fold, title=title)}</body></html>"
    )


class Page:
    """The parts of one drawing. Formulas that recur are kept once, and put in when they are first seen."""

    def __init__(self, graph: Graph, fold: bool | None) -> None:
        self.graph = graph
        self.fold = len(graph) > OPEN if fold is None else fold
        self.plan: Plan = plan(graph)
        self._formulas: dict[str, int] = {}
        self._number: dict[Any, int] = {}
        self._rules: dict[Any, tuple[int, int]] = {}
        self.body = self._rows(self.plan.tree)
        self.edges = [
            [[self._id(s) for s in stations], *self._rules.get(edge, (-1, -1))]
            for edge, stations in self.plan.stations.items()
        ]
        self.templates = "".join(f'<template data-f="{k}">{mathml(f)}</template>' for f, k in self._formulas.items())

    def _id(self, thing: Any) -> int:
        return self._number.setdefault(thing, len(self._number))

    def _formula(self, latex: str) -> int:
        return self._formulas.setdefault(latex, len(self._formulas)) if latex else -1

    def _rows(self, group: Group) -> str:
        return "".join(f'<div class="cr-row">{"".join(map(self._box, row))}</div>' for row in self.plan.rows[group])

    def _box(self, box: Any) -> str:
        if isinstance(box, Lane):
            return f'<i class="cr-lane" data-w="{self._id(box)}"></i>'
        if isinstance(box, Group):
            return self._group(box)
        return self._card(box)

    def _group(self, group: Group) -> str:
        inside = list(group.vertices())
        ops = sum(v.kind == "op" for v in inside)
        numbers = sum(v.tensor.size for v in inside if v.kind == "parameter" and v.tensor is not None)
        facts = f"{ops} op{'s' * (ops != 1)}" + (f", {numbers:,} parameters" if numbers else "")
        return (
            f'<details class="cr-group" data-w="{self._id(group)}"{"" if self.fold else " open"}>'
            f"<summary><b>{escape(group.path)}</b> <span>{facts}</span></summary>{self._rows(group)}</details>"
        )

    def _card(self, v: Vertex) -> str:
        c = card(v, self.graph)
        for edge, rule in c.rules:
            self._rules[edge] = self._formula(rule.symbols), self._formula(rule.numbers)
        equation = f'<span class="cr-f" data-f="{self._formula(c.latex)}"></span>' if c.latex else ""
        params = f'<div class="cr-params">{escape(c.params)}</div>' if c.params else ""
        head = f'<div class="cr-head"><b>{escape(c.title)}</b><span>{escape(c.shape)}</span></div>'
        return (
            f'<div class="cr-card {c.family}" data-w="{self._id(v)}" tabindex="0">{head}'
            f"{equation}{params}{self._numbers(v, c)}{self._backward(c)}"
            f"{self._inside(v)}</div>"
        )

    def _numbers(self, v: Vertex, c: Card) -> str:
        lines = [
            f'<div class="cr-num {word}"><em>{word}</em>{_heat(array)}<span>{escape(text)}</span></div>'
            for word, text, array in (("value", c.value, v.value), ("gradient", c.gradient, v.gradient))
            if text
        ]
        return "".join(lines)

    def _backward(self, c: Card) -> str:
        rows = [
            f'<span class="cr-f" data-f="{self._formula(part)}"></span>'
            for _, rule in c.rules
            for part in (rule.symbols, rule.numbers)
            if part
        ]
        return f'<div class="cr-back">{"".join(rows)}</div>' if rows else ""

    def _inside(self, v: Vertex) -> str:
        """What a fused op is made of, as a drawing of its own."""
        if len(self.graph) > INSIDE or (graph := self.graph.composition(v)) is None:
            return ""
        body = fragment(graph)
        steps = sum(u.kind == "op" for u in graph.vertices)
        return f'<details class="cr-inside"><summary>one kernel for {steps} steps</summary>{body}</details>'


def _heat(array: Any) -> str:
    if array is None or array.size < 2 or array.ndim == 0:
        return ""
    rows = picture(array)
    h, w = rows.shape
    cells = "".join(
        f'<rect x="{j}" y="{i}" width="1.02" height="1.02" fill="{colour(x)}"/>'
        for i, row in enumerate(rows)
        for j, x in enumerate(row)
    )
    return f'<svg class="cr-heat" viewBox="0 0 {w} {h}" width="{w * 5}" height="{h * 5}">{cells}</svg>'


def _json(value: Any) -> str:
    """JSON that no text in it can break out of."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
