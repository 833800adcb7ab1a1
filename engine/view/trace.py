"""What ran, when, for how long: `with trace() as t:` records each op, forward and backward.

    with trace() as t:
        loss = model(x); loss.backward()
    print(t)                       # a table by op
    t                              # in a notebook: a timeline
    t.save("trace.json")           # for chrome://tracing and Perfetto; .html and .svg are drawings

Outside of the block ops run as they always do, with nothing between them and their caller.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..blocks import Blocks
from ..cost import flops
from ..errors import ArgumentError
from ..expr import Sym
from ..forks import lock
from ..index import runs
from ..record import Op
from ..shapes import Shape
from ..tensor import Tensor
from .cards import FAMILIES, family_of
from .given import escape


@dataclass(frozen=True)
class Event:
    """One call of an op. start and end in seconds since the trace began; depth: within how many other ops."""

    record: Op  # of a user's own function, too, which is in no registry
    phase: str  # "forward" or "backward"
    start: float
    end: float
    bytes: int  # of its results
    depth: int
    thread: int
    shapes: tuple[Shape | None, ...]
    result: Shape
    params: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def op(self) -> str:
        return self.record.name

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def flops(self) -> int:
        """Floating-point operations, of a forward call. A fused op's are those of its composition, run on zeros."""
        if self.phase == "backward":
            return 0
        op = self.record
        if runs(op.note.definition) or getattr(op, "composition", None) is None:
            return flops(op, self.shapes, self.result, self.params)
        return _composed(op, self.shapes, tuple(sorted(self.params.items(), key=lambda p: p[0])))


class Trace:
    """The events of a `trace()` block, in the order in which they ended."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.began = time.perf_counter()

    # -------------------------------------------------------------------------------------------- words
    def rows(self) -> list[tuple[str, str, int, float, int, int]]:
        """(op, phase, calls, seconds, bytes, FLOPs) of the ops themselves, the longest first; ops that are made of
        others are counted there.
        """
        sums: dict[tuple[str, str], list[float]] = {}
        for e in self.leaves():
            entry = sums.setdefault((e.op, e.phase), [0, 0.0, 0, 0])
            for k, v in enumerate((1, e.seconds, e.bytes, e.flops)):
                entry[k] += v
        found = [(op, phase, int(n), s, int(b), int(f)) for (op, phase), (n, s, b, f) in sums.items()]
        return sorted(found, key=lambda row: -row[3])

    def leaves(self, since: int = 0) -> list[Event]:
        """The events, from number `since` on, that hold no other event."""
        pairs = zip([None, *self.events][since:], self.events[since:], strict=False)
        return [e for inner, e in pairs if inner is None or not self._holds(e, inner)]

    @staticmethod
    def _holds(outer: Event, inner: Event) -> bool:
        return inner.thread == outer.thread and inner.depth > outer.depth and inner.start >= outer.start

    def __str__(self) -> str:
        rows = self.rows()
        total = sum(r[3] for r in rows) or 1.0
        lines = [f"{'op':<28} {'phase':<9} {'calls':>6} {'ms':>10} {'share':>6} {'MiB':>9} {'MFLOP':>10}"]
        for op, phase, calls, seconds, size, work in rows:
            lines.append(
                f"{op:<28} {phase:<9} {calls:>6} {1e3 * seconds:>10.3f} {seconds / total:>6.1%} "
                f"{size / 2**20:>9.2f} {work / 1e6:>10.2f}"
            )
        return "\n".join([*lines, f"{len(self.leaves())} calls, {1e3 * total:.3f} ms in ops"])

    def __repr__(self) -> str:
        return f"<trace of {len(self.leaves())} calls: print it, .html(), .svg(), .save(path)>"

    # -------------------------------------------------------------------------------------------- pictures
    def svg(self, width: float = 960.0) -> str:
        """A timeline: time runs to the right, an op that is made of others stands above them."""
        from .timeline import draw

        return draw(self.events, width)

    def html(self) -> str:
        return f"{self.svg()}<pre style='font-size:12px'>{escape(str(self))}</pre>"

    _repr_html_ = html

    def chrome(self) -> str:
        """Trace events as JSON, times in microseconds."""
        events = [
            {
                "name": e.op, "cat": e.phase, "ph": "X", "ts": 1e6 * e.start, "dur": 1e6 * e.seconds, "pid": 0,
                "tid": e.thread, "args": {"bytes": e.bytes, "shape": list(e.result)},
            }
            for e in self.events
        ]  # fmt: skip
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})

    def save(self, path: str | Path) -> Path:
        """Write it; .json for Chrome's trace viewer, .html or .svg as a drawing, .txt as a table."""
        path = Path(path)
        media: dict[str, Callable[[], str]] = {
            ".json": self.chrome, ".svg": self.svg, ".html": self.html, ".txt": self.__str__,
        }  # fmt: skip
        if path.suffix not in media:
            raise ArgumentError(
                f"trace: '{path.suffix}' is none of {', '.join(media)}; name the file after one of these"
            )
        path.write_text(media[path.suffix](), "utf-8")
        return path


