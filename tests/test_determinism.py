"""The same seed gives the same bits, on any number of threads; and a training step changes nothing else."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from engine.kernels.cpu.threads import get_num_threads, set_num_threads
from layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from models import Sequential


def network(seed: int) -> Sequential:
    return Sequential(
        [
            Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
            MaxPooling2D((2, 2)),
            Conv2D(64, (3, 3), padding="same"),
            BatchNormalization(),
            MaxPooling2D((2, 2)),
            Flatten(),
            Dropout(0.3),
            Dense(64, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        seed=seed,
    )


def digits(n: int):
    rng = np.random.default_rng(7)
    return rng.random((n, 28, 28, 1), dtype=np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, n)]


def trained(seed: int, threads: int, optimizer: str = "adam") -> list[np.ndarray]:
    before = get_num_threads()
    set_num_threads(threads)
    try:
        model = network(seed)
        model.compile(optimizer=optimizer, loss="categorical_crossentropy")
        x, y = digits(160)
        model.fit(x, y, batch_size=64, epochs=2, verbose=0)  # the last batch is a short one
        return [np.array(w) for w in model.get_weights()]
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_run_has_the_same_bits_on_one_and_on_two_threads(optimizer):
    for a, b in zip(trained(3, 1, optimizer), trained(3, min(2, get_num_threads()), optimizer), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_another_network():
    assert any(np.any(a != b) for a, b in zip(trained(3, 1), trained(4, 1), strict=True))


def test_a_thousand_training_steps_keep_memory_flat_without_the_garbage_collector():
    model = Sequential(
        [Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), Flatten(), Dense(3, activation="softmax")]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    x, y = (
        np.random.default_rng(0).random((8, 8, 8, 1), dtype=np.float32),
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0, 1]],
    )
    for _ in range(20):
        model.train_on_batch(x, y)
    gc.collect()
    before = len(gc.get_objects())
    gc.disable()
    try:
        for _ in range(1000):
            model.train_on_batch(x, y)
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert grown < 200, f"{grown} objects stayed behind"
