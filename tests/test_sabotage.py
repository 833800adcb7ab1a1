"""A planted error is where it was planted, and nowhere else."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import engine
from engine.view import sabotage

X, Y_BAR = np.array([0.3, -1.2, 0.7]), np.array([0.9, -0.4, 1.3])


def gradient():
    x = engine.tensor(X, requires_grad=True)
    engine.softmax(x).backward(Y_BAR)
    return x.grad.numpy()


def test_each_cotangent_is_too_large_by_the_factor_and_the_check_notices():
    right = gradient()
    with sabotage("softmax", factor=1.01) as planted:
        np.testing.assert_allclose(gradient(), 1.01 * right)
        assert planted.times == 1
        assert not engine.check_op("softmax", order=1)
        assert engine.check_op("sigmoid", order=1)
    np.testing.assert_array_equal(gradient(), right)
    assert engine.check_op("softmax", order=1)


def test_all_is_as_before_after_an_exception_and_after_a_second_error_inside():
    right = gradient()
    with pytest.raises(KeyError), sabotage("softmax", factor=2.0):
        with sabotage("softmax", factor=3.0):
            np.testing.assert_allclose(gradient(), 6 * right)
        np.testing.assert_allclose(gradient(), 2 * right)
        raise KeyError
    np.testing.assert_array_equal(gradient(), right)
    assert "pull" not in vars(engine.OPS["softmax"])


def test_other_threads_never_see_it():
    right, seen = gradient(), {}
    inside, done = threading.Event(), threading.Event()

    def learner():
        with sabotage("softmax", factor=5.0):
            inside.set()
            done.wait(10)
            seen["learner"] = gradient()

    thread = threading.Thread(target=learner)
    thread.start()
    inside.wait(10)
    with sabotage("softmax", factor=7.0):
        seen["other"] = gradient()
    seen["clean"] = gradient()
    done.set()
    thread.join()
    np.testing.assert_allclose(seen["learner"], 5 * right)
    np.testing.assert_allclose(seen["other"], 7 * right)
    np.testing.assert_array_equal(seen["clean"], right)
    np.testing.assert_array_equal(gradient(), right)


def test_what_cannot_be_sabotaged_says_so():
    with pytest.raises(engine.ArgumentError, match="there is no op 'sofmax'"):
        sabotage("sofmax")
    with pytest.raises(engine.ArgumentError, match="'cross_entropy' is made of other ops"):
        sabotage("cross_entropy")
    with pytest.raises(engine.ArgumentError, match="'argmax' has no derivative"):
        sabotage("argmax")
