"""Parameters of ops that are integers: an op says in its signature which they are, and one rule holds for all.

    def topk(x, *, k: int, axis: int = -1, ...)
    def sum(x, *, axis: int | Sequence[int] | None = None, ...)

What Python takes as an index is an integer: 2, and NumPy's int64(2). A float is none, not even 2.0: a count that was
divided is more often a mistake than not. Neither is a boolean, which was meant for another argument.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError

Ints = int | Sequence[int]  # a number for both axes of an image, or one for each
WORDS = {"int": "an integer", "Sequence[int]": "a sequence of integers", "None": "None"}
INT = {int}
Declared = tuple[str, Any, tuple[str, ...]]  # name, default, what may be given


def declared(body: Callable[..., Any]) -> tuple[Declared, ...]:
    """The keyword parameters that are integers, or sequences of them, by their annotations."""
    found = []
    for p in inspect.signature(body).parameters.values():
        text = p.annotation if isinstance(p.annotation, str) else inspect.formatannotation(p.annotation)
        kinds = tuple(
            kind.strip().rpartition(".")[2] for kind in text.replace("Ints", "int | Sequence[int]").split("|")
        )
        if p.kind is p.KEYWORD_ONLY and set(kinds) <= WORDS.keys() and kinds != ("None",):
            found.append((p.name, p.default, kinds))
    return tuple(found)


def checked(op: str, integers: Iterable[Declared], params: dict[str, Any]) -> dict[str, Any]:
    """The params, with Python's own integers for what stands for one; ArgumentError for what does not."""
    for name, usual, kinds in integers:
        value = params.get(name, usual)
        if value is usual or (type(value) is int and "int" in kinds) or (value is None and "None" in kinds):
            continue
        if not (type(value) is tuple and set(map(type, value)) == INT and "Sequence[int]" in kinds):
            found = _read(value, kinds)
            if found is None:
                raise ArgumentError(f"{op}: {name} is {value!r}; give {_words(kinds)}{_such_as(value)}")
            params = {**params, name: found}
    return params


def _read(value: Any, kinds: tuple[str, ...]) -> int | tuple[int | None, ...] | None:
    """What this stands for; None where it stands for nothing."""
    if isinstance(value, (tuple, list, range)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        found = tuple(whole(v) for v in value)
        return None if None in found or "Sequence[int]" not in kinds else found
    return whole(value) if "int" in kinds else None


def whole(value: Any) -> int | None:
    """The integer that this is, or None. An int stays as it is: a `replay.Word` is made anew by replays."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    try:
        return operator.index(value)
    except (TypeError, ValueError):  # the second from a tensor of several elements
        return None


def _words(kinds: tuple[str, ...]) -> str:
    """An integer, a sequence of integers or None."""
    *first, last = [WORDS[kind] for kind in kinds]
    return f"{', '.join(first)} or {last}" if first else last


def _such_as(value: Any) -> str:
    """The integer that was meant, where that is plain."""
    return f", such as {int(value)}" if isinstance(value, (float, np.floating)) and value == value // 1 else ""
