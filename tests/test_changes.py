"""What was changed in place after it was saved is noticed by its address; what was not is not suspected."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from engine import changes, no_grad, tensor
from engine.changes import changed, mark, tick
from engine.errors import GradientError


def test_a_mark_concerns_its_memory_and_later_times_only():
    x = np.zeros((6, 4))
    before = tick()
    assert not changed(x, before)
    mark(x[2:4])
    assert changed(x, before) and changed(x[3], before) and changed(x.T, before) and changed(x[::-1], before)
    assert not changed(x[:2], before) and not changed(x[4:], before) and not changed(np.zeros(3), before)
    assert not changed(x, tick())


def test_nothing_lies_in_an_empty_array():
    x = np.zeros((3, 0))
    before = tick()
    mark(x)
    assert not changed(np.zeros(4), before) and not changed(x, before)


def test_memory_that_is_used_again_is_not_suspected():
    for _ in range(50):
        a = tensor(np.ones(1000, np.float32))
        with no_grad():
            a[0] = 2.0
        del a
        x = tensor(np.ones(1000, np.float32), requires_grad=True)  # perhaps at the same address
        (x * x).sum().backward()


def test_old_marks_are_forgotten_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(changes, "MOST_MARKS", 10)
    monkeypatch.setattr(changes, "_marks", {})  # not those of other tests
    arrays = [np.zeros(2) for _ in range(30)]
    before = tick()
    for x in arrays:
        mark(x)
    assert len(changes._marks) <= 10 and changed(arrays[-1], before)


def test_another_part_of_the_same_memory_may_change():
    t = tensor(np.arange(6.0))
    x = tensor(np.ones(3), requires_grad=True)
    y = (x * t[:3]).sum()
    with no_grad():
        t[3:][0] = 7.0
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1, 2])
    y = (x * t[3:]).sum()
    with no_grad():
        t[4] = 7.0
    with pytest.raises(GradientError, match=r"'multiply' needs a value of shape \(3,\) that was changed in place"):
        y.backward()
    gc.collect()
