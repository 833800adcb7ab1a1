"""Finding what a layer holds: by attribute names and indices, depth first; and noticing that it may hold another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from engine.parameter import Parameter, join_path
from engine.random import Generator


class HasParts(Protocol):
    def parts(self) -> Iterator[tuple[str, Any]]: ...


def has_parts(value: Any) -> bool:
    """Is it a layer? By its method: a pathlib.Path has `parts`, too."""
    return callable(getattr(type(value), "parts", None))


class Revision:
    """Counts how often a part was given to any layer: who has seen this number knows that all is as before."""

    number = 0

    @classmethod
    def note(cls, value: Any) -> None:
        """`value` becomes a layer's attribute."""
        if isinstance(value, (Parameter, Generator, list, tuple, dict)) or has_parts(value):
            cls.number += 1


def parts_in(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(path, part) for each parameter, generator and layer in an attribute's value."""
    if isinstance(value, (Parameter, Generator)) or has_parts(value):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from parts_in(f"{path}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from parts_in(f"{path}.{key}", item)


def walk(layer: HasParts) -> Iterator[tuple[str, Any]]:
    """(path, part) for each part of a layer and of those below; what is shared comes once, under its first path."""
    seen = {id(layer)}
    stack = [("", layer.parts())]
    while stack:
        prefix, parts = stack[-1]
        for name, part in parts:
            if id(part) in seen:
                continue
            seen.add(id(part))
            path = join_path(prefix, name)
            yield path, part
            if has_parts(part):
                stack.append((path, part.parts()))
                break
        else:
            stack.pop()
