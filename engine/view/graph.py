"""The computation behind a tensor, read off its tape: vertices, edges, scopes, values and gradients.

A tape keeps only what its vjps read. A value that no node kept is computed again from the values before it, where these
are known; where they are not, a picture says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..autograd import Node, enable_grad, grad, no_grad
from ..backends import Array
from ..errors import ArgumentError, ChainRuleError, GradientError
from ..parameter import Parameter, join_path
from ..record import Op
from ..shapes import Shape
from ..tensor import Tensor
from .given import named

NUMBERS = 500  # a graph of more vertices is drawn without values and gradients, unless they are asked for


@dataclass(eq=False)
class Edge:
    """A result that an op reads as its input number `slot`."""

    source: Vertex
    target: Vertex
    slot: int


@dataclass(eq=False)
class Vertex:
    """An op's result, or what comes in from outside."""

    number: int
    kind: str  # "op", "parameter", "leaf" (gets `.grad`) or "data" (needs no gradient)
    title: str  # the op's name, the parameter's path, the name that the reader gave
    shape: Shape
    dtype: Any
    time: float
    node: Node | None = None
    tensor: Tensor | None = None
    scope: str = ""
    value: Array | None = None
    gradient: Array | None = None
    composed: bool = False  # is it a step of a fused op?
    inputs: list[Edge] = field(default_factory=list)
    uses: list[Edge] = field(default_factory=list)

    @property
    def latex(self) -> str:
        return _equation(self.node.op) if self.node is not None else ""


@dataclass(eq=False)
class Group:
    """What a part of a model computes: vertices, and the groups of parts of that part."""

    path: str
    items: list[Vertex | Group] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.path.rpartition(".")[2]

    def vertices(self) -> Iterator[Vertex]:
        for item in self.items:
            if isinstance(item, Vertex):
                yield item
            else:
                yield from item.vertices()


