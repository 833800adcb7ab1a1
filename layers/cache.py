"""Keys and values of what was read already, so that the next token costs one query instead of the whole text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.backends import backend_of
from engine.tensor import Tensor

Array = Any
ROOM = 64  # positions that a cache begins with; it doubles when they are full


class KeyValueCache:
    """Given to a model or layer as `cache=`: it attends to what the cache holds, and adds what it reads.

        cache = KeyValueCache()
        model(ids[:, :-1], cache=cache)         # T positions
        model(ids[:, -1:], cache=cache)         # one more: no key is computed twice

    For use without gradients. `length` is the number of positions read. What a decoder attends to in an encoder's
    sequence is kept as well, as long as it is given the same sequence.
    """

    def __init__(self) -> None:
        self._entries: dict[Any, _Entry] = {}
        self._others: dict[Any, tuple[Any, int, tuple[Tensor, Tensor]]] = {}

    @property
    def length(self) -> int:
        return min((entry.length for entry in self._entries.values()), default=0)

    def length_of(self, layer: Any) -> int:
        """Positions that this layer has read."""
        return self._entries[id(layer)].length if id(layer) in self._entries else 0

    def extend(self, layer: Any, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (N,T,g,d) and (N,T,g,e); all that this layer has read so far, (N,S,g,d) and (N,S,g,e)."""
        return self._entries.setdefault(id(layer), _Entry()).extend(keys.data, values.data)

    def of_another(
        self, layer: Any, sequence: Tensor, make: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of a sequence that is not the one being read: made anew only if it has changed."""
        kept = self._others.get(id(layer))
        if kept is None or kept[0] is not sequence.data or kept[1] != sequence.storage.version:
            kept = self._others[id(layer)] = (sequence.data, sequence.storage.version, make())
        return kept[2]


class _Entry:
    """One layer's keys and values, in rooms that are larger than what they hold."""

    def __init__(self) -> None:
        self.length = 0
        self._rooms: list[Array] = []

    def extend(self, *new: Array) -> tuple[Tensor, Tensor]:
        start, self.length = self.length, self.length + new[0].shape[1]
        if not self._rooms:
            self._rooms = [backend_of(x).xp.empty((x.shape[0], 0, *x.shape[2:]), x.dtype) for x in new]
        for i, x in enumerate(new):
            if self._rooms[i].shape[1] < self.length:
                room = backend_of(x).xp.empty((x.shape[0], max(ROOM, 2 * self.length), *x.shape[2:]), x.dtype)
                room[:, :start] = self._rooms[i][:, :start]
                self._rooms[i] = room
            self._rooms[i][:, start : self.length] = x
        keys, values = (Tensor(room[:, : self.length]) for room in self._rooms)
        return keys, values
