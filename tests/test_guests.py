"""The engine is a guest in the caller's process: his NumPy, his threads and his forks stay as they are, and safe."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import threadpoolctl

import engine
from engine.kernels.cpu import lane_cache
from layers import LSTM, BatchNormalization, Conv2D, Dense, Embedding, Flatten, MaxPooling2D
from models import Sequential


def network(seed: int = 1) -> Sequential:
    model = Sequential(
        [
            Conv2D(8, 3, activation="relu", input_shape=(12, 12, 1)), MaxPooling2D(2), BatchNormalization(), Flatten(),
            Dense(16, "relu"), Dense(3, "softmax"),
        ],
        seed=seed,
    )  # fmt: skip
    model.compile("adam", "categorical_crossentropy")
    return model


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((16, 12, 12, 1), np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 16)]


def losses(seed: int, steps: int = 5) -> list[float]:
    model, (x, y) = network(seed), batch(seed)
    return [float(model.train_on_batch(x, y)) for _ in range(steps)]


def test_the_callers_numpy_keeps_its_settings():
    before = np.geterr(), [(p["filepath"], p["num_threads"]) for p in threadpoolctl.threadpool_info()]
    product = np.random.default_rng(0).random((300, 300)) @ np.random.default_rng(1).random((300, 300))
    environment = dict(os.environ)
    losses(1)
    after = np.geterr(), [(p["filepath"], p["num_threads"]) for p in threadpoolctl.threadpool_info()]
    assert after[0] == before[0] and set(before[1]) <= set(after[1]) and dict(os.environ) == environment
    again = np.random.default_rng(0).random((300, 300)) @ np.random.default_rng(1).random((300, 300))
    np.testing.assert_array_equal(again, product)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):  # the flags of the processor are his, too
        np.float32(1) / np.float32(0)
    assert np.float32(1e-40) * np.float32(1) != 0  # denormals count outside of kernels


def test_two_models_in_two_python_threads_train_as_each_alone():
    alone = {seed: losses(seed) for seed in (1, 2, 3)}
    found: dict[int, list[float]] = {}
    threads = [threading.Thread(target=lambda s=s: found.update({s: losses(s)})) for s in (1, 2, 3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == alone


def test_modes_of_one_thread_are_not_those_of_another():
    seen = []
    with engine.no_grad():
        t = threading.Thread(target=lambda: seen.append(engine.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_trains_as_its_parent():
    expected = losses(4)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if losses(4) == expected else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert losses(4) == expected


@pytest.mark.skipif(not lane_cache.enabled(), reason="NumPy, which updates where nothing is compiled, flushes nothing")
def test_a_dead_network_steps_as_fast_as_a_live_one():
    """Moving averages that fade into denormals must not slow the optimiser: its state is flushed to zero in time."""
    model = Sequential([Dense(64, input_shape=(64,)), Dense(64)], seed=0)
    model.compile("adam", "mse")
    x = np.zeros((8, 64), np.float32)
    rng = np.random.default_rng(0)
    model.train_on_batch(rng.random((8, 64), np.float32), rng.random((8, 64), np.float32))
    for _ in range(1200):  # nothing comes in any more: m shrinks by 0.9 a step, past 1e-38 after some 800
        model.train_on_batch(x, x)
    tiny = np.finfo(np.float32).tiny
    for group in model.optimizer.groups:
        for arena in group.arenas:
            for name, values in arena.slots.items():
                assert not ((values != 0) & (np.abs(values) < tiny)).any(), name


@pytest.mark.parametrize("layer", ["dense", "lstm"])
def test_bits_do_not_depend_on_the_thread_count(layer):
    def run(threads: int) -> list[float]:
        before = engine.get_num_threads()
        engine.set_num_threads(threads)
        try:
            if layer == "dense":
                return losses(5)
            model = Sequential([Embedding(50, 24, input_shape=(20,)), LSTM(40), Dense(1, "sigmoid")], seed=1)
            model.compile("adam", "binary_crossentropy")
            rng = np.random.default_rng(0)
            x, y = rng.integers(0, 50, (48, 20)), rng.integers(0, 2, (48, 1)).astype(np.float32)
            return [float(model.train_on_batch(x, y)) for _ in range(4)]
        finally:
            engine.set_num_threads(before)

    assert run(1) == run(max(2, engine.get_num_threads()))
