"""Profiles, and guards that fail a test which leaves the world changed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import engine
from engine import autograd, dtypes
from engine.kernels.cpu.threads import get_num_threads

settings.register_profile(
    "default", max_examples=50, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.register_profile("devices", parent=settings.get_profile("default"), max_examples=6)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    parser.addoption(
        "--device", default="cpu",
        help="where tests make their tensors: cpu, strict (the stand-in of tests/gpu/strict.py), cuda",
    )  # fmt: skip
    parser.addoption("--emulate", action="store_true", help="CuPy finds the emulated device of tests/gpu/emulate")


def pytest_configure(config):
    if config.getoption("--emulate"):
        from tests.gpu import emulate

        emulate.start()
    if config.getoption("--device").startswith("strict"):
        from engine import backends
        from tests.gpu.strict import Strict

        backends.register("strict", Strict)


@pytest.fixture(autouse=True)
def on_the_device(request):
    """Tensors, parameters and what is given as numbers or arrays lie on `--device`."""
    with engine.device(request.config.getoption("--device")):
        yield


_begun = {}  # of each generator that a module of tests has, its state after the module was read


@pytest.fixture(autouse=True)
def numbers_of_its_own(request):
    """A test draws the same numbers whatever ran before it: the engine's, and those of a generator of its module."""
    engine.random.manual_seed(0)
    for value in vars(request.module).values():
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = _begun.setdefault(id(value), value.bit_generator.state)


@pytest.fixture(autouse=True)
def no_leaked_state():
    """Modes, defaults and NumPy's own settings are after a test what they were before it."""
    before = _state()
    yield
    assert _state() == before, "a test changed global state and did not put it back"


def _state():
    return {
        "mode": autograd.mode(),
        "dtype": dtypes.default_dtype(),
        "errstate": np.geterr(),
        "ops": len(engine.OPS),
        "threads": get_num_threads(),
    }
