"""Arrays of PyTorch and JAX, and ours as theirs, through DLPack, without a copy. What is not installed is skipped."""

from __future__ import annotations

import numpy as np
import pytest

import engine
from engine import ops

DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed (it is in the extra bench)")


@pytest.fixture
def jax():
    found = pytest.importorskip("jax", reason="JAX is not installed (it is in the extra bench)")
    before = found.config.jax_enable_x64
    found.config.update("jax_enable_x64", True)
    yield found
    found.config.update("jax_enable_x64", before)


@pytest.fixture(autouse=True)
def on_the_cpu():
    with engine.device("cpu"):
        yield


def numbers(dtype, *shape):
    return (7 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


def address(t):
    return t.data.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_of_pytorch_is_shared(torch, dtype):
    theirs = torch.tensor(numbers(dtype, 3, 4))
    for ours in (engine.from_dlpack(theirs), engine.asarray(theirs), engine.from_dlpack(theirs.T).mT):
        assert (address(ours), str(ours.dtype)) == (theirs.data_ptr(), dtype)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    copied = engine.from_dlpack(theirs, copy=True)
    assert address(copied) != theirs.data_ptr()


@pytest.mark.parametrize("dtype", DTYPES)
def test_ours_is_shared_with_pytorch(torch, dtype):
    ours = engine.tensor(numbers(dtype, 4, 3))
    for theirs in (torch.from_dlpack(ours), torch.from_dlpack(ours.mT).T):
        assert theirs.data_ptr() == address(ours)
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy())
    x = engine.tensor([1.0], requires_grad=True)
    with pytest.raises(engine.GradientError, match=r"another library would not record; use t.detach\(\)"):
        torch.from_dlpack(x)
    assert torch.from_dlpack(x.detach()).item() == 1.0


def test_pytorchs_tensors_are_operands_and_gradients_come_back(torch):
    x = engine.tensor(numbers("float32", 3), requires_grad=True)
    theirs = torch.tensor(numbers("float32", 3)) + 1
    ops.multiply(x, theirs).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_jax_is_shared(jax, dtype):
    theirs = jax.numpy.asarray(numbers(dtype, 3, 4))
    for ours in (engine.from_dlpack(theirs), engine.asarray(theirs)):
        assert (address(ours), str(ours.dtype)) == (theirs.unsafe_buffer_pointer(), dtype)
        np.testing.assert_array_equal(ours.numpy(), np.asarray(theirs))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ours_is_read_by_jax(jax, dtype):
    ours = engine.tensor(numbers(dtype, 4, 3))
    np.testing.assert_array_equal(np.asarray(jax.numpy.from_dlpack(ours)), ours.numpy())
