"""What a recorded step must do anew each time it is replayed, though its Python does not run again.

A recording (`engine.capture`) keeps launches with the addresses and numbers that they had. Whatever the host counts in
a step, the number of the step, a learning rate, the stream of a dropout mask, would stay what it was. So whoever
computes such a number says how:

    live(make, like)      numbers {name: value} that a formula takes: Python's, or in a recording the device's own
    word(make)            a 64-bit whole number of which a kernel needs the present value, such as a mask's stream
    each(do)              something that the host does in every step, such as counting it
    undo(do, ...)         what takes back that which was just counted
    reads, uses           memory from before the step, which must stay where it is (`engine/reached.py`)

Before a replay all of these happen again, in the order of the step, and their values are sent to the device together.
What can't be done anew is refused, by `refuse`. Whether it is recorded or replayed, a step that fails has not happened:
what was counted is taken back, the last first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from . import changes
from .errors import DeviceError, GradientError
from .reached import Reached

if TYPE_CHECKING:
    from .backends.protocol import Array, Backend, Graph

HOST_VALUES = "makes a tensor of values on the host", "give them to the step as an argument, or make the tensor before"
READING = "reads values back from the device", "return the tensor, and read it after the call"
WAITING = "waits for the device", READING[1]
MOVES = (
    "capture: the step gives {} other memory, and a replay would still read the old; "
    "write into it, t[...] = v or assign(v), or return the new values"
)
MOVED = (
    "capture: {} lies elsewhere than when the step was recorded, as after .to() or a new .data, and a replay would use "
    "the old memory; capture it anew"
)
ROOM = 4096  # numbers that a recording may make anew
_current: ContextVar[Recording | None] = ContextVar("chainrule_recording", default=None)


class Word(int):
    """A number that replays make anew: the present one for whoever computes on the host, its place for kernels."""

    memory: Array  # (1,), uint64, on the device


class Recording:
    """The host's part of a recorded step."""

    def __init__(self, backend: Backend, graph: Graph) -> None:
        self.host = np.zeros(ROOM, np.uint64)  # each number has 64 bits, be it a float or a word
        self.device = backend.asarray(self.host)
        self.count = 0
        self.reached = Reached(graph.made)
        self._backend = backend
        self._doings: list[Callable[[], None]] = []
        self._undoings: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # of the step that is about to happen
        self._changed: changes.Notes = []
        self._kept: list[Any] = []
        self._leaves: dict[int, Any] = {}  # those that got their gradient in this step, by id
        self._left: list[tuple[Any, Any]] = []  # they, and the gradients that the step leaves them
        self._cleared: set[int] = set()  # ids of the leaves whose gradients the step itself forgets

    @contextmanager
    def whole(self) -> Iterator[None]:
        """One step, from its host's part to its launch. An error inside takes back what the host has counted."""
        try:
            yield
        except BaseException:
            for do, args in reversed(self._undoings):
                do(*args)
            raise
        finally:
            self._undoings.clear()
        for _, array in self._changed:
            changes.mark(array)
        for leaf, gradient in self._left:
            leaf.grad = gradient

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, `live`, `word`, `each` and `undo` go to this recording."""
        token = _current.set(self)
        try:
            with changes.noted(self._changed):
                yield
        finally:
            _current.reset(token)
        self.reached.check(MOVES)
        self._left = [(leaf, leaf.grad) for leaf in self._leaves.values()]

    def again(self) -> None:
        """The host's part of one more step."""
        self.reached.check(MOVED)
        for leaf, _ in self._left:
            if leaf.grad is not None and id(leaf) not in self._cleared:
                raise GradientError(
                    f"capture: there is a gradient (shape {leaf.shape}) from before, and a replay writes over it, "
                    "where backward would add; call optimizer.zero_grad() in the step, or before each call"
                )
        token = _current.set(self)
        try:
            for do in self._doings:
                do()
        finally:
            _current.reset(token)
        self.send()

    def send(self) -> None:
        """The present numbers to the device."""
        if self.count:
            with self._backend.active():
                self.device[: self.count] = self._backend.asarray(self.host[: self.count].copy())

    def each(self, do: Callable[[], None]) -> None:
        self._doings.append(do)

    def undo(self, do: Callable[..., Any], *args: Any) -> None:
        self._undoings.append((do, args))

    def place(self, dtype: Any) -> tuple[Any, Array]:
        """Room for one number: on the host, to be written to, and on the device, (1,)."""
        if self.count == ROOM:
            raise DeviceError(f"capture: the step makes more than {ROOM} numbers anew; capture it in parts")
        here, there = (memory[self.count : self.count + 1].view(dtype)[:1] for memory in (self.host, self.device))
        self.count += 1
        return here, there

    def gradient(self, leaf: Any) -> None:
        """A leaf gets a gradient; one from before the recording would be added to as it was then, in each replay."""
        if leaf.grad is not None and id(leaf) not in self._leaves:
            raise GradientError(
                f"capture: backward adds to a gradient (shape {leaf.shape}) that is there from before the step; "
                "begin the step with optimizer.zero_grad()"
            )
        self._leaves[id(leaf)] = leaf
        self.undo(setattr, leaf, "grad", leaf.grad)
        self.reads(leaf.data, leaf)

    def keep(self, thing: Any) -> None:
        """Let it live for as long as the recording."""
        self._kept.append(thing)

    def reads(self, array: Array, tensor: Any) -> None:
        """The step reads an array, which lies in a tensor or is None's."""
        if self.reached.hold(array) and tensor is not None and self.reached.found(tensor, "data"):
            self.undo(setattr, tensor, "data", array)

    def writes_to(self, array: Array) -> bool:
        """Does the step change this array in place?"""
        return any(changes.overlap(array, changed) for _, changed in self._changed)

    def clears(self, leaf: Any) -> None:
        """The step forgets this gradient."""
        self._cleared.add(id(leaf))
        self.undo(setattr, leaf, "grad", leaf.grad)


