"""A graph as SVG: the same rows and lanes as in HTML, with coordinates of our own and formulas as outlines."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from .cards import FAMILIES, Card, card
from .given import escape
from .graph import Edge, Graph, Group, Vertex
from .layout import Box, Lane, Plan, plan
from .numbers import colour, picture
from .sheet import sheet
from .typeset import outline

GAP, DROP, PAD = 24.0, 34.0, 12.0  # between boxes of a row, between rows, inside of a group
LINE, SMALL_LINE = 18.0, 15.0
CELL = 4.5
INK, SOFT, RED = "#1d2228", "#8a8f96", "#b3261e"


@dataclass
class Drawn:
    """A box with its size, where it stands, and the text of its inside relative to its corner."""

    width: float
    height: float
    body: str = ""
    x: float = 0.0
    y: float = 0.0


def draw(graph: Graph, *, fold: bool = False, backward: bool = False, title: str = "") -> str:
    """An SVG text. fold: groups as one box each. backward: each card shows what flows back."""
    sketch = Sketch(graph, fold, backward)
    top = 30.0 if title else 8.0
    boxes = sketch.group_rows(sketch.plan.tree, 8.0, top)
    width, height = boxes.width + 16, boxes.height + top + 10
    heading = _text(12, 20, title, 15, INK, bold=True) if title else ""
    return sheet(width, height, heading + sketch.frames + sketch.lines() + sketch.cards)


class Sketch:
    def __init__(self, graph: Graph, fold: bool, backward: bool) -> None:
        self.graph, self.fold, self.backward = graph, fold, backward
        self.plan: Plan = plan(graph)
        self.at: dict[Box, Drawn] = {}
        self.frames, self.cards = "", ""
        self._size: dict[Box, Drawn] = {}
        self._measure(self.plan.tree)

    # -------------------------------------------------------------------------------------------- sizes, bottom up
    def _measure(self, group: Group) -> Drawn:
        width = height = 0.0
        for row in self.plan.rows[group]:
            sizes = [self._size_of(box) for box in row]
            width = max(width, sum(s.width for s in sizes) + GAP * (len(row) - 1))
            height += max(s.height for s in sizes) + DROP
        return Drawn(width, height - DROP)

    def _size_of(self, box: Box) -> Drawn:
        if box not in self._size:
            if isinstance(box, Lane):
                self._size[box] = Drawn(6, 0)
            elif isinstance(box, Vertex):
                self._size[box] = _card(card(box, self.graph), box, self.backward)
            else:
                head = _width(_facts(box), 12) + 2 * PAD
                inner = Drawn(0, -8) if self.fold else self._measure(box)
                self._size[box] = Drawn(max(inner.width + 2 * PAD, head), inner.height + 30 + PAD)
        return self._size[box]

    # -------------------------------------------------------------------------------------------- places, top down
    def group_rows(self, group: Group, x: float, y: float) -> Drawn:
        whole = self._measure(group)
        top = y
        for row in self.plan.rows[group]:
            sizes = [self._size_of(box) for box in row]
            tall = max(s.height for s in sizes)
            left = x + (whole.width - sum(s.width for s in sizes) - GAP * (len(row) - 1)) / 2
            for box, size in zip(row, sizes, strict=True):
                self._place(box, size, left, top, tall)
                left += size.width + GAP
            top += tall + DROP
        return whole

    def _place(self, box: Box, size: Drawn, x: float, y: float, tall: float) -> None:
        if isinstance(box, Lane):
            self.at[box] = Drawn(size.width, tall, "", x, y)
            return
        y += (tall - size.height) / 2
        self.at[box] = Drawn(size.width, size.height, "", x, y)
        if isinstance(box, Vertex):
            self.cards += f'<g transform="translate({x:.1f} {y:.1f})">{size.body}</g>'
            return
        self.frames += (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{size.width:.1f}" height="{size.height:.1f}" rx="9" '
            'fill="#78693c" fill-opacity=".05" stroke="#d9d4c6"/>'
        )
        self.frames += _text(x + PAD, y + 19, _facts(box), 12, INK)
        if not self.fold:
            self.group_rows(box, x + (size.width - self._measure(box).width) / 2, y + 30)

    # -------------------------------------------------------------------------------------------- edges
    def lines(self) -> str:
        ways: dict[tuple[int, int], list[Drawn]] = {}
        rules: dict[tuple[int, int], list[Edge]] = defaultdict(list)
        for edge, stations in self.plan.stations.items():
            way: list[Drawn] = []
            for station in stations:
                found = self.at.get(station) or self._folded(station)
                if found is not None and (not way or way[-1] is not found):
                    way.append(found)
            if len(way) > 1 and way[0] is not way[-1]:
                ends = id(way[0]), id(way[-1])
                ways.setdefault(ends, way)
                rules[ends].append(edge)
        arriving: dict[int, list[list[Drawn]]] = defaultdict(list)
        for way in ways.values():
            arriving[id(way[-1])].append(way)
        out = []
        for (_, end), way in ways.items():
            peers = sorted(arriving[end], key=lambda w: w[-2].x + w[-2].width / 2)
            k, n, target = next(i for i, w in enumerate(peers) if w is way), len(peers), way[-1]
            room = min(target.width * 0.6, 30.0 * (n - 1))
            landing = target.x + target.width / 2 + (room * (k / (n - 1) - 0.5) if n > 1 else 0)
            out.append(f'<path d="{_curve(way, landing)}" fill="none" stroke="#9aa3ad" stroke-width="1.3"/>')
        return "".join(out)

    def _folded(self, station: Box) -> Drawn | None:
        """What stands for a vertex inside of a folded group."""
        if not isinstance(station, Vertex):
            return None
        path = station.scope
        for group, drawn in self.at.items():
            if isinstance(group, Group) and (path == group.path or path.startswith(group.path + ".")):
                return drawn
        return None


def _curve(way: list[Drawn], landing: float) -> str:
    x, y = way[0].x + way[0].width / 2, way[0].y + way[0].height
    d = f"M{x:.1f} {y:.1f}"
    stops = [(w.x + w.width / 2, w.y, w.y + w.height) for w in way[1:-1]] + [(landing, way[-1].y, way[-1].y)]
    for nx, top, bottom in stops:
        h = max(10.0, (top - y) / 2)
        d += f"C{x:.1f} {y + h:.1f} {nx:.1f} {top - h:.1f} {nx:.1f} {top:.1f}"
        if bottom > top:
            d += f"L{nx:.1f} {bottom:.1f}"
        x, y = nx, bottom
    return d


def _facts(group: Group) -> str:
    ops = sum(v.kind == "op" for v in group.vertices())
    return f"{group.path}: {ops} op{'s' * (ops != 1)}"


# ------------------------------------------------------------------------------------------------ cards
def _card(c: Card, v: Vertex, backward: bool) -> Drawn:
    """Lines of text, formulas and small pictures, one below the other."""
    width = max(96.0, _width(c.title, 13) * 1.06 + _width(c.shape, 12) + 38)
    y = 21.0
    parts: list[str] = []
    for latex, ink, size in _formulas(c, backward):
        drawn = outline(latex, size)
        if drawn is None:  # a word that mathtext doesn't know: as it is written
            parts.append(_text(10, y + 13, latex, 11, ink))
            width, y = max(width, _width(latex, 11) + 20), y + LINE
            continue
        parts.append(f'<path d="{drawn.path}" fill="{ink}" transform="translate(10 {y + 5:.1f})"/>')
        width, y = max(width, drawn.width + 20), y + drawn.height + 8
    if c.params:
        parts.append(_text(10, y + 12, c.params, 10.5, SOFT))
        width, y = max(width, _width(c.params, 10.5) + 20), y + SMALL_LINE
    for word, text, array, ink in (("value", c.value, v.value, INK), ("gradient", c.gradient, v.gradient, RED)):
        if not text:
            continue
        heat, w, h = _heat(array)
        row = max(SMALL_LINE, h + 4)
        parts.append(_text(10, y + row / 2 + 5, word, 11.5, SOFT if ink == INK else RED))
        parts.append(f'<g transform="translate(66 {y + (row - h) / 2 + 1:.1f})">{heat}</g>')
        parts.append(_text(72 + w, y + row / 2 + 5, text, 11.5, ink))
        width, y = max(width, 72 + w + _width(text, 11.5) + 12), y + row
    height = y + 8
    tint = {"parameter": "#fff8f1", "leaf": "#fff8f1", "data": "#f6f7f8"}.get(c.family, "#ffffff")
    shell = (
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="6" fill="{tint}" stroke="#dcd8ce"/>'
        f'<path d="M6 1.2H{width - 6:.1f}" stroke="{FAMILIES[c.family]}" stroke-width="2.4" stroke-linecap="round"/>'
    )
    head = _text(10, 17, c.title, 13, FAMILIES[c.family], bold=True)
    head += _text(width - 10, 17, c.shape, 12, SOFT, anchor="end")
    return Drawn(width, height, shell + head + "".join(parts))


def _formulas(c: Card, backward: bool) -> list[tuple[str, str, float]]:
    lines = [(c.latex, INK, 13.0)] if c.latex else []
    if backward:
        lines += [(f, RED, 11.0) for _, rule in c.rules for f in (rule.symbols, rule.numbers) if f]
    return lines


def _heat(array: Any) -> tuple[str, float, float]:
    if array is None or array.ndim == 0 or array.size < 2:
        return "", -6.0, 0.0
    rows = picture(array)
    cells = "".join(
        f'<rect x="{j * CELL:g}" y="{i * CELL:g}" width="{CELL + 0.1:g}" height="{CELL + 0.1:g}" fill="{colour(x)}"/>'
        for i, row in enumerate(rows)
        for j, x in enumerate(row)
    )
    return cells, rows.shape[1] * CELL, rows.shape[0] * CELL


def _width(text: str, size: float) -> float:
    """Of sans-serif text, from the mean of its letters: fonts differ, so boxes leave room."""
    return sum(0.36 if ch in "iljt.,:;'|![]()f1 " else 0.86 if ch in "mwMW×…" else 0.62 for ch in text) * size


def _text(x: float, y: float, text: str, size: float, ink: str, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{ink}"{weight}{where}>{escape(text)}</text>'
