"""What a test draws does not hang on the tests before it."""

import numpy as np
import pytest

import engine

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("turn", range(3))
def test_each_test_draws_from_the_beginning(turn):
    assert RNG.random() == np.random.default_rng(3).random()
    assert engine.random.default_generator().normal(3).tolist() == engine.random.Generator(0).normal(3).tolist()
