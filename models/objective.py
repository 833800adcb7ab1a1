r"""What `compile` asked for, output by output: the losses, their weights, and the metrics.

.. math:: L = \sum_o \lambda_o L_o(y_o, \hat y_o) + \text{the parameters' penalties}

The running loss of an epoch is the mean over its rows: each batch's loss counts as often as the batch has rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import ArgumentError, DataError, DTypeError, IndexRangeError, ShapeError
from engine.tensor import Tensor, asarray
from layers import losses
from layers.masks import mask_of
from models import metrics
from models.averages import Mean, Metric

Arrays = Sequence[np.ndarray]
MOST_UNREAD = 64  # results that wait on a GPU


class FunctionLoss(losses.Loss):
    """A user's function f(y_true, y_pred) -> one loss a sample, or one number."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred)

    def _truth(self, y_true: Any, y_pred: Tensor) -> Tensor:
        return asarray(y_true)


class Objective:
    """Losses and metrics, by the names of the model's outputs. `bind` sets them up once the outputs are known."""

    def __init__(self, loss: Any, loss_weights: Any = None, metrics: Any = None, weighted_metrics: Any = None) -> None:
        self.asked = {
            "loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics,
        }  # fmt: skip
        for name in loss.values() if isinstance(loss, Mapping) else loss if isinstance(loss, (list, tuple)) else [loss]:
            losses.get(name)  # a misspelt name is an error now, not at the first fit
        self.names: tuple[str, ...] = ()
        self.total = Mean("loss")
        self._unread: list[tuple[Tensor, Callable[[np.ndarray], None]]] = []  # results of steps, on a GPU

    # --- setting up ----------------------------------------------------------------------------------------------
    def bind(self, names: Sequence[str], targets: Arrays, outputs: Sequence[tuple[int, ...]]) -> None:
        """Take the outputs' names and shapes, and choose what depends on them. A second time it changes nothing."""
        if self.names:
            return
        if len(targets) != len(names):
            raise ShapeError(
                f"fit: y holds {len(targets)} arrays, but the model has {len(names)} outputs: {', '.join(names)}"
            )
        self.losses = [_loss(what) for what in by_output("loss", self.asked["loss"], names)]
        if not any(self.losses):
            raise ArgumentError("fit: compile() named no loss: pass loss='categorical_crossentropy', 'mse' or the like")
        weights = by_output("loss_weights", self.asked["loss_weights"], names)
        self.weights = [1.0 if w is None else float(w) for w in weights]
        self.each = [Mean(f"{name}_loss") for name in names]
        facts = list(zip(targets, outputs, self.losses, strict=True))
        self.metrics = self._chosen("metrics", names, facts)
        self.weighted = self._chosen("weighted_metrics", names, facts)
        self.names = tuple(names)

    def _chosen(self, argument: str, names: Sequence[str], facts: Sequence[Any]) -> list[tuple[int, Metric]]:
        """(output, metric) for each that was asked for."""
        chosen = []
        for i, wanted in enumerate(by_output(argument, self.asked[argument], names, several=True)):
            target, output, loss = facts[i]
            binary = isinstance(loss, losses.BinaryCrossentropy)
            for one in wanted if isinstance(wanted, (list, tuple)) else [] if wanted is None else [wanted]:
                metric = metrics.get(
                    one,
                    target_shape=target.shape,
                    output_shape=(len(target), *output[1:]),
                    binary=binary,
                    logits=binary and loss.from_logits,
                )
                if len(names) > 1 and not metric.name.startswith(f"{names[i]}_"):
                    metric.name = f"{names[i]}_{metric.name}"
                chosen.append((i, metric))
        return chosen

    # --- one batch -----------------------------------------------------------------------------------------------
    def loss(
        self, y_true: Arrays, y_pred: Sequence[Tensor], weight: np.ndarray | None, penalty: Tensor | None
    ) -> Tensor:
        """L of a batch, to be differentiated; it is added to the running loss."""
        rows, total = len(y_true[0]), penalty
        outputs = zip(self.losses, self.weights, self.each, y_true, y_pred, strict=True)
        for loss, scale, part, true, predicted in outputs:
            if loss is not None:
                value = loss(true, predicted, weight)
                if len(self.names) > 1:
                    self._note(part, value, rows)
                term = value if scale == 1.0 else scale * value
                total = term if total is None else total + term
        self._note(self.total, total, rows)
        return total

    def measure(self, y_true: Arrays, y_pred: Sequence[Tensor], weight: np.ndarray | None) -> None:
        """Add a batch to the metrics."""
        for i, metric in self.metrics:
            self._measure(metric, y_true[i], y_pred[i], None)
        for i, metric in self.weighted:
            self._measure(metric, y_true[i], y_pred[i], weight)

    def _measure(self, metric: Metric, y_true: np.ndarray, y_pred: Tensor, weight: np.ndarray | None) -> None:
        self._later(y_pred, lambda y: metric.update(y_true, y, real_steps(y_pred, weight)))

    def _note(self, mean: Mean, value: Tensor, rows: int) -> None:
        self._later(value, lambda number: mean.update(number.item(), rows))

    def _later(self, y: Tensor, update: Callable[[np.ndarray], None]) -> None:
        """update(y) at once on the CPU. On a GPU it waits for who asks for results: a step reads nothing back."""
        if y.device == "cpu":
            update(y.numpy())
        else:
            self._unread.append((y.detach(), update))
            if len(self._unread) >= MOST_UNREAD:
                self._read()

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for y, update in unread:
            update(y.numpy())

    # --- an epoch ------------------------------------------------------------------------------------------------
    def all_metrics(self) -> list[Metric]:
        """The running losses and the metrics, in the order of `results`."""
        if not self.names:
            return [self.total]
        each = self.each if len(self.names) > 1 else []
        return [self.total, *each, *(m for _, m in self.metrics), *(m for _, m in self.weighted)]

    def reset(self) -> None:
        self._unread = []
        for metric in self.all_metrics():
            metric.reset()

    def results(self) -> dict[str, Any]:
        """Name -> number; metrics that give several numbers (a confusion matrix) come as lists."""
        self._read()
        return {m.name: r.tolist() if isinstance(r := m.result(), np.ndarray) else r for m in self.all_metrics()}

    def state_dict(self) -> dict[str, Any]:
        """The running sums, for a run that goes on in the middle of an epoch."""
        self._read()
        return {str(i): m.sums for i, m in enumerate(self.all_metrics())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, metric in enumerate(self.all_metrics()):
            metric.sums = dict(state[str(i)])

    # --- looking at the targets ----------------------------------------------------------------------------------
    def check(self, where: str, targets: Arrays, outputs: Sequence[tuple[int, ...]]) -> None:
        """Do the targets fit their outputs and losses? Errors name the argument, the numbers and the remedy."""
        for i, (loss, target, output) in enumerate(zip(self.losses, targets, outputs, strict=True)):
            name = "y" if len(targets) == 1 else f"y['{self.names[i]}']"
            if isinstance(loss, losses.SparseCategoricalCrossentropy):
                check_class_numbers(where, name, target, output)
            elif isinstance(loss, losses.Loss) and not isinstance(loss, FunctionLoss):
                check_like_output(where, name, target, output, loss)


def check_class_numbers(where: str, name: str, target: np.ndarray, output: tuple[int, ...]) -> None:
    """Class numbers 0 .. K-1, one for each row of the output (N,...,K)."""
    labels = target[..., 0] if target.ndim == len(output) and target.shape[-1] == 1 else target
    if labels.shape[1:] != output[1:-1]:
        raise ShapeError(
            f"{where}: {name} has shape {target.shape}, but sparse_categorical_crossentropy takes one class number for "
            f"each row of the output (N, {', '.join(map(str, output[1:]))}); for one-hot rows use "
            "categorical_crossentropy"
        )
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise DTypeError(f"{where}: {name} holds fractions, but class numbers are whole: 0, 1, 2 ...")
    if labels.min() < 0 or labels.max() >= output[-1]:
        at = tuple(int(i) for i in np.argwhere((labels < 0) | (labels >= output[-1]))[0])
        raise IndexRangeError(
            f"{where}: {name}[{', '.join(map(str, at))}] is label {labels[at]}, but the output has {output[-1]} "
            f"classes, 0 to {output[-1] - 1}: number the classes from 0, or give the last layer more units"
        )


def check_like_output(where: str, name: str, target: np.ndarray, output: tuple[int, ...], loss: losses.Loss) -> None:
    """The output's shape, and within 0 .. 1 where the loss speaks of probabilities."""
    if [n for n in target.shape[1:] if n != 1] != [n for n in output[1:] if n != 1]:
        remedy = f"make the last layer's output and {name} alike"
        if target.ndim < len(output) and isinstance(loss, losses.CategoricalCrossentropy):
            remedy = (
                f"data.to_categorical({name}, {output[-1]}) makes one-hot rows; or use sparse_categorical_crossentropy"
            )
        raise ShapeError(
            f"{where}: {name} has shape {target.shape}, but the model's output is "
            f"(N, {', '.join(map(str, output[1:]))}), and {loss.name} compares them: {remedy}"
        )
    probabilities = losses.BinaryCrossentropy, losses.CategoricalCrossentropy, losses.KLDivergence
    if isinstance(loss, probabilities) and (target.min() < 0 or target.max() > 1):
        raise DataError(
            f"{where}: {name} holds values from {target.min()} to {target.max()}, but {loss.name} takes probabilities, "
            "0 to 1: number two classes 0 and 1, make others one-hot with data.to_categorical"
        )


# --- in small -------------------------------------------------------------------------------------------------------


def real_steps(y_pred: Tensor, weight: np.ndarray | None = None) -> np.ndarray | None:
    """The weights of an output's rows (N,), or of its steps (N,T): 0 where the mask it brings along is False."""
    mask = mask_of(y_pred)
    if mask is None or y_pred.ndim <= mask.ndim:  # (N,T,C) has steps
        return weight
    real = mask.numpy()
    return real if weight is None else real * weight.reshape(weight.shape + (1,) * (real.ndim - weight.ndim))


def _loss(what: Any) -> Any:
    loss = losses.get(what)
    return FunctionLoss(loss) if callable(loss) and not isinstance(loss, losses.Loss) else loss


def by_output(argument: str, asked: Any, names: Sequence[str], several: bool = False) -> list[Any]:
    """What was asked for, one entry an output: from a dict by name, a list in order, or one thing for all.

    several: a list names several things for one output, so only a list of lists is one an output.
    """
    if isinstance(asked, Mapping):
        unknown = asked.keys() - set(names)
        if unknown:
            raise ArgumentError(f"compile: {argument} names {sorted(unknown)}, but the outputs are {', '.join(names)}")
        return [asked.get(name) for name in names]
    nested = isinstance(asked, (list, tuple)) and any(isinstance(a, (list, tuple)) for a in asked)
    if nested or (isinstance(asked, (list, tuple)) and not several):
        if len(asked) != len(names):
            raise ArgumentError(
                f"compile: {argument} has {len(asked)} entries for {len(names)} outputs; give one each, or a dict by "
                f"name: {', '.join(names)}"
            )
        return list(asked)
    return [asked] * len(names) if not several or len(names) == 1 or asked is None else _fresh(asked, len(names))


def _fresh(asked: Any, n: int) -> list[Any]:
    """The same names for each output. One Metric object can't count for two."""
    if any(isinstance(a, Metric) for a in (asked if isinstance(asked, (list, tuple)) else [asked])):
        raise ArgumentError("compile: metrics holds an object, but the model has several outputs: give a dict by name")
    return [asked] * n
