r"""Learning rates that change: a schedule is a function of the number of steps done, 0 before the first.

Names and defaults are Keras 3's where Keras has them (`ExponentialDecay`, `PiecewiseConstantDecay`, `PolynomialDecay`,
`InverseTimeDecay`, `CosineDecay`, `CosineDecayRestarts`). In the equations s is the step and r the rate; T stands for
decay_steps.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from engine import config
from engine.errors import ArgumentError


class Schedule(config.Configurable, family="schedule"):
    """Base class: `__call__(step)` is the learning rate."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError


LearningRateSchedule = Schedule  # Keras' word


def get(what: Any) -> Any:
    """A schedule from its description or itself; a number is a constant one."""
    return Constant(float(what)) if isinstance(what, (int, float)) else config.get(Schedule, what)


def _steps(who: str, what: str, n: float) -> float:
    if not n > 0:
        raise ArgumentError(f"{who}: {what} is a number of steps above 0, got {n}")
    return n


# ------------------------------------------------------------------------------------------------ in steps
class Constant(Schedule):
    """r = learning_rate."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def __call__(self, step: int) -> float:
        return self.learning_rate


class PiecewiseConstantDecay(Schedule):
    """values[0] up to and with step boundaries[0], then values[1], and so on; one more value than boundaries."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
            raise ArgumentError(
                f"PiecewiseConstantDecay: needs rising boundaries and one more value, got {len(boundaries)} boundaries "
                f"{list(boundaries)} and {len(values)} values"
            )
        self.boundaries, self.values = list(boundaries), list(values)

    def __call__(self, step: int) -> float:
        return self.values[bisect_left(self.boundaries, step)]


class StepDecay(Schedule):
    r"""Every step_size steps times gamma: :math:`r = r_0 \gamma^{\lfloor s / \mathrm{step\_size} \rfloor}`."""

    def __init__(self, initial_learning_rate: float, step_size: int, gamma: float = 0.1) -> None:
        self.initial_learning_rate, self.step_size, self.gamma = initial_learning_rate, step_size, gamma
        _steps("StepDecay", "step_size", step_size)

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate * self.gamma ** (step // self.step_size)


# ------------------------------------------------------------------------------------------------ smoothly
class ExponentialDecay(Schedule):
    r""":math:`r = r_0 \cdot \mathrm{decay\_rate}^{s / T}`; staircase: the exponent is rounded down."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, staircase
        self.decay_steps = _steps("ExponentialDecay", "decay_steps", decay_steps)

    def __call__(self, step: int) -> float:
        power = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(power) if self.staircase else power)


class InverseTimeDecay(Schedule):
    r""":math:`r = r_0 / (1 + \mathrm{decay\_rate} \cdot s / T)`; staircase: s / T is rounded down."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, staircase
        self.decay_steps = _steps("InverseTimeDecay", "decay_steps", decay_steps)

    def __call__(self, step: int) -> float:
        time = step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(time) if self.staircase else time))


class PolynomialDecay(Schedule):
    r""":math:`r = (r_0 - r_1)(1 - s / T)^{\mathrm{power}} + r_1`, then r_1 = end_learning_rate for good.

    cycle: instead, T becomes the next multiple of decay_steps.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate, self.end_learning_rate = initial_learning_rate, end_learning_rate
        self.power, self.cycle = power, cycle
        self.decay_steps = _steps("PolynomialDecay", "decay_steps", decay_steps)

    def __call__(self, step: int) -> float:
        T = self.decay_steps
        if self.cycle:
            T *= max(1, math.ceil(step / T))
        left = 1 - min(step, T) / T
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


def _cosine(start: float, end: float, part: float) -> float:
    """Half a cosine from start (part 0) to end (part 1)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


