"""What the tests of captured steps share: the device, a network, batches, and a step that has been recorded."""

from __future__ import annotations

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import backends
from tests.gpu.strict import Strict

STEPS = 6


@pytest.fixture(autouse=True, scope="module")
def stand_in(request):
    """The device "strict", unless the session runs on another than the CPU: then that one."""
    device = request.config.getoption("--device")
    if device != "cpu":
        yield device
        return
    remove = backends.register("strict", Strict)
    yield "strict"
    remove()


@pytest.fixture(autouse=True)
def device(stand_in):
    with engine.device(stand_in):
        yield stand_in


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def image_network():
    return models.Sequential([
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.BatchNormalization(), layers.Flatten(),
        layers.Dropout(0.3), layers.Dense(8, activation="gelu"), layers.LayerNormalization(), layers.Dense(3),
    ], seed=0)  # fmt: skip


IMAGES = [(drawn(4, 8, 8, 1, seed=i), np.random.default_rng(i).integers(0, 3, 4)) for i in range(STEPS)]
RATE = optim.schedules.ExponentialDecay(0.05, 2, 0.5)


def captured(step, *examples, **named):
    """After its plain calls, and one that is recorded."""
    run = engine.capture(step, warmup=1)
    for _ in range(2):
        run(*examples, **named)
    return run
