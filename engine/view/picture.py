"""`view(y)`: the computation behind a tensor, in every medium."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..forks import cached_property
from ..tensor import Tensor
from . import html, svg
from .dot import dot
from .graph import Graph
from .text import graph as as_text


class View:
    """A drawing of a computation. In a notebook it shows itself; `save` writes .html, .svg, .dot or .txt."""

    def __init__(
        self,
        y: Tensor,
        *,
        names: Mapping[str, Tensor] | None = None,
        numbers: bool | None = None,
        gradient: Any = None,
        fold: bool | None = None,
        title: str = "",
    ) -> None:
        self._y, self._fold, self._title, self._names = y, fold, title, names
        self.graph = Graph(y, names=names, numbers=numbers, gradient=gradient)

    def text(self) -> str:
        """One line a node, results first."""
        return as_text(self._y, names=self._names)

    def svg(self, *, backward: bool = False) -> str:
        """A picture. backward: each op shows what it hands back to its inputs, with numbers."""
        return svg.draw(self.graph, fold=self._folded, backward=backward, title=self._title)

    def dot(self) -> str:
        """For Graphviz."""
        return dot(self.graph)

    def html(self) -> str:
        """A whole page in one file: nothing is fetched."""
        return html.page(self.graph, fold=self._fold, title=self._title or "computation graph")

    def save(self, path: str | Path) -> Path:
        """Write the drawing; the file's suffix says how."""
        path = Path(path)
        media = {".html": self.html, ".svg": self.svg, ".dot": self.dot, ".gv": self.dot, ".txt": self.text}
        if path.suffix not in media:
            raise ArgumentError(
                f"view: '{path.suffix}' is none of {', '.join(media)}; name the file after one of these"
            )
        path.write_text(media[path.suffix](), "utf-8")
        return path

    @cached_property
    def _fragment(self) -> str:
        return html.fragment(self.graph, fold=self._fold, title=self._title)

    @property
    def _folded(self) -> bool:
        return len(self.graph) > html.OPEN if self._fold is None else self._fold

    def _repr_html_(self) -> str:
        return self._fragment

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<view of {len(self.graph)} vertices: .html(), .svg(), .dot(), .text(), .save(path)>"


def view(
    y: Any,
    *,
    names: Mapping[str, Tensor] | None = None,
    numbers: bool | None = None,
    gradient: Any = None,
    fold: bool | None = None,
    title: str = "",
) -> Any:
    """Draw the computation behind a tensor: ops with equation, shape, value and gradient, edges with their vjp.

    y         a tensor with a graph (before backward, or after backward(retain_graph=True)); or anything that knows how
              to show itself, as a model does
    names     {"x": x}: what to call inputs that have no name of their own
    numbers   look up values and compute gradients; by default where there are at most 500 vertices
    gradient  the cotangent of y, where y is not one number
    fold      begin with all layers folded; by default where there are more than 80 vertices

    Raises GradientError when the graph was freed.
    """
    if not isinstance(y, Tensor):
        if hasattr(y, "__view__"):
            return y.__view__()
        raise ArgumentError(f"view: draws a tensor's graph or a model, not a {type(y).__name__}; pass the loss")
    return View(y, names=names, numbers=numbers, gradient=gradient, fold=fold, title=title)
