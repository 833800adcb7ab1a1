"""Where things stand in a drawing: rows from inputs to results, and the lanes in which long edges run between them.

Each group is laid out by itself, as rows of boxes; a group inside is one box. So a group can be folded and unfolded
without moving anything but what stands around it. An edge is a list of stations: its source, the lanes that were kept
free for it, its target.

    rank      the longest way from the inputs, as in Sugiyama's method; what is only read stands just above its reader
    order     within a row: by the mean place of the neighbours, swept down and up a few times
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import Edge, Graph, Group, Vertex

SWEEPS = 4


@dataclass(eq=False)
class Lane:
    """A gap in a row, through which edges from one box pass."""

    place: float = 0.0


Item = Vertex | Group
Box = Item | Lane


@dataclass(eq=False)
class Plan:
    """The rows of each group, and the stations of each edge."""

    tree: Group
    rows: dict[Group, list[list[Box]]] = field(default_factory=dict)
    stations: dict[Edge, list[Box]] = field(default_factory=dict)


def plan(graph: Graph) -> Plan:
    """Lay out a graph, group by group."""
    tree = graph.tree()
    p = Plan(tree)
    chain: dict[Vertex, list[Item]] = {}  # the groups around a vertex, from outside, and itself
    _chains(tree, [], chain)
    at: dict[Group, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        a, b = chain[edge.source], chain[edge.target]
        k = 0
        while a[k] is b[k]:
            k += 1
        for group in {*a[k - 1 : -1], *b[k - 1 : -1]}:
            assert isinstance(group, Group)
            at[group].append(edge)
    lanes: dict[Edge, dict[Group, list[Lane]]] = defaultdict(dict)
    for group in p_groups(tree):
        p.rows[group] = _rows(group, at[group], chain, lanes)
    for edge in graph.edges:
        a, b = chain[edge.source], chain[edge.target]
        out, into = [g for g in reversed(a[:-1]) if g not in b], list(b[:-1])
        middle = [lane for g in (*out, *into) if isinstance(g, Group) for lane in lanes[edge].get(g, ())]
        p.stations[edge] = [edge.source, *middle, edge.target]
    return p


def p_groups(group: Group) -> list[Group]:
    """A group and all those inside of it."""
    found = [group]
    for g in found:
        found.extend(item for item in g.items if isinstance(item, Group))
    return found


def _chains(group: Group, around: list[Item], chain: dict[Vertex, list[Item]]) -> None:
    here = [*around, group]
    for item in group.items:
        if isinstance(item, Vertex):
            chain[item] = [*here, item]
        else:
            _chains(item, here, chain)


def _rows(
    group: Group,
    edges: Sequence[Edge],
    chain: dict[Vertex, list[Item]],
    lanes: dict[Edge, dict[Group, list[Lane]]],
) -> list[list[Box]]:
    depth = len(chain[next(group.vertices())][: chain[next(group.vertices())].index(group)]) if group.items else 0

    def inside(v: Vertex) -> Item | None:
        c = chain[v]
        return c[depth + 1] if len(c) > depth + 1 and c[depth] is group else None

    order = {item: k for k, item in enumerate(sorted(group.items, key=_time))}
    ends = [(e, inside(e.source), inside(e.target)) for e in edges]
    forward = [(a, b) for _, a, b in ends if a is not None and b is not None and order[a] < order[b]]
    rank = _ranks(list(order), forward)
    last = max(rank.values(), default=0)

    shared: dict[tuple[object, int], Lane] = {}
    rows: list[list[Box]] = [[] for _ in range(last + 1)]
    for item in order:
        rows[rank[item]].append(item)
    links: list[tuple[Box, Box]] = []
    for e, a, b in ends:
        start = -1 if a is None else rank[a]
        stop = last + 1 if b is None else rank[b]
        way: list[Lane] = []
        for r in range(start + 1, stop):
            key = (e.source if a is None else a, r)
            if key not in shared:
                shared[key] = Lane()
                rows[r].append(shared[key])
            way.append(shared[key])
        lanes[e][group] = way
        stations = [*([] if a is None else [a]), *way, *([] if b is None else [b])]
        links.extend(zip(stations, stations[1:], strict=False))
    return _ordered([row for row in rows if row], links)


def _time(item: Item) -> float:
    """When a box was reached first; inputs wait until they are read."""
    if isinstance(item, Vertex):
        return min((e.target.time for e in item.uses), default=item.time) - 0.5 if item.kind != "op" else item.time
    return max((v.time for v in item.vertices() if v.kind == "op"), default=min(map(_time, item.items), default=0.0))


def _ranks(items: Sequence[Item], edges: Sequence[tuple[Item, Item]]) -> dict[Item, int]:
    """Rows from 0; items come sorted, every edge leads to a later one."""
    before: dict[Item, list[Item]] = defaultdict(list)
    after: dict[Item, list[Item]] = defaultdict(list)
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    rank: dict[Item, int] = {}
    for item in items:
        rank[item] = max((rank[a] + 1 for a in before[item]), default=0)
    for item in items:
        if not before[item] and after[item]:
            rank[item] = min(rank[b] for b in after[item]) - 1
    return rank


def _ordered(rows: list[list[Box]], links: Sequence[tuple[Box, Box]]) -> list[list[Box]]:
    up: dict[Box, list[Box]] = defaultdict(list)
    down: dict[Box, list[Box]] = defaultdict(list)
    for a, b in links:
        up[b].append(a)
        down[a].append(b)
    place: dict[Box, float] = {}
    for row in rows:
        _number(row, place)
    for sweep in range(SWEEPS):
        neighbours, sequence = (up, rows) if sweep % 2 == 0 else (down, rows[::-1])
        for row in sequence:
            row.sort(key=lambda box: _mean(place, neighbours[box], place[box]))
            _number(row, place)
    return rows


def _number(row: list[Box], place: dict[Box, float]) -> None:
    """Places in a row count from its middle: rows are centred."""
    for k, box in enumerate(row):
        place[box] = k - (len(row) - 1) / 2


def _mean(place: dict[Box, float], neighbours: Sequence[Box], own: float) -> float:
    return sum(place[n] for n in neighbours) / len(neighbours) if neighbours else own
