"""A training step as one launch: recorded once, replayed with new data.

    @engine.capture
    def step(x, y):                       # everything that happens in one step
        optimizer.zero_grad()
        loss = loss_fn(y, model(x))
        loss.backward()
        optimizer.step()
        return loss

    for x, y in batches:
        loss = step(x, y)                 # two calls run as they are, the third is recorded, and then it is replayed

On a GPU a small step is mostly Python: hundreds of launches of a few microseconds each. A replay is one launch of all
of them (a CUDA graph). It makes the numbers that the step itself would have made: masks of dropout, the number of the
step and the learning rate go on (`engine/replay.py`). On the CPU there is nothing to gain, and the step just runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import changes, replay
from .backends import Backend, current_device, get_backend, move
from .backends.protocol import Graph
from .errors import ArgumentError, DeviceError, DTypeError, ShapeError
from .tensor import Tensor, asarray


class Captured:
    """A step that is recorded and replayed; made by `capture`."""

    def __init__(self, step: Callable[..., Any], warmup: int, device: str | None) -> None:
        functools.update_wrapper(self, step)
        self._step, self._warmup, self._device = step, warmup, device
        self._graph: Graph | None = None
        self._recorded_on = ""
        self._recording: replay.Recording | None = None
        self._inputs: list[Any] = []
        self._names: list[str] = []
        self._outputs: Any = None

    def __call__(self, *args: Any, **named: Any) -> Any:
        names = [*map(str, range(len(args))), *named]
        where = self._recorded_on or self._device or _device_of([*args, *named.values()])
        backend = get_backend(where)
        given = [_placed(a, backend) for a in (*args, *named.values())]
        if replay.current() is not None:
            raise DeviceError("capture: a captured step is called in another; call the plain function there")
        if self._recording is not None:
            self._fill(names, given)
            self._replay(self._recording)
        elif self._warmup or (graph := backend.graph()) is None:
            result = _plain(self._step(*given[: len(args)], **dict(zip(named, given[len(args) :], strict=True))))
            self._warmup = max(0, self._warmup - 1)
            return result
        else:
            self._record(backend, graph, names, given, len(args))
        return self._outputs

    def _replay(self, recording: replay.Recording) -> None:
        assert self._graph is not None
        with recording.whole():
            recording.again()
            self._graph.launch()

    def _record(self, backend: Backend, graph: Graph, names: list[str], given: list[Any], positional: int) -> None:
        inputs = [a.clone().detach() if isinstance(a, Tensor) else a for a in given]
        rest = dict(zip(names[positional:], inputs[positional:], strict=True))
        recording = replay.Recording(backend, graph)
        with recording.whole():
            with recording.active(), graph.record():
                outputs = _plain(self._step(*inputs[:positional], **rest), inputs)
                for name, x in zip(names, inputs, strict=True):
                    if isinstance(x, Tensor) and recording.writes_to(x.data):
                        raise ArgumentError(
                            f"capture: the step writes to its argument {name}, of which a replay has a copy; "
                            "return the new values instead"
                        )
            recording.send()
            graph.launch()
        self._names, self._inputs, self._outputs = names, inputs, outputs
        self._graph, self._recording, self._recorded_on = graph, recording, backend.name

    def _fill(self, names: list[str], given: list[Any]) -> None:
        """New values into the inputs that the graph reads."""
        if names != self._names:
            raise ArgumentError(f"capture: recorded were the arguments {self._names}, these are {names}; call it alike")
        for name, old, new in zip(names, self._inputs, given, strict=True):
            _fits(name, old, new)
        for old, new in zip(self._inputs, given, strict=True):
            if isinstance(old, Tensor):
                with old.backend.active():
                    old.data[...] = new.data
                old.mark_changed()


def capture(step: Callable[..., Any] | None = None, *, warmup: int = 2, device: str | None = None) -> Any:
    """Record `step` on its first call after `warmup` plain ones, and replay it from then on. Also a decorator.

    step     a function of tensors and arrays (other arguments are constants: the same ones in each call). It returns
             tensors, in tuples (named ones too), lists or dicts, or None
    warmup   calls, at least one, that run as they are: kernels are compiled, and an optimiser packs its parameters
    device   where it runs: by default, where the first tensor among the arguments is, else the current device

    Each call is one step, whether it is plain, recorded or replayed, and gives the same numbers. Arrays among the
    arguments reach the step as tensors on the device, and results come detached. From the recorded call on, all calls
    return the same tensors, whose values the next call replaces: `.clone()` what you want to keep.

    What is decided in Python is decided once: branches, modes (training or not), which parameters are trainable,
    Python numbers that the step computes with, which tensor a name stands for: after `state = f(state)` replays begin
    with the old one, so give the state as an argument and return the new. The memory that the step reads besides its
    arguments, such as parameters, stays its own while the capture lives: values may be loaded into it.

    A step that fails, recorded or replayed, has not happened: steps, masks and gradients are as they were before the
    call. What is refused:

    - of the call: arguments that differ in number, name, shape, dtype or constant from the recorded ones, lie on
      another device, require a gradient or hold tensors (lists, tuples, dicts); memory that was replaced since, as by
      `.to()`, `p.data = ...` or an optimiser's `load_state_dict`; a gradient that is there from before, where the step
      itself does not begin with `zero_grad()`
    - of the step: it reads values back or waits (`item`, `numpy`, truth values, masks as indices, `clip_grad_norm_`,
      `GradScaler`), makes tensors of host data, draws random numbers on the host, fills a KeyValueCache, carries
      states along (`stateful=True`), writes to an argument, gives a tensor other memory, adds to gradients from before
      or updates by them, updates parameters that no plain call has packed, begins an average, calls another captured
      step, returns something else than tensors, or counts more than 4096 numbers

    Raises ArgumentError, ShapeError, DTypeError for arguments and results, GradientError for gradients that would add
    up from step to step, DeviceError for the others.
    The words are PyTorch's (`torch.cuda.graph`, `make_graphed_callables`); a CUDA graph is recorded by CuPy.
    """
    if warmup < 1:
        raise ArgumentError(f"capture: warmup is {warmup}; one plain call at least has to compile what is launched")
    if step is None:
        return functools.partial(capture, warmup=warmup, device=device)
    return Captured(step, warmup, device)


def _device_of(arguments: list[Any]) -> str:
    return next((a.device for a in arguments if isinstance(a, Tensor)), current_device())


def _placed(a: Any, backend: Backend) -> Any:
    """Tensors and arrays as tensors on the device; a constant as it is."""
    if isinstance(a, Tensor):
        if a.backend is not backend:
            raise DeviceError(
                f'capture: an argument is on {a.device}, the step on {backend.name}; move it with .to("{backend.name}")'
            )
        if a.requires_grad:
            raise ArgumentError(
                "capture: an argument requires a gradient, which a replay would give to a copy; "
                "pass x.detach(), and return engine.grad(..) from the step"
            )
        return a
    if isinstance(a, (np.ndarray, np.generic)) or hasattr(a, "__dlpack__"):
        return Tensor(move(asarray(a, device=backend.name).data, backend))
    if isinstance(a, (list, tuple, dict)):
        raise ArgumentError(f"capture: an argument is a {type(a).__name__}; pass its tensors one by one")
    return a


def _fits(name: str, old: Any, new: Any) -> None:
    if isinstance(old, Tensor) != isinstance(new, Tensor) or (not isinstance(old, Tensor) and not _equal(old, new)):
        raise ArgumentError(f"capture: argument {name} was recorded as the constant {old!r}, and is {new!r} now")
    if not isinstance(old, Tensor):
        return
    remedy = "a graph is of fixed shapes and dtypes: capture another, or call the plain function for this batch"
    if old.shape != new.shape:
        raise ShapeError(
            f"capture: argument {name} was recorded with shape {old.shape}, now it is {new.shape}; {remedy}"
        )
    if old.dtype != new.dtype:
        raise DTypeError(f"capture: argument {name} was recorded as {old.dtype}, now it is {new.dtype}; {remedy}")


def _equal(old: Any, new: Any) -> bool:
    """Is it the same constant? NaN is, though it does not equal itself."""
    return old is new or bool(old == new) or bool(old != old and new != new)


def _plain(result: Any, inputs: Sequence[Any] = ()) -> Any:
    """The step's results without their history. Those that lie in the inputs' memory are copied: given back as
    arguments of the next call, they would be written over before they are read."""
    if result is None:
        return None
    if isinstance(result, Tensor):
        result = result.detach()
        aliases = any(changes.overlap(result.data, x.data) for x in inputs if isinstance(x, Tensor))
        return result.clone() if aliases else result
    if isinstance(result, (tuple, list)):
        values = [_plain(value, inputs) for value in result]
        return type(result)(*values) if hasattr(result, "_fields") else type(result)(values)  # a namedtuple has fields
    if isinstance(result, dict):
        return {key: _plain(value, inputs) for key, value in result.items()}
    raise ArgumentError(
        f"capture: the step returns a {type(result).__name__}, which a replay can't make anew; return tensors"
    )
