"""Names of other libraries, and near misses: the error says what to write here."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import engine
from engine.elsewhere import HERE
from engine.parameter import Parameter

SAID = {
    "view": "; what others call view is reshape here",
    "exp": "; write engine.exp(x)",
    "reshap": "; did you mean reshape?",
    "xyzzy": "",
    "_view": "",
}


@pytest.mark.parametrize("name", SAID)
def test_a_tensor_says_what_to_write(name):
    for x in (engine.tensor([1.0]), Parameter(shape=(2,))):
        with pytest.raises(AttributeError) as problem:
            getattr(x, name)
        assert str(problem.value) == f"'{type(x).__name__}' object has no attribute '{name}'{SAID[name]}"
        assert not hasattr(x, name)


def test_whoever_only_asks_does_not_wait_for_what_was_meant(monkeypatch):
    monkeypatch.setattr(engine.elsewhere, "remedy", lambda name, known: pytest.fail("it was looked for"))
    assert not hasattr(engine.tensor([1.0]), "mask") and getattr(Parameter(shape=(2,)), "mask", None) is None


def test_the_engine_says_what_to_write():
    with pytest.raises(AttributeError, match="'engine' has no attribute 'cat'; what others call cat is concat here"):
        engine.cat  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'sigmod'; did you mean sigmoid\?"):
        engine.sigmod  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'xyzzy'; the ops are in engine.OPS"):
        engine.xyzzy  # noqa: B018


def test_what_is_named_is_here():
    x = engine.tensor([[1.0, 2.0]])
    for there, here in HERE.items():
        assert there not in engine.OPS and not hasattr(x, there), there
        word = here.partition("(")[0].partition(" of ")[0]
        if word.isidentifier() and word != "isinstance":
            assert hasattr(engine, word), here
        elif here.startswith("x."):
            assert hasattr(x, here[2:].split("(")[0].split(".")[0]), here


def test_what_is_named_does_what_the_other_does():
    x, mask = engine.tensor([[1.0, 2.0], [3.0, 4.0]]), engine.tensor([[True, False], [False, True]])
    same = x
    same += 1
    assert same is not x and "x += y makes a new tensor" in HERE["add_"]
    x[...] = x + 1
    assert x.tolist() == [[2, 3], [4, 5]]
    assert engine.where(mask, 0.0, x).tolist() == [[0, 3], [4, 0]]
    assert (engine.eye(2) * engine.tensor([2.0, 3.0])).tolist() == [[2, 0], [0, 3]]
    a, b = x.numpy(), x.numpy()[0]
    np.testing.assert_array_equal(engine.matmul(x, x).numpy(), np.dot(a, a))
    np.testing.assert_array_equal(engine.vecdot(x[0], x[0]).numpy(), np.dot(b, b))


def test_a_tensor_is_copied_and_pickled_as_before():
    x = engine.tensor([1.0, 2.0])
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert np.asarray(x).tolist() == [1.0, 2.0]
