"""A model as a table: its layers, the shapes of their results, their numbers of parameters."""

from __future__ import annotations

from typing import Any

from layers.spec import words


def summary(model: Any) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{type(model).__name__} '{model.name}'", title_justify="left")
    table.add_column("layer")
    table.add_column("output shape")
    table.add_column("parameters", justify="right")
    for name, shape, parameters in rows(model):
        table.add_row(name, shape, parameters)
    trainable = sum(p.size for p in model.trainable_weights if p.built)
    frozen = sum(p.size for p in model.non_trainable_weights if p.built)
    console = Console()
    console.print(table, markup=False)
    kib = sum(p.size * p.dtype.itemsize for p in model.weights if p.built) / 1024
    console.print(f"{trainable + frozen:,} parameters ({kib:,.1f} KiB): {trainable:,} trainable, {frozen:,} not")


def rows(model: Any) -> list[tuple[str, str, str]]:
    """(layer, output shape, parameters) of each layer; a question mark where it is not built."""
    shapes = output_shapes(model)
    out = []
    for path, layer in model.parts():
        if layer in model.layers:
            shape = shapes.get(id(layer))
            built = all(p.built for p in layer.weights) and layer.built
            count = f"{layer.count_params():,}" if built else "?"
            out.append((f"{path} {layer.name} ({type(layer).__name__})", shape or "?", count))
    return out


def output_shapes(model: Any) -> dict[int, str]:
    """By id of the layer, where the model knows them."""
    if getattr(model, "_steps", None):
        return {id(step.layer): ", ".join(words(s) for s in step.shapes) for step in model._steps}
    known = getattr(model, "_shapes", [])[1:]
    return {id(layer): words(shape) for layer, shape in zip(model.layers, known, strict=False)}