def current() -> Recording | None:
    """The recording that is being made, or whose replay is being prepared."""
    return _current.get()


def live(make: Callable[[], dict[str, float]], like: Array) -> dict[str, Any]:
    """The numbers make(), for a formula of arrays like `like`; in a recording, (1,) arrays that replays make anew."""
    recording = _current.get()
    if recording is None:
        return make()
    places = {name: recording.place(like.dtype) for name in make()}

    def write() -> None:
        for name, value in make().items():
            places[name][0][0] = value

    each(write)
    return {name: there for name, (_, there) in places.items()}


def word(make: Callable[[], int]) -> int:
    """The number make(), 0 <= number < 2**64."""
    recording = _current.get()
    if recording is None:
        return make()
    here, there = recording.place(np.uint64)

    def write() -> None:
        here[0] = make()

    each(write)
    found = Word(here[0])
    found.memory = there
    return found


def each(do: Callable[[], None]) -> None:
    """Do it now, and before each replay in its turn."""
    do()
    recording = _current.get()
    if recording is not None:
        recording.each(do)


def undo(do: Callable[..., Any], *args: Any) -> None:
    """Should the step that is recorded or replayed fail, call do(*args): it takes back what was just done."""
    recording = _current.get()
    if recording is not None:
        recording.undo(do, *args)


def put(owner: Any, name: str, value: Any) -> None:
    """owner.name = value, until the step that is recorded or replayed fails: then it is again what it was."""
    undo(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def clear(leaves: Iterable[Any]) -> None:
    """Forget the gradients of these; in a recording, in each replay."""
    recording = _current.get()
    for leaf in leaves:
        if recording is not None:
            recording.clears(leaf)
        leaf.grad = None


def reads(arrays: Sequence[Any], tensors: Sequence[Any]) -> None:
    """The step works on these arrays (and numbers), of these tensors or of None."""
    recording = _current.get()
    if recording is not None:
        for array, tensor in zip(arrays, tensors, strict=True):
            if hasattr(array, "strides"):
                recording.reads(array, tensor)


def uses(owner: Any, name: str, arrays: Iterable[Array], what: str) -> None:
    """The step works on these arrays of owner.name, which errors call `what`."""
    recording = _current.get()
    if recording is not None:
        for array in arrays:
            recording.reached.hold(array)
        recording.reached.found(owner, name, what)


def is_older(array: Array) -> bool:
    """Is a step being recorded, and this memory from before it?"""
    recording = _current.get()
    return recording is not None and recording.reached.hold(array)


def refuse(what: str, remedy: str) -> None:
    """Raise DeviceError, in a recording."""
    if _current.get() is not None:
        raise DeviceError(f"capture: the step {what}, which a replay can't repeat; {remedy}")
