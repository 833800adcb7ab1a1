"""Keys and values of what was read already, so that the next token costs one query instead of the whole text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import replay
from engine.backends import backend_of
from engine.errors import GradientError, ShapeError
from engine.tensor import Tensor

Array = Any
ROOM = 64  # positions that a cache begins with; it doubles when they are full


class KeyValueCache:
    """Given to a model or layer as `cache=`: it attends to what the cache holds, and adds what it reads.

        cache = KeyValueCache()
        model(ids[:, :-1], cache=cache)         # T positions
        model(ids[:, -1:], cache=cache)         # one more: no key is computed twice

    For use without gradients: GradientError where one is recorded. `length` is the number of positions read. What a
    decoder attends to in an encoder's sequence is kept as well, as long as it is given the same sequence.
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
        replay.refuse("lengthens a KeyValueCache", "a captured step reads whole sequences")
        _refuse_gradients(keys, values)
        return self._entries.setdefault(id(layer), _Entry()).extend(keys.data, values.data)

    def extend_mask(self, layer: Any, mask: Any, shape: tuple[int, int]) -> Any:
        """After `extend` by (N,T): which of all positions are real, (N,S), or None for every one.

        mask: what the new ones bring along, truth values (N,T), or None.
        """
        return self._entries[id(layer)].extend_mask(mask, shape)

    def of_another(
        self, layer: Any, sequence: Tensor, make: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of a sequence that is not the one being read: made anew only if it has changed."""
        replay.refuse("keeps what it computes in a KeyValueCache", "a captured step computes it each time")
        kept = self._others.get(id(layer))
        if kept is None or kept[0] is not sequence.data or kept[1] != sequence.storage.version:
            made = make()
            _refuse_gradients(*made)
            kept = self._others[id(layer)] = (sequence.data, sequence.storage.version, made)
        return kept[2]


class _Entry:
    """One layer's keys and values, in rooms that are larger than what they hold."""

    def __init__(self) -> None:
        self.length = 0
        self._rooms: list[Array] = []
        self._mask: Array | None = None  # (N,S); None while every position was real

    def extend(self, *new: Array) -> tuple[Tensor, Tensor]:
        if not self._rooms:
            self._rooms = [backend_of(x).xp.empty((x.shape[0], 0, *x.shape[2:]), x.dtype) for x in new]
        if len(self._rooms[0]) != len(new[0]):
            raise ShapeError(
                f"KeyValueCache: it holds the beginnings of {len(self._rooms[0])} texts, and is to be continued with "
                f"{len(new[0])}: a cache belongs to one batch, so begin with a new one"
            )
        start, self.length = self.length, self.length + new[0].shape[1]
        for i, x in enumerate(new):
            if self._rooms[i].shape[1] < self.length:
                room = backend_of(x).xp.empty((x.shape[0], max(ROOM, 2 * self.length), *x.shape[2:]), x.dtype)
                room[:, :start] = self._rooms[i][:, :start]
                self._rooms[i] = room
            self._rooms[i][:, start : self.length] = x
        keys, values = (Tensor(room[:, : self.length]) for room in self._rooms)
        return keys, values

    def extend_mask(self, mask: Any, shape: tuple[int, int]) -> Any:
        if mask is not None or self._mask is not None:
            N, T = shape
            xp = backend_of(self._rooms[0]).xp
            before = xp.ones((N, self.length - T), bool) if self._mask is None else self._mask
            self._mask = xp.concatenate([before, xp.ones((N, T), bool) if mask is None else mask], 1)
        return self._mask


def _refuse_gradients(*kept: Tensor) -> None:
    if any(t.requires_grad for t in kept):
        raise GradientError(
            "KeyValueCache: it keeps values, not how they were made, so no gradient would reach the keys and values: "
            "read within `with no_grad():`, and train without a cache"
        )
