"""Look at a computation: its ops, equations, shapes, values and gradients.

from engine.view import explain, sabotage, trace, view
view(loss)                       # in a notebook; view(loss).save("graph.html") elsewhere
explain(loss, wrt=w)             # the chain rule from the loss to w, step by step
with sabotage("softmax"): ...    # a planted error, to watch the gradient check catch it
with trace() as t: ...           # each op with its time and memory; t draws a timeline
"""

from ..planted import sabotage
from .derivation import Derivation
from .explain import explain
from .picture import View, view
from .text import graph
from .trace import Trace, trace

__all__ = ["Derivation", "Trace", "View", "explain", "graph", "sabotage", "trace", "view"]
