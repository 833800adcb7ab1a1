r"""`explain(loss, wrt=w)`: the chain rule from the loss to one weight, as a derivation.

    forward      z^{(1)} = W^{(1)} a^{(0)} + b^{(1)}, ...
    chain        ∂J/∂W^{(1)} = ∂J/∂z^{(2)} ∂z^{(2)}/∂a^{(1)} ∂a^{(1)}/∂z^{(1)} ∂z^{(1)}/∂W^{(1)}
    backward     δ^{(1)} = ((W^{(2)})^T δ^{(2)}) ⊙ σ'(z^{(1)}), ...
    result       ∂J/∂W^{(1)} = δ^{(1)} (a^{(0)})^T = numbers

Every step is read off a record: elementwise ops from the formula of their vjp, products from their index notation. An
op that has neither is written as its Jacobian, and a fused one as what it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import expr
from ..autograd import no_grad, unbroadcast
from ..dtypes import SEVERAL_ROUNDINGS, is_float
from ..errors import ArgumentError, GradientError
from ..formula import Formula
from ..op import ElementwiseOp
from ..shapes import prod
from ..tensor import Tensor
from .contraction import COTANGENT, Contraction, forward
from .derivation import Derivation, Line
from .given import named
from .graph import Edge, Graph, Vertex, input_values
from .notation import Notation
from .numbers import plain
from .terms import (
    Applied,
    Called,
    Chain,
    Hadamard,
    Indexed,
    Numbers,
    One,
    Product,
    Pulled,
    Scaled,
    Spread,
    Summed,
    Symbol,
    Term,
    Total,
    Transposed,
    partial,
)
from .vjps import averaged, contraction_of

PATHS = 3  # the chain is written out along so many ways from J to w, of more only the recursion
ENTRIES = 1 << 16  # of a Jacobian that is computed


def explain(loss: Tensor, wrt: Tensor, *, names: Mapping[str, Tensor] | None = None) -> Derivation:
    """The derivation of d(loss)/d(wrt), in symbols first and then in numbers.

    loss: one number, whose graph is still there (before backward, or kept). wrt: a leaf that it depends on. names:
    {"x": x}, for tensors that shall keep a name of their own. Each line's terms are equal, as nearly as the dtype
    allows, which `.check()` computes; `.value` is what the last line comes to and equals what backward gives.

    Raises GradientError where the graph was freed or the loss doesn't depend on `wrt`, ArgumentError where the loss is
    not one number, or is `wrt` itself.
    """
    if not isinstance(loss, Tensor):
        raise ArgumentError(f"explain: the loss is a tensor with its graph, not a {type(loss).__name__}")
    if not isinstance(wrt, Tensor):
        raise ArgumentError(f"explain: wrt is a tensor that the loss depends on, not a {type(wrt).__name__}")
    if loss.size != 1:
        raise ArgumentError(
            f"explain: the loss has shape {loss.shape}; a derivation starts from one number: loss.mean()"
        )
    if loss is wrt or loss.node is None:
        raise ArgumentError("explain: there is no step between the loss and wrt; the loss is computed from wrt by ops")
    graph = Graph(loss, caller="explain").unfolded()
    goal = graph.find(wrt)
    if goal.gradient is None:
        raise GradientError(f"explain: the loss does not depend on this tensor of shape {wrt.shape}")
    called = {v.number: name for name, t in named("explain", names).items() for v in _shown_as(graph, t)}
    return _Writer(graph, goal, Notation(graph, called)).write(called.get(goal.number, goal.title))


def _shown_as(graph: Graph, t: Tensor) -> list[Vertex]:
    """A tensor's vertices: one, but for data, which stands at each place where it is used."""
    return [graph.find(t)] if t.requires_grad else [v for v in graph.vertices if v.value is t.data]