class CosineDecay(Schedule):
    r""":math:`r = r_0 \bigl((1 - \alpha) \tfrac12 (1 + \cos(\pi s / T)) + \alpha\bigr)`, then α r_0 for good.

    With warmup_target the rate first rises from r_0 to the target in warmup_steps, in a straight line, and falls from
    there in decay_steps more. [Loshchilov and Hutter, ICLR 2017]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate, self.alpha = initial_learning_rate, alpha
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps
        self.decay_steps = _steps("CosineDecay", "decay_steps", decay_steps)

    def __call__(self, step: int) -> float:
        start, target = self.initial_learning_rate, self.warmup_target
        if target is None:
            return _cosine(start, self.alpha * start, step / self.decay_steps)
        if step < self.warmup_steps:
            return start + (target - start) * step / self.warmup_steps
        return _cosine(target, self.alpha * target, (step - self.warmup_steps) / self.decay_steps)


class CosineDecayRestarts(Schedule):
    r"""Cosine decays one after the other, the k-th t_mul^k times as long and m_mul^k times as high as the first.

    .. math:: r = r_0 \bigl((1 - \alpha) \, \mathrm{m\_mul}^k \, \tfrac12 (1 + \cos(\pi s_k / T_k)) + \alpha\bigr)

    with s_k, of T_k, the steps since the k-th restart: α r_0 is the floor of all of them.
    [Loshchilov and Hutter, ICLR 2017, "SGDR", (5)]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.initial_learning_rate, self.t_mul, self.m_mul, self.alpha = initial_learning_rate, t_mul, m_mul, alpha
        self.first_decay_steps = _steps("CosineDecayRestarts", "first_decay_steps", first_decay_steps)
        if t_mul < 1:
            raise ArgumentError(f"CosineDecayRestarts: t_mul is 1 or more, got {t_mul}: the restarts would pile up")

    def __call__(self, step: int) -> float:
        begin, length, high = 0.0, float(self.first_decay_steps), 1.0
        while step >= begin + length:
            begin, length, high = begin + length, length * self.t_mul, high * self.m_mul
        part = (1 - self.alpha) * _cosine(high, 0.0, (step - begin) / length) + self.alpha
        return self.initial_learning_rate * part


class WarmUp(Schedule):
    """First a straight line of warmup_steps, from start_learning_rate to where `schedule` (or a number) begins."""

    def __init__(self, schedule: Any, warmup_steps: int, start_learning_rate: float = 0.0) -> None:
        self.schedule, self.start_learning_rate = get(schedule), start_learning_rate
        self.warmup_steps = int(_steps("WarmUp", "warmup_steps", warmup_steps))

    def __call__(self, step: int) -> float:
        if step >= self.warmup_steps:
            return self.schedule(step - self.warmup_steps)
        low, high = self.start_learning_rate, self.schedule(0)
        return low + (high - low) * step / self.warmup_steps


class OneCycle(Schedule):
    """Up to max_learning_rate in the first part of the run, and down to almost nothing in the rest, each half a cosine.

    It starts at max / div_factor and ends at max / (div_factor final_div_factor). Defaults are PyTorch's.
    [Smith and Topin, arXiv 1708.07120, 2017, "super-convergence"]
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_learning_rate, self.pct_start = max_learning_rate, pct_start
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.total_steps = int(_steps("OneCycle", "total_steps", total_steps))
        if not 0 < pct_start < 1:
            raise ArgumentError(f"OneCycle: pct_start is the part of the run that goes up, 0 to 1, got {pct_start}")

    def __call__(self, step: int) -> float:
        start = self.max_learning_rate / self.div_factor
        last = self.total_steps - 1
        peak = self.pct_start * self.total_steps - 1
        if step < peak:
            return _cosine(start, self.max_learning_rate, step / peak)
        return _cosine(self.max_learning_rate, start / self.final_div_factor, (step - peak) / (last - peak))


# ------------------------------------------------------------------------------------------------ by what happens
class ReduceOnPlateau:
    """Less learning rate when a watched number stops getting better: not a function of the step, but told each epoch.

    plateau(value, lr) gives the new rate: lr factor after `patience` epochs in which the best value was not passed by
    min_delta, at least min_lr; then it rests for `cooldown` epochs. mode: "min" (a loss) or "max" (an accuracy).
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "min",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise ArgumentError(f"ReduceOnPlateau: factor is between 0 and 1, got {factor}")
        if mode not in ("min", "max"):
            raise ArgumentError(f"ReduceOnPlateau: mode is 'min' or 'max', got {mode!r}")
        self.factor, self.patience, self.mode, self.min_delta = factor, patience, mode, min_delta
        self.cooldown, self.min_lr = cooldown, min_lr
        self.best, self.waited, self.resting = math.inf, 0, 0

    def __call__(self, value: float, lr: float) -> float:
        value = value if self.mode == "min" else -value
        self.resting = max(0, self.resting - 1)
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            return lr
        if self.resting:
            self.waited = 0
            return lr
        self.waited += 1
        if self.waited < self.patience or lr <= self.min_lr:
            return lr
        self.waited, self.resting = 0, self.cooldown + 1 if self.cooldown else 0
        return max(lr * self.factor, self.min_lr)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "waited": self.waited, "resting": self.resting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best, self.waited, self.resting = state["best"], int(state["waited"]), int(state["resting"])
