"""Every backend is the protocol, member by member; a device that can't be had says so in one line."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

import engine
from engine.backends import backend_of, get_backend
from engine.backends.cpu import cpu
from engine.backends.protocol import Backend
from engine.formula import Formula
from engine.ops import exp, maximum

BACKENDS = [cpu]
MEMBERS = [n for n in vars(Backend) if not n.startswith("_")] + list(Backend.__annotations__)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_backend_has_each_member_with_the_protocols_signature(backend, name):
    want, got = getattr(Backend, name, None), getattr(type(backend), name)
    if callable(want):
        assert inspect.signature(got) == inspect.signature(want)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_backend_adds_no_public_member_of_its_own(backend):
    assert {n for n in dir(type(backend)) if not n.startswith("_")} <= set(MEMBERS)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_a_compiled_formula_broadcasts_arrays_and_weak_numbers(backend):
    kernel = backend.compile(Formula.trace(lambda x, b: maximum(x + b, 0) * exp(-x)))
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    b = np.linspace(-1, 1, 7, dtype=np.float32)
    for bias in (b, b[:1], np.float32(0.25).item()):
        y = backend.to_numpy(kernel(backend.asarray(x), bias if isinstance(bias, float) else backend.asarray(bias)))
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, np.maximum(x + bias, 0) * np.exp(-x), rtol=5e-7, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_scatter_add_adds_up_equal_indices(backend):
    target = backend.asarray(np.zeros((4, 2), np.float32))
    backend.scatter_add(target, np.array([1, 1, 3]), backend.asarray(np.ones((3, 2), np.float32)))
    np.testing.assert_array_equal(backend.to_numpy(target), [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_a_device_that_can_not_be_had_says_so_and_what_to_do():
    with pytest.raises(engine.DeviceError, match=r"device 'cuda' is not available: .*use device=\"cpu\""):
        engine.zeros(3, device="cuda")
    with pytest.raises(engine.DeviceError, match="there is no device 'tpu': use \"cpu\""):
        get_backend("tpu")
    with pytest.raises(engine.DeviceError, match="no backend owns an array of type builtins.list; engine.tensor"):
        backend_of([1.0])


def test_importing_the_engine_loads_no_compiler():
    """numba and llvmlite come with the first kernel: `import engine` costs little more than NumPy."""
    code = "import sys, engine; print([m for m in ('numba', 'llvmlite', 'scipy', 'cupy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
