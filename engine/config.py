"""Objects that can be written down: as {"class_name", "config"} in a saved model, as a word ("he_normal") in a call.

The configuration of an object is what its constructor was given, so a class keeps each argument as an attribute of the
same name, and writes nothing else. Restoring looks a name up in a table and calls a constructor: no saved code runs.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar, Self

import numpy as np

from .errors import ArgumentError, near

OURS = "engine", "layers", "optim", "models"


class Configurable:
    """Base of what a saved model describes. A family (`layer`, `initializer`, `loss` ...) has one table of names."""

    family: ClassVar[str] = ""
    table: ClassVar[dict[str, type[Configurable]]] = {}

    def __init_subclass__(cls, family: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if family is not None:
            cls.family, cls.table = family, {}
        elif not cls.__name__.startswith("_"):
            name = key(cls.__name__)
            if name not in cls.table or cls.table[name].__module__.split(".")[0] not in OURS:  # never hide one of ours
                cls.table[name] = cls

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON has them."""
        return {name: plain(getattr(self, name)) for name in self.arguments()}

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """Names and defaults of the constructor's own arguments (`**options` go to the base class)."""
        parameters = inspect.signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)

    def __repr__(self) -> str:
        """The constructor's call, without what is at its default."""
        arguments = [(name, _word(getattr(self, name)), default) for name, default in self.arguments().items()]
        said = [f"{n}={v!r}" for n, v, d in arguments if v is not d and not _equal(v, d) and not _equal(v, (d, d))]
        return f"{type(self).__name__}({', '.join(said)})"


def _equal(value: Any, default: Any) -> bool:
    """`==` with one answer, for arrays too."""
    return np.array_equal(value, default) if isinstance(value, np.ndarray) else value == default


def _word(value: Any) -> Any:
    """A function, or an object of ours whose arguments are all at their defaults, by its name."""
    if isinstance(value, Configurable):
        return snake_case(type(value).__name__) if repr(value).endswith("()") else value
    return value.name if callable(value) and hasattr(value, "name") else value


def plain(value: Any) -> Any:
    """A value as JSON can hold it: objects of ours as {"class_name", "config"}, tuples as lists."""
    if isinstance(value, Configurable):
        return serialize(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, np.dtype):
        return value.name
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if callable(value) and isinstance(getattr(value, "name", None), str):  # an op, or a function that says its name
        return value.name
    raise ArgumentError(
        f"a {type(value).__name__} can't be written into a saved model: use a name that Chain Rule knows, "
        "or a class with get_config()"
    )


def serialize(thing: Configurable) -> dict[str, Any]:
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def lookup(family: type[Configurable], name: str) -> type[Configurable]:
    """The class called `name`, in snake_case or CamelCase. ArgumentError lists the names there are."""
    found = family.table.get(key(name))
    if found is None:
        names = sorted(snake_case(cls.__name__) for cls in family.table.values())
        alike = near(snake_case(name), names)
        raise ArgumentError(f"there is no {family.family} '{name}'; there are {', '.join(names)}{alike}")
    return found


def deserialize(family: type[Configurable], description: dict[str, Any]) -> Any:
    """The object that `serialize` described."""
    if not isinstance(description, dict) or not {"class_name", "config"} <= description.keys():
        raise ArgumentError(f"a saved {family.family} is {{'class_name': ..., 'config': ...}}, got {description!r}")
    cls = lookup(family, description["class_name"])
    try:
        return cls.from_config(description["config"])
    except TypeError as error:
        raise ArgumentError(
            f"the saved {family.family} {cls.__name__} does not fit this version's: {error}; it takes "
            f"{', '.join(cls.arguments()) or 'nothing'}"
        ) from error


def get(family: type[Configurable], what: Any) -> Any:
    """An object of a family from its name, class, description or itself; None and other callables pass."""
    if isinstance(what, str):
        return lookup(family, what)()
    if isinstance(what, dict):
        return deserialize(family, what)
    if isinstance(what, type) and issubclass(what, family):
        return what()
    if what is None or isinstance(what, family) or callable(what):
        return what
    article = "an" if family.family[0] in "aeiou" else "a"
    raise ArgumentError(f"{article} {family.family} is a name, an object or a function, got {what!r}")


def key(name: str) -> str:
    """One key for "max_pooling2d", "MaxPooling2D" and "max_pooling_2d"."""
    return name.replace("_", "").lower()


def snake_case(name: str) -> str:
    """MaxPooling2D -> max_pooling2d, KLDivergence -> kl_divergence, ReLU -> re_lu."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
