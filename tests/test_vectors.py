"""Every op against numbers that others computed: PyTorch, Keras and mpmath at 50 digits (tests/vectors/README.md)."""

from __future__ import annotations

import numpy as np
import pytest

import engine
from engine import OPS
from engine.tensor import Tensor
from tests.vectors.reader import Vector, families, load

# What an op or a parameter is called here, where the record uses another library's word.
OP = {"power": "pow", "avg_pool2d": "average_pool2d", "categorical_crossentropy": "categorical_cross_entropy"}
PARAM = {"epsilon": "eps"}
LISTS = {"concat", "stack", "broadcast_arrays"}

# A reference may itself be off by so much; contractions and statistics round more than once.
ROUNDING = 1e-12
GRADIENT = 1e-10

VECTORS = [v for family in families() for v in load(family)]


def named(v: Vector) -> str:
    if v.op == "nll":
        return "categorical_cross_entropy"
    if v.op == "batch_norm" and not v.params.get("training", True):
        return "batch_norm_inference"
    return OP.get(v.op, v.op)


def run(v: Vector, leaves: list[Tensor]):
    op = OPS[named(v)]
    params = {PARAM.get(k, k): x for k, x in v.params.items() if k != "training"}
    if v.op == "einsum":
        return engine.einsum(params["equation"], *leaves)
    if v.op == "nll" and v.inputs["y_true"].ndim < v.inputs["y_pred"].ndim:
        leaves = [engine.one_hot(leaves[0], leaves[1].shape[-1], dtype="float64"), leaves[1]]
    if v.op == "categorical_crossentropy" and v.inputs["y_true"].dtype.kind == "i":
        leaves = [engine.one_hot(leaves[0], leaves[1].shape[-1], dtype="float64"), leaves[1]]
    return op(leaves, **params) if v.op in LISTS else op(*leaves, **params)


def leaves_of(v: Vector) -> list[Tensor]:
    wanted = v.gradients or [None] * len(v.inputs)
    return [Tensor(x, g is not None) for x, g in zip(v.inputs.values(), wanted, strict=True)]


def close(got, want, tolerance, v):
    scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0))) if want.ndim else 0.0
    rtol = tolerance if "mpmath" in v.source else max(tolerance, min(1.0, 20 * v.torch_error))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=tolerance * scale, err_msg=str(v))


@pytest.mark.parametrize("v", VECTORS, ids=str)
def test_values_and_gradients_are_those_that_others_computed(v):
    leaves = leaves_of(v)
    y = run(v, leaves)
    indices = None
    if isinstance(y, (tuple, list)):
        y, *rest = y
        indices = rest[0] if rest else None
    close(y.numpy(), v.output, ROUNDING, v)
    if v.signed_zeros:
        number = ~np.isnan(v.output)  # the sign of a NaN says nothing
        np.testing.assert_array_equal(np.signbit(y.numpy())[number], np.signbit(v.output)[number])
    if v.indices is not None:
        np.testing.assert_array_equal(indices.numpy(), v.indices)
    if v.cotangent is None or not y.requires_grad:
        return
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = engine.grad(y, wanted, v.cotangent, allow_unused=True)
    for got, want in zip(gradients, [g for g in v.gradients if g is not None], strict=True):
        close(np.zeros(want.shape) if got is None else got.numpy(), want, GRADIENT, v)


@pytest.mark.parametrize("v", [v for v in VECTORS if v.second is not None], ids=str)
def test_second_derivatives_are_those_that_others_computed(v):
    leaves = leaves_of(v)
    cotangent = Tensor(np.array(v.cotangent), True)
    y = run(v, leaves)
    y = y[0] if isinstance(y, (tuple, list)) else y
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = engine.grad(y, wanted, cotangent, create_graph=True, allow_unused=True)
    directions = [d for d, g in zip(v.second.directions, v.gradients, strict=True) if g is not None]
    total = sum(
        ((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None and d is not None), 0.0
    )
    second = engine.grad(total, [*wanted, cotangent], allow_unused=True)
    seconds = [s for s, g in zip(v.second.gradients, v.gradients, strict=True) if g is not None]
    for got, want in zip(second, [*seconds, v.second.cotangent], strict=True):
        if want is not None:
            close(np.zeros(want.shape) if got is None else got.numpy(), want, 1e-8, v)


def test_at_least_sixty_ops_have_an_outside_reference():
    assert len({named(v) for v in VECTORS}) >= 60
