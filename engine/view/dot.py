"""A graph in the DOT language, for Graphviz and whoever else reads it."""

from __future__ import annotations

from .cards import FAMILIES, card
from .given import printable
from .graph import Graph, Group, Vertex


def dot(graph: Graph) -> str:
    """Clusters are scopes, boxes are vertices, an edge carries the equation of what flows back along it."""
    lines = [
        "digraph {",
        '  rankdir=TB; node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];',
    ]
    lines += _group(graph.tree(), graph, "  ")
    for v in graph.vertices:
        for edge, rule in card(v, graph).rules:
            lines.append(f'  v{edge.source.number} -> v{v.number} [label={quoted(rule.symbols)}, fontcolor="#b3261e"];')
        ruled = {id(e) for e, _ in card(v, graph).rules}
        lines += [f"  v{e.source.number} -> v{v.number};" for e in v.inputs if id(e) not in ruled]
    return "\n".join([*lines, "}"])


def _group(group: Group, graph: Graph, indent: str) -> list[str]:
    lines = []
    for item in group.items:
        if isinstance(item, Vertex):
            c = card(item, graph)
            text = "\n".join(
                t for t in (f"{c.title}  {c.shape}", c.latex, c.value, c.gradient and f"gradient {c.gradient}") if t
            )
            lines.append(f"{indent}v{item.number} [label={quoted(text)}, color={quoted(FAMILIES[c.family])}];")
        else:
            lines.append(f"{indent}subgraph {quoted('cluster_' + item.path)} {{")
            lines.append(f'{indent}  label={quoted(item.path)}; color="#d9d4c6";')
            lines += [*_group(item, graph, indent + "  "), indent + "}"]
    return lines


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes mean themselves."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
