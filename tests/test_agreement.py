"""Every op on `--device` agrees with the CPU: results, gradients, gradients of gradients; random bits exactly.

From the registry: an op that is added is compared with no further edit. On the CPU itself there is nothing to compare.
"""

from __future__ import annotations

import numpy as np
import pytest

import engine
from engine import OPS
from engine.backends import get_backend
from engine.dtypes import SEVERAL_ROUNDINGS
from engine.gradcheck import sample
from engine.op import ElementwiseOp
from engine.samples import Draw
from engine.tensor import Tensor, asarray

SAMPLED = [n for n, o in OPS.items() if (isinstance(o, ElementwiseOp) or o.note.samples) and n != "to_device"]
SEEDS = range(3)


@pytest.fixture(autouse=True)
def another_device(request):
    device = request.config.getoption("--device")
    if device == "cpu":
        pytest.skip("compares another device with the CPU: --device strict, or cuda")
    return device


def computed(name, inputs, params, device, dtype):
    """Results and first gradients, for one cotangent; and the gradients of the squares of these."""
    op, on = OPS[name], {"device": device}
    with engine.device(device):
        tensors = [
            asarray(x.astype(dtype) if x.dtype.kind == "f" else x, **on).requires_grad_(x.dtype.kind == "f")
            if isinstance(x, np.ndarray) else x for x in inputs
        ]  # fmt: skip
        y = op(tensors, **params) if getattr(op, "variadic", False) else op(*tensors, **params)
        results = list(y) if isinstance(y, (tuple, list)) else [y]
        leaves = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]
        found = [t.numpy() for t in results]
        if results[0].requires_grad and leaves:
            g = np.random.default_rng(0).standard_normal(results[0].shape).astype(results[0].dtype)
            firsts = engine.grad(results[0], leaves, g, create_graph=True, allow_unused=True)
            firsts = [f for f in firsts if f is not None]
            found += [f.numpy() for f in firsts]
            if dtype == "float32":
                total = sum((f * f).sum() for f in firsts)
                if isinstance(total, Tensor) and total.requires_grad:
                    seconds = engine.grad(total, leaves, allow_unused=True)
                    found += [s.numpy() for s in seconds if s is not None]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", SAMPLED)
def test_an_op_agrees_with_the_cpu(name, dtype, another_device):
    for seed in SEEDS if dtype == "float32" else SEEDS[:1]:
        inputs, params = sample(OPS[name], Draw.seeded(seed))
        wanted = computed(name, inputs, params, "cpu", dtype)
        got = computed(name, inputs, params, another_device, dtype)
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if b.dtype.kind in "iub":
                np.testing.assert_array_equal(a, b)
            else:
                tolerance = 5 * SEVERAL_ROUNDINGS[dtype]
                largest = np.abs(b[np.isfinite(b)].astype(np.float64)).max(initial=0)
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, largest))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", [n for n in SAMPLED if isinstance(OPS[n], ElementwiseOp) and OPS[n].result != "float"])
def test_whole_numbers_and_truth_values_agree_exactly(name, dtype, another_device):
    rng = np.random.default_rng(0)
    domains = OPS[name].note.domain
    inputs = [
        rng.integers(0, 2, (3, 5)).astype(bool) if d.kind == "bool" else rng.integers(0, 6, (3, 5)).astype(dtype)
        for d in domains
    ]
    try:
        wanted = OPS[name](*[asarray(x, device="cpu") for x in inputs])
    except engine.ChainRuleError as problem:
        with pytest.raises(type(problem)):
            OPS[name](*[asarray(x, device=another_device) for x in inputs])
        return
    got = OPS[name](*[asarray(x, device=another_device) for x in inputs])
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_random_bits_are_equal(another_device):
    for seed, stream, start, n in ((0, 0, 0, 1000), (2**64 - 1, 2**63, 2**40, 37), (5, 9, 4, 0)):
        want = get_backend("cpu").random_bits(seed, stream, start, n)
        backend = get_backend(another_device)
        np.testing.assert_array_equal(backend.to_numpy(backend.random_bits(seed, stream, start, n)), want)


def test_a_table_of_more_axes_than_can_be_joined_is_walked(another_device):
    """A transposed array of six axes beside a broadcast one: no two axes can be joined."""
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 3, 2, 3)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((3, 1, 3, 1, 3, 1)).astype(np.float32)
    a = asarray(x, device=another_device).permute_dims((5, 4, 3, 2, 1, 0)) + asarray(y, device=another_device)
    np.testing.assert_allclose(a.numpy(), x.transpose() + y, rtol=1e-6)
