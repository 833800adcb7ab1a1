"""Look at a computation: its ops, equations, shapes, values and gradients.

from engine.view import explain, sabotage, view
view(loss)                       # in a notebook; view(loss).save("graph.html") elsewhere
explain(loss, wrt=w)             # the chain rule from the loss to w, step by step
with sabotage("softmax"): ...    # a planted error, to watch the gradient check catch it
"""

from ..planted import sabotage
from .derivation import Derivation
from .explain import explain
from .picture import View, view
from .text import graph

__all__ = ["Derivation", "View", "explain", "graph", "sabotage", "view"]
