"""Compile, fit, evaluate, predict: what every model can do with data. Words, defaults and results are Keras'.

One training step is the textbook's:

    y_pred = model(x)                       forward
    loss = objective.loss(y, y_pred)
    loss.backward()                         dL/dp for every parameter p
    optimizer.step()                        p <- p - (something of dL/dp)

and an epoch is its steps, no more: data is looked at once before the first (`models/checks.py`), metrics use the step's
own predictions.
"""

from __future__ import annotations

import copy
import functools
import operator
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import optim
from data import Batches
from engine import no_grad
from engine.errors import ArgumentError, NotBuiltError
from engine.parameter import training_mode
from engine.tensor import Tensor
from layers.parts import Revision
from models import checks, nests
from models.callbacks import History
from models.hooks import Callback, CallbackList
from models.objective import Objective
from models.progress import Progress


class Trainer:
    """The part of a `Model` that trains it.

    optimizer, objective   as compiled, else None
    epoch, step            epochs trained so far, over all calls of fit; steps done in the epoch that is running
    history                of the last fit
    stop_training          a callback sets it to end fit after this step
    """

    optimizer: Any = None
    objective: Objective | None = None
    history: History | None = None
    stop_training = False
    epoch = step = 0
    _regularized = _brought_parameters = False
    _revision = -1  # of all layers' parts, when the optimiser took the parameters
    _prepared: list[tuple[Any, Any]] | None = None  # what the last batch was like, while nothing else has changed
    fixed_layers = False  # does the model say (by _prepared = None) when its layers change?
    _running: dict[str, Any] | None = None  # while fit runs: what a checkpoint needs besides the model
    _resume: dict[str, Any] | None = None  # what a checkpoint left for the next fit

    # --- before training -----------------------------------------------------------------------------------------
    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        """Choose how to learn, and what.

        optimizer: a name or an `optim.Optimizer`. loss: a name, a `layers.losses.Loss` or f(y_true, y_pred); a list or
        a dict by output name for several outputs. metrics, weighted_metrics (these use sample_weight): a list of
        names, `models.metrics.Metric` objects and functions. loss_weights: numbers, as losses are given.
        """
        self.optimizer = optim.get(optimizer)
        self._brought_parameters = bool(self.optimizer.groups)  # Adam(model.head.parameters()): those, and no others
        self.objective = Objective(loss, loss_weights, metrics, weighted_metrics)
        self._resume = self._prepared = None

    def warmup(self, batch_size: int = 32, verbose: int | str = "auto") -> None:
        """Compile what the first step needs but the loss, by taking one on zeros with a copy of the model: so that
        timings, and the first batch, don't wait for it. What was compiled once is kept on disk. Says how long it took,
        unless verbose=0.
        """
        self._compiled("warmup")
        shapes = self.input_shapes
        if shapes is None:
            raise NotBuiltError("warmup: the model's input shape is not known yet: call build(input_shape) first")
        zeros = [np.zeros((batch_size, *(n or 1 for n in shape[1:])), self.dtype) for shape in shapes]
        twin, progress = copy.deepcopy(self), Progress(verbose)
        progress.start("Warm-up", 3)
        try:
            with training_mode(True):
                outputs = twin._forward(zeros)
            progress.step(dict)
            functools.reduce(operator.add, [(y * y).sum() for y in outputs]).backward()
            progress.step(dict)
            twin.optimizer.build(twin.optimizer.params or twin.parameters())
            twin.optimizer.step()
            progress.step(dict)
        finally:
            progress.close()
        progress.stop({})

    # --- training ------------------------------------------------------------------------------------------------
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
        transform: Any = None,
        prefetch: int | None = None,
    ) -> History:
        """Train, and return the history of losses and metrics.

        Args:
            x, y: arrays (N,...); lists or dicts of them for models with several inputs or outputs. Or x is a
                `data.Batches` that holds everything.
            batch_size: rows a step, 32 by default.
            epochs, initial_epoch: trains epochs initial_epoch + 1 .. epochs. A loaded run goes on with
                initial_epoch=model.epoch.
            verbose: 1 draws a bar on a terminal, 2 prints a line an epoch, 0 nothing; "auto" is 1.
            validation_data, validation_split: (x, y) or (x, y, sample_weight) to evaluate after each epoch, or the
                share of the last rows that is held back for it.
            class_weight, sample_weight: {class: weight}, and one weight a row; they multiply the losses.
            transform: augmentation, f(x batch, rng) -> x batch, see `data.transforms`.
            prefetch: batches that a thread prepares ahead; by default 2 with a transform, else 0.

        The order of the rows is a function of (the model's seed, epoch), and a run that was saved goes on bit for bit.

        Raises:
            NotBuiltError: without compile(). ArgumentError, ShapeError, DTypeError, DataError, IndexRangeError: what
                is given can't be trained on; the message names the argument and the remedy.
        """
        self._compiled("fit")
        checks.count("fit", "epochs", epochs, 0)
        checks.count("fit", "initial_epoch", initial_epoch, 0)
        if not 0 <= validation_split < 1:
            raise ArgumentError(f"fit: validation_split={validation_split} is a share of the rows, 0 <= share < 1")
        if not isinstance(x, Batches):
            x, y, sample_weight = self._arrays("fit", x, y, sample_weight, class_weight)
            if validation_split and validation_data is None:
                (x, y, sample_weight), validation_data = checks.last_part("fit", validation_split, x, y, sample_weight)
            x = Batches(
                nests.single(x), nests.single(y),
                checks.count("fit", "batch_size", 32 if batch_size is None else batch_size),
                shuffle, self._data_seed(), transform, sample_weight=sample_weight,
                prefetch=(2 if transform else 0) if prefetch is None else prefetch,
            )  # fmt: skip
        self._ready("fit", x)
        held_back = None
        if validation_data is not None:
            size = validation_batch_size or x.batch_size
            held_back = self._batches("fit: validation_data", *_pair(validation_data), size)
        return self._train(x, held_back, initial_epoch, epochs, verbose, callbacks)

    def _train(
        self, batches: Batches, held_back: Batches | None, first: int, last: int, verbose: Any, callbacks: Any
    ) -> History:
        self.history, progress = History(), Progress(verbose)
        params = {"epochs": last, "steps": len(batches), "verbose": verbose}
        run = CallbackList([*_listed(callbacks), self.history], self, params)
        self.stop_training = False
        try:
            run.on_train_begin()
            running = self._continue(batches, run)
            self._running = {"callbacks": run.state_dict, "objective": self.objective.state_dict, "steps": len(batches)}
            for epoch in range(first, last):
                run.on_epoch_begin(epoch)
                progress.start(f"Epoch {epoch + 1}/{last}", len(batches), self.step)
                if not running:
                    self.objective.reset()
                running = False
                self._train_epoch(batches, run, progress)
                logs = self.objective.results()
                if self.step == len(batches):
                    self.epoch, self.step = self.epoch + 1, 0
                self.history.seconds.append(time.perf_counter() - progress.began)
                if held_back is not None:
                    logs |= {f"val_{name}": value for name, value in self._evaluate(held_back, run).items()}
                run.on_epoch_end(epoch, logs)
                progress.stop(logs)
                if self.stop_training:
                    break
            run.on_train_end()
        finally:
            self._running = None
            progress.close()
        return self.history

    def _train_epoch(self, batches: Batches, run: CallbackList, progress: Progress) -> None:
        """From the step where the epoch stands to its end."""
        for batch in batches.epoch(self.epoch, self.step):
            if run.wants_batch_begin:
                run.on_train_batch_begin(self.step)
            self._train_step(*nests.unpacked(batch))
            self.step += 1
            progress.step(self.objective.results)
            if run.wants_batch_end:
                run.on_train_batch_end(self.step - 1, self.objective.results())
            if self.stop_training:
                break

    def _train_step(self, x: Sequence[Any], y: Sequence[np.ndarray], weight: np.ndarray | None) -> None:
        with training_mode(True):
            y_pred = self._forward(x)
            loss = self.objective.loss(y, y_pred, weight, self._penalty())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.objective.measure(y, y_pred, weight)

    # --- using it ------------------------------------------------------------------------------------------------
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on data, nothing is learnt: [loss, metric, ...], or a dict by name.

        Without metrics it is the loss alone, a number. Dropout and the like are off.
        """
        self._compiled("evaluate")
        batches = self._batches("evaluate", x, y, sample_weight, batch_size)
        run = CallbackList(_listed(callbacks), self, {"steps": len(batches), "verbose": verbose})
        progress = Progress(verbose)
        progress.start("", len(batches))
        try:
            logs = self._evaluate(batches, run, progress)
        finally:
            progress.close()
        progress.stop(logs)
        return logs if return_dict else _in_order(logs)

    def _evaluate(self, batches: Batches, run: CallbackList, progress: Progress | None = None) -> dict[str, Any]:
        run.on_test_begin()
        self.objective.reset()
        for batch in batches.epoch(0):
            self._test_step(*nests.unpacked(batch))
            if progress is not None:
                progress.step(self.objective.results)
        logs = self.objective.results()
        run.on_test_end(logs)
        return logs

    def _test_step(self, x: Sequence[Any], y: Sequence[np.ndarray], weight: np.ndarray | None) -> None:
        with training_mode(False), no_grad():
            y_pred = self._forward(x)
            self.objective.loss(y, y_pred, weight, self._penalty())
        self.objective.measure(y, y_pred, weight)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = 0) -> Any:
        """The model's outputs for data, as NumPy arrays: (N,...), or a list or dict as the model gives them.

        Dropout and the like are off. (Keras' default is verbose="auto".)
        """
        rows = checks.arrays("predict", "x", x, self.input_names, self.dtype)
        self._built_for("predict", rows)
        size = checks.count("predict", "batch_size", 32 if batch_size is None else batch_size)
        batches = Batches(nests.single(rows), None, size, shuffle=False)
        progress, parts = Progress(verbose), []
        progress.start("", len(batches))
        try:
            for batch in batches.epoch(0):
                with training_mode(False), no_grad():
                    y = self(nests.argument(nests.as_tuple(batch)))
                parts.append([part.numpy() for part in nests.flat(y)])
                progress.step(dict)
        finally:
            progress.close()
        progress.stop({})
        return nests.shaped_like(y, [np.concatenate(column) for column in zip(*parts, strict=True)])

    # --- batch by batch --------------------------------------------------------------------------------------------
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on one batch; returns this batch's loss and metrics as `evaluate` does."""
        self._compiled("train_on_batch")
        return self._on_batch("train_on_batch", self._train_step, x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and the metrics of one batch."""
        self._compiled("test_on_batch")
        return self._on_batch("test_on_batch", self._test_step, x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as NumPy arrays."""
        return self.predict(x, batch_size=max(1, len(nests.as_tuple(x)[0])))

    def _on_batch(
        self, where: str, step: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, as_dict: bool
    ) -> Any:
        x, y, weight = self._arrays(where, x, y, sample_weight, class_weight)
        kind = [(a.shape[1:], a.dtype) for a in (*x, *y)]
        if self._prepared == kind:  # as the batch before: only the targets' values are new
            self.objective.check(where, y, self._output_shapes)
            self._take_parameters()
        else:
            self._ready(where, Batches(nests.single(x), nests.single(y), len(x[0]), shuffle=False))
            self._prepared = kind if self.fixed_layers else None
        self.objective.reset()
        step(x, y, weight)
        logs = self.objective.results()
        return logs if as_dict else _in_order(logs)

    # --- getting ready -----------------------------------------------------------------------------------------------
    def _compiled(self, where: str) -> None:
        if self.objective is None:
            raise NotBuiltError(
                f"{where}: compile() comes first: model.compile(optimizer='adam', loss=..., metrics=['accuracy'])"
            )

    def _arrays(self, where: str, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> tuple[Any, Any, Any]:
        """x, y and the weights as tuples of arrays, checked."""
        if x is None or y is None:
            raise ArgumentError(f"{where}: {'x' if x is None else 'y'} is missing; call {where}(x, y)")
        rows = checks.arrays(where, "x", x, self.input_names, self.dtype)
        truth = checks.arrays(where, "y", y, self.output_names, self.dtype)
        checks.equal_lengths(where, x=rows, y=truth)
        weight = checks.weights(where, truth, sample_weight, class_weight)
        if weight is not None:
            checks.equal_lengths(where, x=rows, sample_weight=(weight,))
        return rows, truth, weight

    def _batches(self, where: str, x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> Batches:
        """Data in its own order, for evaluation."""
        if not isinstance(x, Batches):
            x, y, weight = self._arrays(where, x, y, sample_weight, None)
            size = checks.count(where, "batch_size", 32 if batch_size is None else batch_size)
            x = Batches(nests.single(x), nests.single(y), size, shuffle=False, sample_weight=weight)
        self._ready(where, x)
        return x

    def _ready(self, where: str, batches: Batches) -> None:
        """Build the model, bind the losses and metrics to its outputs, look at the targets; all on two rows."""
        if batches.y is None:
            raise ArgumentError(f"{where}: x is a Batches without y; make it with Batches(x, y)")
        x, y = nests.as_tuple(batches.x), nests.as_tuple(batches.y)
        two = tuple(array[:2] for array in x)
        if batches.transform is not None:
            two = nests.as_tuple(batches.transform(nests.single(two), np.random.default_rng(0)))
        self._built_for(where, two)
        with training_mode(False), no_grad():
            outputs = self(nests.argument(two))
        self.output_names = self.output_names or nests.names(outputs)
        shapes = [part.shape for part in nests.flat(outputs)]
        self.objective.bind(self.output_names, y, shapes)
        self.objective.check(where, y, shapes)
        self._output_shapes = shapes
        self._take_parameters()

    def _take_parameters(self) -> None:
        """What the layers hold is what the optimiser holds, or it says so: a layer may have been given a new one."""
        if self._revision != Revision.number or self._brought_parameters or not self.optimizer.groups:
            parameters = self.parameters()
            if not self._brought_parameters:
                self.optimizer.build(parameters)
            self._revision = Revision.number
        else:
            parameters = self.optimizer.params
        self._regularized = any(p.regularizer is not None for p in parameters)

    def _built_for(self, where: str, x: Sequence[np.ndarray]) -> None:
        if not self.built:
            shapes = [(None, *array.shape[1:]) for array in x]
            self.build(shapes[0] if len(shapes) == 1 else shapes)
        if self.input_shapes is not None:
            checks.fits_input(where, x, self.input_shapes, self.input_names or ["x"] * len(x))

    def _data_seed(self) -> int:
        """The seed of the rows' order and of the transforms: a function of the model's."""
        return int(self.stream("batches").integers(0, 2**32))

    def _continue(self, batches: Batches, run: CallbackList) -> bool:
        """Take up what a checkpoint left, if there is one. True: in the middle of an epoch."""
        saved, self._resume = self._resume, None
        if saved is None:
            if self.step:  # the last fit broke off: its epoch is not finished, but begun
                self.epoch, self.step = self.epoch + 1, 0
            return False
        run.load_state_dict(saved["callbacks"])
        if not self.step:
            return False
        if saved["steps"] != len(batches):
            raise ArgumentError(
                f"fit: the loaded run stands at step {self.step} of {saved['steps']} in an epoch, but this data makes "
                f"{len(batches)} steps: pass the same data and batch_size, or set model.step = 0 to begin an epoch"
            )
        self.objective.load_state_dict(saved["objective"])
        return True

    def _forward(self, x: Sequence[Any]) -> tuple[Tensor, ...]:
        return nests.flat(self(nests.argument(x)))

    def _penalty(self) -> Tensor | None:
        return self.regularization_loss() if self._regularized else None


# --- what fit is given, in one form -----------------------------------------------------------------------------------


def _pair(data: Any) -> tuple[Any, Any, Any]:
    if isinstance(data, Batches):
        return data, None, None
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ArgumentError("fit: validation_data is (x, y) or (x, y, sample_weight)")
    return (*data, None)[:3]


def _listed(callbacks: Any) -> list[Callback]:
    return [] if callbacks is None else list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _in_order(logs: dict[str, Any]) -> Any:
    return list(logs.values()) if len(logs) > 1 else next(iter(logs.values()))
