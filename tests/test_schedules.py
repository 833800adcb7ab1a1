"""Schedules against their formulas, and what their words promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import config
from engine.errors import ArgumentError
from optim import schedules as s
from optim.schedules import Schedule

EVERY = [
    s.Constant(0.3),
    s.PiecewiseConstantDecay([5, 12], [1.0, 0.5, 0.1]),
    s.StepDecay(1.0, 4, 0.5),
    s.ExponentialDecay(0.1, 10, 0.5),
    s.ExponentialDecay(0.1, 10, 0.5, staircase=True),
    s.InverseTimeDecay(0.1, 10, 0.5),
    s.InverseTimeDecay(0.1, 10, 0.5, staircase=True),
    s.PolynomialDecay(0.1, 20, 0.01, power=2.0),
    s.PolynomialDecay(0.1, 20, 0.01, cycle=True),
    s.CosineDecay(0.1, 20, alpha=0.1),
    s.CosineDecay(0.0, 20, alpha=0.1, warmup_target=0.2, warmup_steps=5),
    s.CosineDecayRestarts(0.1, 5, t_mul=2.0, m_mul=0.8, alpha=0.01),
    s.CosineDecayRestarts(0.1, 7, t_mul=1.0),
    s.WarmUp(s.CosineDecay(0.1, 20), 5),
    s.OneCycle(0.4, 50),
]

FORMULAS = [
    (EVERY[0], lambda n: 0.3),
    (EVERY[1], lambda n: 1.0 if n <= 5 else 0.5 if n <= 12 else 0.1),
    (EVERY[2], lambda n: 0.5 ** (n // 4)),
    (EVERY[3], lambda n: 0.1 * 0.5 ** (n / 10)),
    (EVERY[4], lambda n: 0.1 * 0.5 ** (n // 10)),
    (EVERY[5], lambda n: 0.1 / (1 + 0.05 * n)),
    (EVERY[6], lambda n: 0.1 / (1 + 0.5 * (n // 10))),
    (EVERY[7], lambda n: 0.09 * (1 - min(n, 20) / 20) ** 2 + 0.01),
    (EVERY[8], lambda n: 0.09 * (1 - n / (20 * max(1, math.ceil(n / 20)))) + 0.01),
    (EVERY[9], lambda n: 0.1 * (0.9 * 0.5 * (1 + math.cos(math.pi * min(n / 20, 1))) + 0.1)),
    (EVERY[10], lambda n: 0.04 * n if n < 5 else 0.02 + 0.09 * (1 + math.cos(math.pi * min((n - 5) / 20, 1)))),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=lambda x: repr(x) if isinstance(x, Schedule) else "")
def test_is_its_formula(schedule, formula) -> None:
    steps = range(100)
    np.testing.assert_allclose([schedule(n) for n in steps], [formula(n) for n in steps], rtol=1e-12)


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_its_description_makes_it_again(schedule) -> None:
    again = s.get(config.serialize(schedule))
    assert [again(n) for n in range(80)] == [schedule(n) for n in range(80)]


def test_restarts_begin_anew_higher_or_lower_and_longer() -> None:
    schedule = s.CosineDecayRestarts(1.0, 5, t_mul=2.0, m_mul=0.5)
    starts = [0, 5, 15, 35]
    assert [schedule(n) for n in starts] == [1.0, 0.5, 0.25, 0.125]
    rates = [schedule(n) for n in range(60)]
    assert [n for n in range(1, 60) if rates[n] > rates[n - 1]] == [5, 15, 35]
    assert s.CosineDecayRestarts(1.0, 5, t_mul=1.0)(10_000) == 1.0


def test_the_floor_of_restarts_is_alpha_of_the_first_rate() -> None:
    r = s.CosineDecayRestarts(0.1, 3, t_mul=1.0, m_mul=0.5, alpha=0.1)
    ends = [r(3 * k) for k in range(4)]
    np.testing.assert_allclose(ends, [0.1 * (0.9 * 0.5**k + 0.1) for k in range(4)], rtol=1e-12)


def test_warm_up_is_a_straight_line_to_where_the_schedule_begins() -> None:
    schedule = s.WarmUp(s.ExponentialDecay(0.8, 10, 0.5), 4, start_learning_rate=0.4)
    np.testing.assert_allclose([schedule(n) for n in range(6)], [0.4, 0.5, 0.6, 0.7, 0.8, 0.8 * 0.5**0.1])
    assert s.WarmUp(0.3, 2)(7) == 0.3


def test_one_cycle_rises_once_and_falls_to_almost_nothing() -> None:
    schedule = s.OneCycle(1.0, 100, pct_start=0.3)
    rates = [schedule(n) for n in range(100)]
    assert rates[0] == pytest.approx(1 / 25) and rates[29] == pytest.approx(1.0) and rates[99] == pytest.approx(4e-6)
    assert np.argmax(rates) == 29 and (np.diff(rates[:30]) > 0).all() and (np.diff(rates[29:]) < 0).all()


def test_one_cycle_may_begin_at_its_peak() -> None:
    assert s.OneCycle(1.0, 10, pct_start=0.1)(0) == 1.0


def test_one_cycle_is_torch_s() -> None:
    """Rates of torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10), PyTorch 2.13."""
    expected = [0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893, 0.38874197806371075,
                0.18825834605023697, 0.049519367986526286, 4e-06]  # fmt: skip
    np.testing.assert_allclose([s.OneCycle(1.0, 10)(n) for n in range(10)], expected, rtol=1e-9)



def test_plateau_waits_then_lowers_then_rests() -> None:
    plateau, rate, seen = s.ReduceOnPlateau(factor=0.5, patience=2, cooldown=2, min_lr=0.2), 1.0, []
    for loss in [5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]:
        rate = plateau(loss, rate)
        seen.append(rate)
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    again = s.ReduceOnPlateau(mode="max", patience=1)
    assert again(0.5, 1.0) == 1.0 and again(0.6, 1.0) == 1.0 and again(0.6, 1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: s.CosineDecay(0.1, 0), r"CosineDecay: decay_steps is a number of steps above 0, got 0"),
        (lambda: s.PiecewiseConstantDecay([3, 1], [1, 2, 3]), r"needs rising boundaries and one more value"),
        (lambda: s.OneCycle(0.1, 10, pct_start=1.0), r"pct_start is the part of the run that goes up, 0 to 1, got 1.0"),
        (lambda: s.ReduceOnPlateau(factor=2), r"ReduceOnPlateau: factor is between 0 and 1, got 2"),
        (lambda: s.get("cosine"), r"there is no schedule 'cosine'; there are .*cosine_decay"),
    ],
)
def test_errors(bad, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        bad()