class Graph:
    """The graph behind y. vertices: oldest first, each after what it reads.

    names      {"x": tensor}: what to call leaves and data
    numbers    look up values, and compute gradients; None: where there are few vertices
    gradient   the cotangent of y, where y isn't one number
    caller     whose errors these are
    """

    def __init__(
        self,
        y: Tensor,
        *,
        names: Mapping[str, Tensor] | None = None,
        numbers: bool | None = True,
        gradient: Any = None,
        caller: str = "view",
    ) -> None:
        self.names = {id(t.data): name for name, t in named(caller, names).items()}
        self.caller = caller
        self.vertices: list[Vertex] = []
        self._of: dict[Any, Vertex] = {}
        self.entrances: dict[Vertex, int] = {}  # of a composition: its leaves, and which input of the fused op they are
        nodes = nodes_behind(y)
        for node in nodes:
            if node.freed:
                raise GradientError(
                    f"{caller}: the graph of '{node.op.name}' was freed by backward; look at it before, "
                    "or keep it with backward(retain_graph=True)"
                )
            self._add(node)
        self.root = self._of[id(y.node)] if y.node is not None else self._leaf(y, 0.0)
        self.root.value = y.data
        self.vertices.sort(key=lambda v: v.time)
        for k, v in enumerate(self.vertices):
            v.number = k
        _find_scopes(self.vertices)
        self.numbers = len(self) <= NUMBERS if numbers is None else numbers
        if self.numbers:
            self._find_values()
            if y.requires_grad and (y.size == 1 or gradient is not None):
                self._find_gradients(y, gradient)

    def __len__(self) -> int:
        return len(self.vertices)

    @property
    def edges(self) -> Iterator[Edge]:
        return (e for v in self.vertices for e in v.inputs)

    # -------------------------------------------------------------------------------------------- vertices
    def _add(self, node: Node) -> None:
        v = Vertex(0, "op", node.op.name, node.shape, node.dtype, float(node.time), node)
        self._of[id(node)] = v
        for slot, (parent, array, (shape, dtype)) in enumerate(
            zip(node.parents, node.arrays, node.inputs, strict=True)
        ):
            if isinstance(parent, Node):
                source = self._of[id(parent)]
            elif isinstance(parent, Tensor):
                source = self._leaf(parent, node.time - 0.5)
            elif dtype is None or (shape == () and array is None):
                continue  # a number stands in the equation; an input that was left out is not there
            else:
                source = self._data(node, slot, array, shape, dtype)
            edge = Edge(source, v, slot)
            v.inputs.append(edge)
            source.uses.append(edge)
        self.vertices.append(v)

    def _leaf(self, t: Tensor, time: float) -> Vertex:
        v = self._of.get(id(t))
        if v is None:
            kind = "parameter" if isinstance(t, Parameter) else "leaf" if t.requires_grad else "data"
            title = self.names.get(id(t.data)) or getattr(t, "path", "") or kind
            v = self._of[id(t)] = Vertex(0, kind, title, t.shape, t.dtype, time, tensor=t, value=t.data)
            self.vertices.append(v)
        return v

    def _data(self, node: Node, slot: int, array: Array | None, shape: Shape, dtype: Any) -> Vertex:
        key = (id(node), slot) if array is None else id(array)
        v = self._of.get(key)
        if v is None:
            title = self.names.get(id(array), "data")
            v = self._of[key] = Vertex(0, "data", title, shape, dtype, node.time - 0.5, value=array)
            self.vertices.append(v)
        return v

    # -------------------------------------------------------------------------------------------- numbers
    def _find_values(self) -> None:
        for v in self.vertices:
            if v.value is None and v.node is not None:
                v.value = v.node.y
            for edge in v.inputs:
                if edge.source.value is None and v.node is not None:
                    kept = v.node.arrays[edge.slot]
                    edge.source.value = kept if hasattr(kept, "shape") and kept.shape == edge.source.shape else None
        for v in self.vertices:
            if v.value is None and v.node is not None and (v.node.aux is None or composition_of(v.node) is not None):
                v.value = _again(v)

    def _find_gradients(self, y: Tensor, gradient: Any) -> None:
        wanted = [v for v in self.vertices if v.kind != "data"]
        stand_ins = [_stand_in(v) for v in wanted]
        found = grad(y, stand_ins, gradient, retain_graph=True, allow_unused=True)
        for v, g in zip(wanted, found, strict=True):
            v.gradient = None if g is None else g.data

    # -------------------------------------------------------------------------------------------- fused ops
    def unfolded(self) -> Graph:
        """Itself, with the steps of each fused op in its place (a product with a bias is no more than one step)."""
        for v in list(self.vertices):
            if v.kind == "op" and v.title != "linear" and (inner := self.composition(v)) is not None:
                self._splice(v, inner.unfolded())
        for k, v in enumerate(sorted(self.vertices, key=lambda v: v.time)):
            v.number = k
        self.vertices.sort(key=lambda v: v.number)
        return self

    def _splice(self, v: Vertex, inner: Graph) -> None:
        """The vertices of `inner` for v. Its leaves are v's inputs, its times lie between those of v and its inputs."""
        outside = {
            slot: next((e.source for e in v.inputs if e.slot == slot), None) for slot in inner.entrances.values()
        }
        stands: dict[Vertex, Vertex] = {}
        for u in inner.vertices:
            source = outside.get(inner.entrances.get(u, -1))
            if source is not None:
                stands[u] = source
                continue
            u.time = v.time - 0.4 + 0.3 * u.number / len(inner)
            u.scope = v.scope
            u.composed = u.kind == "op"
            self.vertices.append(u)
        for u in inner.vertices:
            for edge in u.inputs:
                if edge.source in stands:
                    edge.source = stands[edge.source]
                    edge.source.uses.append(edge)
        for edge in v.inputs:
            edge.source.uses.remove(edge)
        root = inner.root
        root.value = v.value if root.value is None else root.value
        for edge in v.uses:
            edge.source = root
        root.uses.extend(v.uses)
        self.vertices.remove(v)
        if self.root is v:
            self.root = root

    def composition(self, v: Vertex) -> Graph | None:
        """What a fused op is made of, on the same numbers; None where the op is not fused or an input is not known."""
        if v.node is None or composition_of(v.node) is None or (values := input_values(v)) is None:
            return None
        op: Any = v.node.op
        inputs = [
            Tensor(x, p is not None) if hasattr(x, "shape") else x for x, p in zip(values, v.node.parents, strict=True)
        ]
        with enable_grad():
            y = op.composition(*inputs, **v.node.params)
        known = {n: x for n, x in zip(op.inputs, inputs, strict=False) if isinstance(x, Tensor)}
        seed = v.gradient if v.gradient is not None and v.gradient.shape == y.shape else None
        graph = Graph(y, names=known, numbers=self.numbers, gradient=seed, caller=self.caller)
        for slot, x in enumerate(inputs):
            u = graph._of.get(id(x), graph._of.get(id(getattr(x, "data", None))))
            if u is not None and isinstance(x, Tensor):
                graph.entrances[u] = slot
        return graph

    def tree(self) -> Group:
        """The vertices by scope."""
        root = Group("")
        groups = {"": root}
        for v in self.vertices:
            _group(groups, v.scope).items.append(v)
        return root

    def find(self, wanted: Tensor) -> Vertex:
        """The vertex of a tensor."""
        v = self._of.get(id(wanted.node or wanted))
        if v is None:
            raise ArgumentError(
                f"{self.caller}: a tensor of shape {wanted.shape} is not in this graph; "
                "it was not used, or only under no_grad"
            )
        return v


