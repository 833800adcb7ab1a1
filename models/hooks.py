"""The hooks of a training run: what a callback may override, and the list that calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import ArgumentError

Logs = dict[str, Any]


class Callback:
    """Base: override what you need. `self.model` is in training; `self.params` holds "epochs", "steps", "verbose".

    epoch counts from 0. logs: the losses and metrics so far, by name; on_epoch_end may add to them.
    """

    model: Any = None
    params: Mapping[str, Any] = {}
    runs_last = False

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers, texts, arrays, in dicts and lists."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class CallbackList:
    """Calls each callback in order; those with `runs_last` come last."""

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: Mapping[str, Any]) -> None:
        for c in callbacks:
            if not isinstance(c, Callback):
                raise ArgumentError(f"callbacks holds {c!r}, which is no models.callbacks.Callback object")
            c.set_model(model)
            c.set_params(params)
        self.callbacks = sorted(callbacks, key=lambda c: c.runs_last)
        self.wants_batch_begin = self._overridden("on_train_batch_begin")
        self.wants_batch_end = self._overridden("on_train_batch_end")

    def _overridden(self, hook: str) -> bool:
        return any(getattr(type(c), hook) is not getattr(Callback, hook) for c in self.callbacks)

    def on_train_begin(self) -> None:
        for c in self.callbacks:
            c.on_train_begin({})

    def on_train_end(self) -> None:
        for c in self.callbacks:
            c.on_train_end({})

    def on_epoch_begin(self, epoch: int) -> None:
        for c in self.callbacks:
            c.on_epoch_begin(epoch, {})

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for c in self.callbacks:
            c.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int) -> None:
        for c in self.callbacks:
            c.on_train_batch_begin(batch, {})

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        for c in self.callbacks:
            c.on_train_batch_end(batch, logs)

    def on_test_begin(self) -> None:
        for c in self.callbacks:
            c.on_test_begin({})

    def on_test_end(self, logs: Logs) -> None:
        for c in self.callbacks:
            c.on_test_end(logs)

    def _named(self) -> dict[str, Callback]:
        """EarlyStopping, ModelCheckpoint, ModelCheckpoint:1 ..."""
        named: dict[str, Callback] = {}
        for c in self.callbacks:
            kind = type(c).__name__
            count = sum(name.split(":")[0] == kind for name in named)
            named[f"{kind}:{count}" if count else kind] = c
        return named

    def state_dict(self) -> dict[str, Any]:
        return {name: state for name, c in self._named().items() if (state := c.state_dict())}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Callbacks that the saved run had take up their state; others start afresh."""
        for name, c in self._named().items():
            if name in states:
                c.load_state_dict(states[name])