class _Writer:
    def __init__(self, graph: Graph, goal: Vertex, notation: Notation) -> None:
        self.graph, self.goal, self.notation = graph, goal, notation
        self.name = notation.name
        self.closed: dict[Vertex, Term] = {}  # of each vertex done, its cotangent in terms of the one before it
        self.scales: dict[Vertex, Any] = {}  # of each step of a fused op
        self.on_path = self._between()

    def write(self, called: str) -> Derivation:
        floats = [str(v.dtype) for v in self.graph.vertices if is_float(v.dtype)]
        d = Derivation(f"d loss / d {called}", max(floats, key=SEVERAL_ROUNDINGS.__getitem__))
        d.parts.append(("Forward: what is computed", [self._forward(v) for v in self.on_path]))
        chain = self._chain()
        if chain is not None:
            d.parts.append(("The chain rule: one factor for each step from the loss to the weight", [chain]))
        back = [self._backward(v) for v in reversed(self.on_path) if v is not self.graph.root]
        d.parts.append(("Backward: from the loss to the first use", back))
        d.parts.append(("The result", [self._backward(self.goal)]))
        d.value = self.notation.stored(d.lines[-1].terms[-1].evaluate(), self.goal.shape)
        return d

    def _between(self) -> list[Vertex]:
        """The ops between the weight and the loss, oldest first."""
        reached = {self.goal}
        for v in self.graph.vertices:
            if any(e.source in reached for e in v.inputs):
                reached.add(v)
        leading: set[Vertex] = {self.graph.root}
        for v in reversed(self.graph.vertices):
            if any(e.target in leading for e in v.uses):
                leading.add(v)
        return [v for v in self.graph.vertices if v in reached and v in leading and v is not self.goal]

    # -------------------------------------------------------------------------------------------- letters
    def symbol(self, v: Vertex) -> Symbol:
        """The value of a vertex."""
        made = (lambda: self._scale(v)) if v.composed else None
        return Symbol(self.name[v], self.notation.shown(v.value), made)

    def _scale(self, v: Vertex) -> Any:
        """Of a step of a fused op, which its kernel may have rounded otherwise."""
        for u in self.graph.vertices[: v.number + 1]:  # oldest first, so that none waits for another
            if u.composed and u not in self.scales and u.value is not None:
                self.scales[u] = (self._made_of(u) or self._called(u)).scale()  # type: ignore[union-attr]
        return self.scales[v]

    def bar(self, v: Vertex) -> Symbol:
        """∂J/∂v, of a layer's input δ."""
        delta = self.name[v].startswith("z^")
        name = rf"\delta{self.name[v][1:]}" if delta else partial("J", self.name[v])
        return Symbol(name, self.notation.shown(v.gradient))

    def _known(self, v: Vertex) -> Term:
        """∂J/∂v, which is 1 where v is J."""
        return One(np.ones(())) if v is self.graph.root else self.bar(v)

    # -------------------------------------------------------------------------------------------- forward
    def _forward(self, v: Vertex) -> Line:
        made = self._made_of(v) or self._called(v)
        numbers = [] if v.value is None else [Numbers(self.notation.shown(v.value))]
        return Line("", [self.symbol(v), *([] if made is None else [made]), *numbers])

    def _called(self, v: Vertex) -> Term | None:
        """The op by its name."""
        values, op = input_values(v), v.node.op  # type: ignore[union-attr]
        if values is None:  # of what no derivative needs the tape keeps no values
            names = {e.slot: self.name[e.source] for e in v.inputs}
            operands = tuple(names.get(k, r"\cdot") for k in range(len(v.node.inputs)))  # type: ignore[union-attr]
            return Called(op.name, operands, lambda: self.notation.shown(v.value))

        def run(*given: Any) -> Any:
            with no_grad():
                return self.notation.shown(op(*map(_tensor, given), **v.node.params).data)  # type: ignore[union-attr]

        kind, inputs = averaged(op), tuple(self.name[e.source] for e in v.inputs)
        if kind and v.shape == ():
            x = v.inputs[0].source
            share = rf"\frac{{1}}{{{prod(x.shape)}}} " if kind == "mean" else ""
            return Indexed(
                rf"{share}\sum_{{i}} {{{inputs[0]}}}_{{i}}",
                (self.symbol(x),),
                lambda a: run(self.notation.stored(a, x.shape).astype(x.dtype)),
            )
        known = tuple(self.symbol(e.source) for e in v.inputs if e.source.value is not None)
        return Called(op.name, inputs, lambda: run(*values), known)

    def _made_of(self, v: Vertex) -> Term | None:
        op: Any = v.node.op  # type: ignore[union-attr]
        sources = {op.inputs[e.slot]: e.source for e in v.inputs if e.slot < len(op.inputs)}
        values = input_values(v)
        if isinstance(op, ElementwiseOp):
            if values is None:
                return None
            names = self._operands(op, v, sources)
            return None if names is None else Applied(op.forward, {n: names[n] for n in op.forward.inputs})
        if any(s.value is None for s in sources.values()):
            return None
        terms = forward(op, tuple(None if dtype is None else len(shape) for shape, dtype in v.node.inputs))  # type: ignore[union-attr]
        if terms is None or averaged(op) or any(len(t.axes) != len(v.shape) for t in terms):
            return None
        parts = [self._contracted(t, sources, v) for t in sorted(terms, key=lambda t: -len(t.factors))]
        return Total(tuple(parts)) if len(parts) > 1 else parts[0]

    def _operands(self, op: ElementwiseOp, v: Vertex, sources: Mapping[str, Vertex]) -> dict[str, Term] | None:
        """What the letters of an elementwise formula stand for: inputs, parameters, y."""
        terms: dict[str, Term] = {"y": self.symbol(v)} if v.value is not None else {}
        arrays = v.node.arrays  # type: ignore[union-attr]
        for slot, name in enumerate(op.inputs):
            if name in sources:
                if sources[name].value is not None:
                    terms[name] = self.symbol(sources[name])
            elif slot < len(arrays) and arrays[slot] is not None:
                terms[name] = Numbers(
                    np.asarray(plain(arrays[slot]) if hasattr(arrays[slot], "shape") else arrays[slot])
                )
            else:
                return None
        for name, value in v.node.params.items():  # type: ignore[union-attr]
            if value is not None:
                terms[name] = Numbers(np.asarray(value, np.float64))
        return terms

    def _contracted(self, c: Contraction, sources: Mapping[str, Vertex], v: Vertex, g: Term | None = None) -> Term:
        """A contraction as a product of matrices, where it is one; else with its indices."""
        terms = {f.array: self.symbol(sources[f.array]) if f.array != COTANGENT else g for f in c.factors}
        matrices = c.as_matrices()
        if matrices is not None and all(t is not None for t in terms.values()):
            ordered = matrices[::-1] if self.notation.columns else matrices
            out: Term | None = None
            for name, turned in ordered:
                term: Any = Transposed(terms[name]) if turned else terms[name]  # type: ignore[arg-type]
                out = term if out is None else Product(out, term)
            assert out is not None
            return out
        if len(c.factors) == 1 and not c.summed:  # a bias
            return terms[c.factors[0].array]  # type: ignore[return-value]
        if len(c.factors) == 1 and len(c.summed) == 1 and c.summed[0] == c.factors[0].axes[0] and len(c.axes) == 1:
            axis = 1 if self.notation.columns else 0
            keep = self.notation.columns
            return Summed(terms[c.factors[0].array], lambda a: a.sum(axis, keepdims=keep), "i")  # type: ignore[arg-type]
        shapes = {n: s.shape for n, s in sources.items()} | {COTANGENT: v.shape}
        factors = {n: t for n, t in terms.items() if t is not None}
        letters = {n: t.latex() for n, t in factors.items()}

        def compute(*values: Any) -> Any:
            arrays = {n: self.notation.stored(a, shapes[n]) for n, a in zip(factors, values, strict=True)}
            return self.notation.shown(c.evaluate(arrays))

        text = c.latex({n: rf"\left({t}\right)" if "^" in t else t for n, t in letters.items()})
        return Indexed(text, tuple(factors.values()), compute)

    # -------------------------------------------------------------------------------------------- the chain
    def _paths(self) -> list[list[Edge]]:
        """Every way from the loss to the weight; none where there are too many."""
        alive = {*self.on_path, self.goal}
        ways: list[list[Edge]] = []
        stack: list[tuple[Vertex, list[Edge]]] = [(self.graph.root, [])]
        while stack:
            v, way = stack.pop()
            if v is self.goal:
                ways.append(way)
                if len(ways) > PATHS:
                    return []
                continue
            stack.extend((e.source, [*way, e]) for e in v.inputs if e.source in alive)
            if len(stack) > 1000:
                return []
        return ways

    def _chain(self) -> Line | None:
        ways = self._paths()
        sizes = [prod(e.source.shape) * prod(e.target.shape) for way in ways for e in way]
        if not ways or max(sizes, default=0) > ENTRIES:
            return None
        chains = [self._along(way) for way in ways]
        total = chains[0] if len(chains) == 1 else Total(tuple(chains))
        return Line("", [Symbol(partial("J", self.name[self.goal]), self.bar(self.goal).value), total])

    def _along(self, way: Sequence[Edge]) -> Chain:
        names = (self.name[way[0].target], *(self.name[e.source] for e in way))
        shape = self.goal.shape
        composed = tuple(e.target.composed for e in way)
        return Chain(
            names, composed, lambda: [jacobian(e) for e in way], lambda row: self.notation.shown(row.reshape(shape))
        )

    # -------------------------------------------------------------------------------------------- backward
    def _backward(self, v: Vertex) -> Line:
        bar = self.bar(v)
        terms: list[Term] = [bar]
        if bar.name != partial("J", self.name[v]):
            terms.append(Symbol(partial("J", self.name[v]), bar.value))
        reading = [e for e in v.uses if e.target in self.on_path]
        shares = [self._share(e, self._known(e.target)) for e in reading]
        self.closed[v] = shares[0] if len(shares) == 1 else Total(tuple(shares))
        terms.append(self.closed[v])
        after = reading[0].target
        if len(reading) == 1 and self.name[v].startswith("z^") and self.name[after].startswith("a^"):
            terms.append(self._share(reading[0], self.closed[after]))  # δ in terms of the next δ
        return Line("", [*terms, Numbers(bar.value)])

    def _share(self, edge: Edge, g: Term) -> Term:
        """What one use of a vertex hands back to it: the op's vjp of g."""
        v, source = edge.target, edge.source
        op: Any = v.node.op  # type: ignore[union-attr]
        inner: Term | None = self._elementwise(edge, g) if isinstance(op, ElementwiseOp) else None
        if inner is not None:
            return inner
        kind = averaged(op)
        if kind and v.shape == ():
            shape = self.notation.shown(source.gradient).shape
            return Spread(g, shape, prod(source.shape) if kind == "mean" else 1)
        found = contraction_of(edge)
        if found is not None:
            sources = {op.inputs[e.slot]: e.source for e in v.inputs}
            if all(sources[f.array].value is not None for f in found.factors if f.array != COTANGENT):
                return self._contracted(found, sources, v, g)
        return Pulled(self.name[v], self.name[source], g, lambda a: self._pull(edge, a), v.composed)

    def _pull(self, edge: Edge, bar: Any) -> Any:
        return self.notation.shown(pull(edge, self.notation.stored(bar, edge.target.shape)))

    def _elementwise(self, edge: Edge, g: Term) -> Term | None:
        """ȳ ⊙ (the derivative): the formula of the vjp, with 1 for ȳ."""
        v = edge.target
        op: Any = v.node.op  # type: ignore[union-attr]
        formula = op.vjps[edge.slot]
        if formula is None:
            return None
        one = expr.lift(1)
        (out,) = expr.rewrite(formula.outs, lambda n, a: one if n == "var" and a[0] == "g" else None)
        slope = Formula(tuple(n for n in formula.inputs if n != "g"), (out,), formula.params)
        constant = expr.number(out)
        term: Term
        if constant is not None:
            term = g if constant == 1 else Scaled(float(constant), g)
        else:
            sources = {op.inputs[e.slot]: e.source for e in v.inputs}
            names = self._operands(op, v, sources)
            if names is None or any(n not in names for n in slope.used):
                return None
            used = Formula(tuple(n for n in slope.inputs if n in slope.used), slope.outs, slope.params)
            applied = Applied(used, {n: names[n] for n in used.inputs})
            simple = out.name == "var"
            slope_term: Term = names[out.args[0]] if simple else applied
            term = slope_term if isinstance(g, One) else Hadamard(g, slope_term)
        if edge.source.shape == v.shape:
            return term
        shape, whole = edge.source.shape, v.shape
        if any(s.shape not in ((), whole) for s in (e.source for e in v.inputs) if s is not edge.source):
            return None  # another input was repeated too: a Jacobian says it better

        def collect(a: Any) -> Any:
            stored = self.notation.stored(np.broadcast_to(a, self.notation.shown(np.zeros(whole)).shape), whole)
            return self.notation.shown(unbroadcast(stored, shape))

        return Summed(term, collect, "i")


# ------------------------------------------------------------------------------------------------ Jacobians
def pull(edge: Edge, bar: Any) -> Any:
    """The op's own vjp along one edge, in the layout of the code."""
    node: Any = edge.target.node
    cotangent = np.asarray(bar, dtype=node.dtype, order="C")  # one number keeps its shape ()
    pulled = node.op.pull(node, cotangent, False)[edge.slot]
    if pulled is None:
        return np.zeros(edge.source.shape)
    return np.array(unbroadcast(plain(pulled), edge.source.shape))


def _tensor(x: Any) -> Any:
    return Tensor(x) if hasattr(x, "shape") else x


def jacobian(edge: Edge) -> Any:
    """∂y/∂x of one edge as a matrix: a row for each element of y."""
    n = prod(edge.target.shape)
    rows = []
    for k in range(n):
        unit = np.zeros(n)
        unit[k] = 1.0
        rows.append(pull(edge, unit.reshape(edge.target.shape)).reshape(-1))
    return np.array(rows).reshape(n, prod(edge.source.shape))