@lru_cache(maxsize=2048)
def _equation(op: Op) -> str:
    """Of an op, put together once: a graph has thousands of nodes, of a few dozen ops."""
    return op.latex


def nodes_behind(y: Tensor) -> list[Node]:
    """The nodes that y was computed by, oldest first."""
    seen: dict[int, Node] = {}
    stack = [] if y.node is None else [y.node]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack.extend(p for p in node.parents if isinstance(p, Node))
    return sorted(seen.values(), key=lambda n: n.time)


def _stand_in(v: Vertex) -> Tensor:
    """A tensor whose gradient is that of the vertex."""
    if v.tensor is not None:
        return v.tensor
    assert v.node is not None
    return Tensor(v.value, True, v.node)


def composition_of(node: Node) -> Any:
    """The ops that a fused op equals, as a function; None of any other op."""
    return getattr(node.op, "composition", None)


def input_values(v: Vertex) -> list[Any] | None:
    """What the op of a vertex was called with, or None where the tape doesn't know."""
    assert v.node is not None
    sources = {e.slot: e.source for e in v.inputs}
    values: list[Any] = []
    value: Any
    for slot, (array, (_, dtype)) in enumerate(zip(v.node.arrays, v.node.inputs, strict=True)):
        value = sources[slot].value if slot in sources else array
        if value is None and (slot in sources or slot not in _optional(v.node)):
            return None
        if hasattr(value, "astype") and dtype is not None and value.dtype != dtype:
            value = value.astype(dtype)
        values.append(value)
    return values


def _optional(node: Node) -> Sequence[int]:
    """Inputs that may be left out."""
    optional = getattr(node.op, "optional", ())
    return [k for k, name in enumerate(getattr(node.op, "inputs", ())) if name in optional]


def _again(v: Vertex) -> Array | None:
    """The op's result, computed once more."""
    values = input_values(v)
    if values is None:
        return None
    assert v.node is not None
    try:
        with no_grad():
            y = v.node.op(*(Tensor(x) if hasattr(x, "shape") else x for x in values), **v.node.params).data
    except (ChainRuleError, TypeError, ValueError):
        return None
    return y if y.shape == v.shape else None


# ------------------------------------------------------------------------------------------------ scopes
def _group(groups: dict[str, Group], path: str) -> Group:
    found = groups.get(path)
    if found is None:
        found = groups[path] = Group(path)
        _group(groups, path.rpartition(".")[0]).items.append(found)
    return found


def _find_scopes(vertices: Sequence[Vertex]) -> None:
    """A parameter's scope is its layer; an op's is that of its parameters. An op without any lies within what encloses
    both its latest input and its first reader, or, if nothing does and it is elementwise, beside its input.
    """
    for v in vertices:
        if v.kind == "parameter":
            v.scope = v.title.rpartition(".")[0]
    own: dict[Vertex, str | None] = {}
    for v in vertices:
        paths = [e.source.scope for e in v.inputs if e.source.kind == "parameter"]
        own[v] = common(paths) if paths else None
    before: dict[Vertex, str | None] = {}
    for v in vertices:
        ops = [e.source for e in v.inputs if e.source.kind == "op"]
        latest = max(ops, key=lambda u: u.time, default=None)
        inherited = None if latest is None else before[latest]
        before[v] = inherited if own[v] is None else own[v]
    after: dict[Vertex, str | None] = {}
    for v in reversed(vertices):
        first = min((e.target for e in v.uses), key=lambda u: u.time, default=None)
        inherited = None if first is None else after[first]
        after[v] = inherited if own[v] is None else own[v]
    for v in vertices:
        if v.kind == "parameter":
            continue
        here = own[v]
        if here is None:
            a, b = before[v], after[v]
            here = common([a, b]) if a is not None and b is not None else ""
            if not here and a and v.node is not None and not v.node.op.signature:
                here = a
        v.scope = here if v.kind == "op" else ""
    for v in vertices:
        if v.kind in ("leaf", "data") and len({e.target.scope for e in v.uses}) == 1:
            v.scope = v.uses[0].target.scope


def common(paths: Sequence[str]) -> str:
    """The longest path that all others begin with: common(["a.b.c", "a.b.d"]) is "a.b"."""
    parts = [p.split(".") for p in paths]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return join_path(*shared)
