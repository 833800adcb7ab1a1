"""What happens between the steps: history, stopping early, checkpoints, learning rates, averages. Words are Keras'.

A callback's state is saved with the model, so a run that goes on after a restart stops as early, keeps the same best
weights and lowers the learning rate at the same epoch. ModelCheckpoint runs after the others, whatever their order, so
what it saves includes what they did.
"""

from __future__ import annotations

import contextlib
import csv
import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ArgumentError
from models.hooks import Callback, Logs
from optim import EMA, SWA

# --- records ---------------------------------------------------------------------------------------------------------


class History(Callback):
    """What fit returns: history["loss"] and so on, one number an epoch; `epoch` numbers them; `seconds` of steps."""

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.seconds: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"History of {len(self.epoch)} epochs: {', '.join(self.history)}"


class CSVLogger(Callback):
    """One line an epoch in a CSV file, written at once: epoch, then every number of the logs.

    append: go on below what is there (a file that begins with the same header), as a resumed run does.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.fields: list[str] = []
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        if self.append and self.filename.exists():
            with open(self.filename, newline="") as file:
                self.fields = next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = {"epoch": epoch} | {name: v for name, v in (logs or {}).items() if isinstance(v, (int, float))}
        new = not self.fields  # an older file stays until this run has something to say
        self.fields = self.fields or list(row)
        with open(self.filename, "w" if new else "a", newline="") as file:
            writer = csv.DictWriter(file, self.fields, "", "ignore", delimiter=self.separator)
            if new:
                writer.writeheader()
            writer.writerow(row)


# --- watching one number ---------------------------------------------------------------------------------------------


class Monitor(Callback):
    """Base of what waits for a number of the logs to improve.

    mode "min" or "max"; "auto" takes "max" for accuracies, precision, recall, F1 and AUC. An improvement is one by more
    than min_delta.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0, best: float | None = None
    ) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f'{type(self).__name__}: mode={mode!r} must be "auto", "min" or "max"')
        rises = ("acc", "accuracy", "auc", "precision", "recall", "f1_score")
        self.monitor, self.min_delta = monitor, abs(min_delta)
        self.sign = -1.0 if mode == "max" or (mode == "auto" and monitor.endswith(rises)) else 1.0
        self.first = math.inf * self.sign if best is None else best
        self.best = self.first

    def value(self, logs: Logs | None) -> float:
        """The watched number of this epoch. ArgumentError names those there are."""
        if self.monitor not in (logs or {}):
            validated = any(name.startswith("val_") for name in logs or {})
            unmeasured = self.monitor.startswith("val_") and not validated
            hint = "; give fit validation_data= or validation_split=" if unmeasured else ": watch one of these"
            raise ArgumentError(
                f"{type(self).__name__}: monitor='{self.monitor}' is not among the logs ({', '.join(logs or {})}){hint}"
            )
        return logs[self.monitor]

    def improved(self, value: float) -> bool:
        """Is it better than the best so far? Then it is the best."""
        if self.sign * value < self.sign * self.best - self.min_delta:
            self.best = value
            return True
        return False


class EarlyStopping(Monitor):
    """Ends the training when `monitor` has not improved for `patience` epochs.

    baseline: the first value to beat. start_from_epoch: epochs before it don't count. restore_best_weights: the model
    ends with the weights of the best epoch, also where fit reaches its last epoch. `stopped_epoch` is where it
    stopped, or 0.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, baseline)
        self.patience, self.verbose = patience, verbose
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.stopped_epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.best_epoch, self.stopped_epoch = self.first, 0, 0, 0
        self.best_weights: dict[str, np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improved(value):
            self.wait, self.best_epoch = 0, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.state_dict()
        if self.wait >= max(1, self.patience):
            self.stopped_epoch, self.model.stop_training = epoch, True
            if self.verbose:
                print(f"Epoch {epoch + 1}: early stopping, {self.monitor} was best at epoch {self.best_epoch + 1}")

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "wait", "best_epoch", "best_weights")}


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when `monitor` has not improved for `patience` epochs.

    After that it waits `cooldown` epochs before it counts again; the rate stays at min_lr or above.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ArgumentError(f"ReduceLROnPlateau: factor={factor} multiplies the learning rate, 0 < factor < 1")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.cooling = self.first, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        logs["learning_rate"] = float(optimizer.learning_rate)
        if self.cooling:
            self.cooling, self.wait = self.cooling - 1, 0
        if self.improved(self.value(logs)):
            self.wait = 0
        elif not self.cooling:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
                self.cooling, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: learning rate reduced to {optimizer.learning_rate:.3g}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooling": self.cooling}


# --- steering --------------------------------------------------------------------------------------------------------


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch: schedule(epoch, rate) or schedule(epoch)."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        self.takes_rate = len(inspect.signature(schedule).parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if self.takes_rate else self.schedule(epoch)
        if not isinstance(rate, (int, float, np.number)):
            raise ArgumentError(f"LearningRateScheduler: schedule(epoch, rate) returned {rate!r}; it returns a number")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:.3g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class TerminateOnNaN(Callback):
    """Ends the training at the first step whose loss is not a number, or infinite."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            print(f"Step {batch + 1}: the loss is {logs['loss']}, training ends")
            self.model.stop_training = True


class AveragedWeights(Callback):
    """Keeps an average of the weights, evaluates with it, and leaves it in the model at the end of fit.

    kind "ema": the exponential moving average after each step, with `decay`; "swa": the mean over the ends of epochs.
    start_epoch: the first epoch (from 0) that takes part. `self.average` is the `optim.EMA` or `optim.SWA`.
    A model saved in between holds its own weights, and the averages beside them.
    """

    def __init__(self, decay: float = 0.999, kind: str = "ema", start_epoch: int = 0) -> None:
        if kind not in ("ema", "swa"):
            raise ArgumentError(f'AveragedWeights: kind={kind!r} must be "ema" or "swa"')
        self.decay, self.kind, self.start_epoch = decay, kind, start_epoch
        self._swapped = contextlib.ExitStack()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        parameters = self.model.parameters()
        self.average = EMA(parameters, self.decay) if self.kind == "ema" else SWA(parameters)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = epoch >= self.start_epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.kind == "ema" and self._started or self._started and batch + 1 == self.params["steps"]:
            self.average.update()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self.average.updates:
            self._swapped.enter_context(self.average.swapped())

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swapped.close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.average.updates:
            self.average.copy_to()

    def state_dict(self) -> dict[str, Any]:
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state)


# --- files -----------------------------------------------------------------------------------------------------------


class ModelCheckpoint(Monitor):
    """Saves the model after each epoch, or each `save_freq` steps; atomically, so there always is a complete file.

    filepath: may hold fields, as in "run-{epoch:02d}-{val_loss:.3f}.safetensors" (epochs from 1). save_best_only: only
    when `monitor` improves. save_weights_only: without architecture, optimiser and random state.
    """

    runs_last = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, best=initial_value_threshold)
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ArgumentError(f'ModelCheckpoint: save_freq={save_freq!r} is "epoch" or a number of steps')
        if save_best_only and save_freq != "epoch":
            raise ArgumentError('ModelCheckpoint: save_best_only compares epochs, so save_freq must be "epoch"')
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch" and (batch + 1) % self.save_freq == 0:
            self._save(self._epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch" and (not self.save_best_only or self.improved(self.value(logs))):
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Logs | None) -> None:
        try:
            path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        except KeyError as missing:
            raise ArgumentError(
                f"ModelCheckpoint: filepath names {missing}, which is not among the logs: "
                f"epoch, {', '.join(logs or {})}"
            ) from None
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}
