"""A planted error is where it was planted, and nowhere else."""

from __future__ import annotations

import contextvars
import threading

import numpy as np
import pytest

import engine
from engine.view import sabotage, trace

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


@pytest.mark.parametrize("opens", [lambda: sabotage("softmax", factor=3.0), trace], ids=["sabotage", "trace"])
def test_a_block_that_ends_in_another_context_is_over_in_all(opens):
    """As that of an asynchronous generator that is closed by another task."""
    right, block, here = gradient(), opens(), contextvars.copy_context()
    here.run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)
    np.testing.assert_array_equal(gradient(), right)
    np.testing.assert_array_equal(here.run(gradient), right)
    with sabotage("softmax", factor=2.0), trace() as t:  # installed anew, for this context alone
        np.testing.assert_array_equal(here.run(gradient), right)
        assert not t.events
        np.testing.assert_allclose(gradient(), 2 * right)
    assert [e.op for e in t.leaves()] == ["softmax", "softmax"]
    assert "pull" not in vars(engine.OPS["softmax"])


@pytest.mark.parametrize("order", ["trace first", "sabotage first"])
def test_a_trace_sees_what_is_sabotaged(order):
    first, second = (trace(), sabotage("softmax", 3.0))[:: 1 if order == "trace first" else -1]
    right = gradient()
    with first as a, second as b:
        np.testing.assert_allclose(gradient(), 3 * right)
    events, planted = (a, b) if order == "trace first" else (b, a)
    assert [(e.op, e.phase) for e in events.leaves()] == [("softmax", "forward"), ("softmax", "backward")]
    assert planted.times == 1
    np.testing.assert_array_equal(gradient(), right)


def test_the_dtype_of_a_cotangent_is_kept():
    x = engine.tensor(X.astype("f4"), requires_grad=True)
    with sabotage("softmax", factor=np.float64(1.5)):
        engine.softmax(x).backward(Y_BAR.astype("f4"))
    assert x.grad.dtype == np.float32


def test_what_cannot_be_sabotaged_says_so():
    with pytest.raises(
        engine.ArgumentError, match="factor is a number such as 1.01, by which cotangents are multiplied, not 'x'"
    ):
        sabotage("softmax", factor="x")
    with pytest.raises(engine.ArgumentError, match="there is no op 'sofmax'"):
        sabotage("sofmax")
    with pytest.raises(engine.ArgumentError, match="'cross_entropy' is made of other ops"):
        sabotage("cross_entropy")
    with pytest.raises(engine.ArgumentError, match="'argmax' has no derivative"):
        sabotage("argmax")