# ------------------------------------------------------------------------------------------------ recording
_tracing: Blocks[Trace] = Blocks("chainrule_trace")
BACKWARD = object()  # stands for an op whose vjp runs: what that calls is part of it
_open: ContextVar[tuple[Any, ...]] = ContextVar("chainrule_trace_open", default=())
_lock = lock()
_running = 0
_originals: list[tuple[type, str, Any]] = []


@contextmanager
def trace() -> Iterator[Trace]:
    """Record what this thread or async task runs until the block ends; a trace within a trace takes its own events."""
    global _running
    found = Trace()
    with _lock:
        _running += 1
        if _running == 1:
            _watch()
    _tracing.begin(found)
    try:
        yield found
    finally:
        _tracing.end(found)
        with _lock:
            _running -= 1
            if not _running:
                _release()


def _kinds(cls: type) -> Iterator[type]:
    yield cls
    below: type
    for below in cls.__subclasses__():
        yield from _kinds(below)


def _watch() -> None:
    """Stand between every kind of op and its callers. `Op.__call__` is looked up on the class, so there it must be."""
    for kind in dict.fromkeys(_kinds(Op)):
        for name, phase in (("__call__", "forward"), ("pull", "backward")):
            if name in vars(kind):
                original = vars(kind)[name]
                _originals.append((kind, name, original))
                setattr(kind, name, _timed(original, phase))


def _release() -> None:
    while _originals:
        kind, name, original = _originals.pop()
        setattr(kind, name, original)


def _by_name(op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's inputs, and its parameters: those that came by position, too."""
    n = len(getattr(op, "inputs", args))
    if getattr(op, "variadic", False) or len(args) <= n:
        return args, params
    names = getattr(op, "defaults", None) or op.params
    return args[:n], dict(zip(names, args[n:], strict=False)) | params


def _timed(original: Callable[..., Any], phase: str) -> Callable[..., Any]:
    def run(op: Op, *args: Any, **params: Any) -> Any:
        traces, around = _tracing.around(), _open.get()
        inside = around[-1] if around else None
        if not traces or inside is op or inside is BACKWARD:  # a short way that goes on, or the steps of a vjp
            return original(op, *args, **params)
        token = _open.set((*around, op if phase == "forward" else BACKWARD))
        start = time.perf_counter()
        try:
            y = original(op, *args, **params)
        finally:
            _open.reset(token)
        end = time.perf_counter()
        if type(y) is Sym:  # a formula is being traced, nothing is computed
            return y
        if phase == "forward":
            args, params = _by_name(op, args, params)
            results = y if isinstance(y, (tuple, list)) else (y,)
            shapes, size = tuple(map(_shape, args)), sum(t.data.nbytes for t in results if isinstance(t, Tensor))
            shape = _shape(results[0]) or ()
        else:
            shapes, size, shape = (), sum(getattr(g, "nbytes", 0) for g in y if g is not None), args[0].shape
            params = {}
        found = traces[-1]
        began = found.began
        found.events.append(
            Event(
                op,
                phase,
                start - began,
                end - began,
                size,
                len(around),
                threading.get_ident(),
                shapes,
                shape,
                params,
            )
        )
        return y

    return run


def _shape(x: Any) -> Shape | None:
    return getattr(x, "shape", None) if not isinstance(x, (int, float)) else ()


@lru_cache(maxsize=1024)
def _composed(op: Any, shapes: tuple[Shape | None, ...], params: tuple[tuple[str, Any], ...]) -> int:
    kinds = [np.int64 if n in op.indices else np.float32 for n in op.inputs]
    zeros = [None if s is None else Tensor(np.zeros(s, k)) for s, k in zip(shapes, kinds, strict=False)]
    zeros += [None] * (len(op.inputs) - len(zeros))
    with no_grad(), trace() as t:
        op.composition(*zeros, **{**op.defaults, **dict(params)})
    return sum(e.flops for e in t.leaves())


def colour_of(op: Op) -> str:
    return FAMILIES[family_of(op)]
