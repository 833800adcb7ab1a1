"""The sizes of a pretrained model, as the config.json of Hugging Face has them.

Whoever wrote the file chose what stands in it, so each entry is looked at before anything is built of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

from engine.errors import ArgumentError, CheckpointError


@dataclass
class Config:
    """The sizes of a model, with the names and defaults of Hugging Face's config.json.

    model_type  of config.json; other: entries that were read and mean nothing here, written back as they were
    """

    model_type: ClassVar[str]
    supported: ClassVar[dict[str, tuple[Any, ...]]] = {}  # entries of which only some values are built
    other: dict[str, Any] = field(default_factory=dict, kw_only=True, repr=False)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any], **changes: Any) -> Self:
        """From a config.json, with changes. CheckpointError for another model, a variant that is not built, or an entry
        of the wrong kind.
        """
        given = entries.get("model_type", cls.model_type)
        if given != cls.model_type:
            raise CheckpointError(f"this is a '{given}', not a '{cls.model_type}': load it with that model's class")
        names = {f.name for f in fields(cls)} - {"other"}
        unknown = changes.keys() - names
        if unknown:
            raise ArgumentError(f"{cls.__name__}: unknown argument {sorted(unknown)}; there are {sorted(names)}")
        if isinstance(entries.get("id2label"), (dict, list)) and "num_labels" in names:
            entries = {"num_labels": len(entries["id2label"])} | dict(entries)
        for name, values in cls.supported.items():
            if entries.get(name, values[0]) not in values:
                raise CheckpointError(f"{name}={entries[name]!r} is not built; there is {', '.join(map(repr, values))}")
        for f in fields(cls):
            if f.name in entries and f.name in names and not _is_a(str(f.type), entries[f.name]):
                raise CheckpointError(f"{f.name}={entries[f.name]!r} in config.json is no {f.type}, or below 0")
        known = {k: v for k, v in entries.items() if k in names} | changes
        return cls(**known, other={k: v for k, v in entries.items() if k not in names})

    def to_dict(self) -> dict[str, Any]:
        own = {k: v for k, v in asdict(self).items() if k != "other"}
        return {**self.other, **own, "model_type": self.model_type}


KINDS = {"int": int, "float": (int, float), "str": str, "bool": bool, "dict[str, Any]": dict}


def _is_a(annotation: str, value: Any) -> bool:
    """Is a value what a field's annotation says, "int" or "float | None"? Sizes and rates are not below 0."""
    kind, *rest = annotation.split(" | ")
    if value is None or (isinstance(value, bool) and kind != "bool"):
        return value is None and bool(rest)
    return isinstance(value, KINDS[kind]) and not (kind in ("int", "float") and value < 0)
