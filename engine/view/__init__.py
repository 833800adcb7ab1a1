"""Look at a computation: its ops, equations, shapes, values and gradients.

from engine.view import view
view(loss)                       # in a notebook; view(loss).save("graph.html") elsewhere
"""

from .picture import View, view
from .text import graph

__all__ = ["View", "graph", "view"]
