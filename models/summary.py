"""A model as a table: its layers, the shapes of their results, their parameters, and what a sample costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from engine import no_grad
from engine.errors import ChainRuleError
from engine.parameter import training_mode
from engine.tensor import Tensor
from engine.view import Trace, trace
from layers.spec import words


@dataclass(frozen=True)
class Row:
    """One layer. parameters, flops (of a sample, forward), bytes (parameters and one result): None if unknown.

    Where the model takes samples of any length, flops and bytes are of one step.
    """

    path: str
    name: str
    kind: str
    shape: str
    parameters: int | None
    flops: int | None
    bytes: int | None


def summary(model: Any) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{type(model).__name__} '{model.name}'"), title_justify="left")
    table.add_column("layer")
    table.add_column("output shape")
    for column in ("parameters", "FLOPs", "bytes"):
        table.add_column(column, justify="right")
    for row in rows(model):
        numbers = ("?" if n is None else f"{n:,}" for n in (row.parameters, row.flops, row.bytes))
        table.add_row(f"{row.path} {row.name} ({row.kind})", row.shape, *numbers)
    console = Console()
    console.print(table, markup=False)
    console.print(totals(model))


def totals(model: Any) -> str:
    trainable = sum(p.size for p in model.trainable_weights if p.built)
    frozen = sum(p.size for p in model.non_trainable_weights if p.built)
    kib = sum(p.size * p.dtype.itemsize for p in model.weights if p.built) / 1024
    return f"{trainable + frozen:,} parameters ({kib:,.1f} KiB): {trainable:,} trainable, {frozen:,} not"


class ModelView:
    """The table, for a notebook."""

    def __init__(self, model: Any) -> None:
        self.title, self.rows, self.totals = f"{type(model).__name__} '{model.name}'", rows(model), totals(model)

    def _repr_html_(self) -> str:
        most = {
            k: max([getattr(r, k) or 0 for r in self.rows], default=0) or 1 for k in ("parameters", "flops", "bytes")
        }
        body = "".join(
            f"<tr><td>{escape(r.path)}</td><td><b>{escape(r.name)}</b> {escape(r.kind)}</td><td>{escape(r.shape)}</td>"
            + "".join(_bar(getattr(r, k), m, c) for (k, m), c in zip(most.items(), BARS, strict=True))
            + "</tr>"
            for r in self.rows
        )
        head = "".join(f"<th>{h}</th>" for h in ("", "layer", "output shape", "parameters", "FLOPs a sample", "bytes"))
        return (
            f'<table style="font:13px system-ui,sans-serif;font-variant-numeric:tabular-nums">'
            f'<caption style="text-align:left;font-weight:600">{escape(self.title)}</caption>'
            f"<tr>{head}</tr>{body}</table><div style='font:12px system-ui,sans-serif'>{escape(self.totals)}</div>"
        )

    def __str__(self) -> str:
        lines = [f"{r.path:<12} {r.name:<20} {r.shape:<22} {r.parameters} {r.flops} {r.bytes}" for r in self.rows]
        return "\n".join([self.title, *lines, self.totals])

    __repr__ = __str__


BARS = ("#f0c7a5", "#b5cfe8", "#d3c5e6")


def _bar(n: int | None, most: int, colour: str) -> str:
    share = 100 * (n or 0) / most
    background = f"linear-gradient(to left,{colour} {share:.0f}%,transparent {share:.0f}%)"
    return f'<td style="text-align:right;background:{background}">{"?" if n is None else f"{n:,}"}</td>'


# ------------------------------------------------------------------------------------------------ what is in it
def rows(model: Any) -> list[Row]:
    """One for each layer of the model; None where something is not known, because it is not built."""
    costs = measured(model)
    shapes = seen_shapes(costs, measured(model, 2)) | output_shapes(model)
    out = []
    for path, layer in model.parts():
        if layer in model.layers:
            built = all(p.built for p in layer.weights) and layer.built
            cost = costs.get(id(layer))
            held = sum(p.size * p.dtype.itemsize for p in layer.weights if p.built)
            out.append(
                Row(
                    path,
                    layer.name,
                    type(layer).__name__,
                    shapes.get(id(layer)) or "?",
                    layer.count_params() if built else None,
                    None if cost is None else cost.flops,
                    None if cost is None else held + cost.bytes,
                )
            )
    return out


def output_shapes(model: Any) -> dict[int, str]:
    """By id of the layer, where the model knows them."""
    if getattr(model, "_steps", None):
        return {id(step.layer): ", ".join(words(s) for s in step.shapes) for step in model._steps}
    known = getattr(model, "_shapes", [])[1:]
    return {id(layer): words(shape) for layer, shape in zip(model.layers, known, strict=False)}


def seen_shapes(costs: dict[int, Cost], longer: dict[int, Cost]) -> dict[int, str]:
    """By id of the layer, what its results had for shapes; an axis that grew with the input's length is None."""
    found = {}
    for layer, cost in costs.items():
        pairs = zip(cost.shapes, longer[layer].shapes if layer in longer else cost.shapes, strict=True)
        axes = [[n if n == m else None for n, m in zip(a[1:], b[1:], strict=True)] for a, b in pairs]
        found[layer] = ", ".join(words((None, *rest)) for rest in axes)
    return found


@dataclass
class Cost:
    """What one layer's calls come to: FLOPs, bytes of the results, shapes of the last."""

    flops: int
    bytes: int
    shapes: list[tuple[int, ...]]


def measured(model: Any, length: int = 1) -> dict[int, Cost]:
    """By id of the layer, of one sample of zeros, `length` long where any length will do; nothing where none can be."""
    if not model.input_shapes or not all(p.built for p in model.weights):
        return {}
    for dtype in (model.dtype, np.int64):  # tokens are whole numbers
        shapes = [(1, *(length if n is None else n for n in shape[1:])) for shape in model.input_shapes]
        samples = [np.zeros(shape, dtype) for shape in shapes]
        found: dict[int, Cost] = {}
        try:
            with no_grad(), training_mode(False), trace() as t, _watched(model, t, found):
                model(samples if len(samples) > 1 else samples[0])
            return found
        except ChainRuleError:  # zeros of this kind are no input of this model
            continue
    return {}


@contextmanager
def _watched(model: Any, t: Trace, found: dict[int, Cost]) -> Iterator[None]:
    """Note what each layer's call adds to the trace."""

    def noting(layer: Any, call: Any) -> Any:
        def run(*inputs: Any, **options: Any) -> Any:
            before = len(t.events)
            y = call(*inputs, **options)
            work = sum(e.flops for e in t.leaves(before))
            results, before_it = _tensors(y), found.get(id(layer), Cost(0, 0, []))
            size = sum(a.data.nbytes for a in results)
            found[id(layer)] = Cost(before_it.flops + work, before_it.bytes + size, [a.shape for a in results])
            return y

        return run

    # each once, wherever it stands
    layers = list({id(layer): layer for layer in model.layers if "call" not in vars(layer)}.values())
    for layer in layers:
        vars(layer)["call"] = noting(layer, layer.call)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["call"]


def _tensors(y: Any) -> list[Tensor]:
    if isinstance(y, Tensor):
        return [y]
    parts = y.values() if isinstance(y, dict) else y if isinstance(y, (list, tuple)) else ()
    return [t for part in parts for t in _tensors(part)]
