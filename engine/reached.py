"""What a recorded step works on that is older than the recording. Its launches know nothing of it but addresses.

So nobody else may be given this memory while the recording lives, though the tensor that it belonged to is long gone;
and where a tensor was given other memory meanwhile, a replay would go on with the old.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import DeviceError

Array = Any


class Reached:
    """Memory from before a recording, and the attributes where the step found it."""

    def __init__(self, is_new: Callable[[Array], bool]) -> None:
        """is_new(array): was its memory allocated by the recorded work itself?"""
        self.is_new = is_new
        self._held: dict[int, Array] = {}  # by id, which stays theirs since they are held
        self._places: dict[tuple[int, str], tuple[weakref.ref[Any], Any, str]] = {}  # by owner and attribute

    def hold(self, array: Array) -> bool:
        """Keep this memory from being used for anything else. Is it older than the recording?"""
        if id(array) in self._held:
            return True
        if isinstance(array, np.ndarray) or self.is_new(array):  # no launch reads the host's memory
            return False
        self._held[id(array)] = array
        return True

    def found(self, owner: Any, name: str, what: str = "") -> bool:
        """The step found such memory at owner.name, and errors call it `what`. Is that new to us?"""
        known = self._places.get((id(owner), name))
        if known is not None and known[0]() is owner:
            return False
        self._places[id(owner), name] = weakref.ref(owner), getattr(owner, name), what
        return True

    def check(self, problem: str) -> None:
        """Raise DeviceError where something else is now at such a place. Owners that are gone need nothing."""
        for (_, name), (find, value, what) in self._places.items():
            owner = find()
            if owner is not None and getattr(owner, name) is not value:
                raise DeviceError(problem.format(what or _described(owner, value)))


def _described(tensor: Any, array: Array) -> str:
    path = getattr(tensor, "path", "")
    return f"{f'parameter {path!r}' if path else 'a tensor'} of shape {array.shape}"
