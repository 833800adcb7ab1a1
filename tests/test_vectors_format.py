"""The frozen reference vectors parse, are consistent in themselves, and cover what they promise."""

import math

import numpy as np
import pytest

from tests.vectors.reader import FOLDER, Vector, array, families, load, load_op, load_optim

EVERY = [v for family in families() for v in load(family)]
OPTIMISERS = {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Lion"}


def test_coverage():
    assert len({v.op for v in EVERY}) >= 110
    assert {v.source.split()[0] for v in EVERY} == {"torch", "mpmath", "keras"}
    assert {t.optimizer for t in load_optim()} == OPTIMISERS


def test_files_stay_small():
    assert sum(p.stat().st_size for p in FOLDER.glob("*.json")) < 600_000


@pytest.mark.parametrize("v", EVERY, ids=str)
def test_record(v: Vector):
    if v.cotangent is None:
        assert not v.gradients and v.second is None
        return
    assert v.cotangent.shape == v.output.shape
    assert np.isfinite(v.output).all() and np.isfinite(v.cotangent).all()
    assert not (v.cotangent == 1).all(), "a ones cotangent cannot tell a softmax gradient from three times it"
    check_like(v, v.gradients)
    if v.second is not None:
        check_like(v, v.second.directions)
        check_like(v, v.second.gradients)
        assert v.second.cotangent.shape == v.output.shape and np.isfinite(v.second.cotangent).all()


def check_like(v: Vector, gradients: list[np.ndarray | None]) -> None:
    """One per input, finite, of its shape; None for what is not differentiable (integers and booleans are not)."""
    assert len(gradients) == len(v.inputs) and any(g is not None for g in gradients)
    for x, g in zip(v.inputs.values(), gradients, strict=True):
        if g is not None:
            assert x.dtype == np.float64 and g.shape == x.shape and np.isfinite(g).all()


@pytest.mark.parametrize("v", [v for v in EVERY if v.second is not None], ids=str)
def test_second_order_is_consistent(v: Vector):
    """Gradients are linear in the cotangent, so <cotangent, d/d cotangent> is the contracted gradients themselves."""
    pairs = [(d, g) for d, g in zip(v.second.directions, v.gradients, strict=True) if d is not None]
    contracted = math.fsum(x for d, g in pairs for x in (d * g).ravel())
    scale = math.fsum(abs(x) for d, g in pairs for x in (d * g).ravel())
    ours = float((v.cotangent * v.second.cotangent).sum())
    assert ours == pytest.approx(contracted, rel=1e-13, abs=1e-14 * (1 + scale))


@pytest.mark.parametrize("t", load_optim(), ids=str)
def test_trajectory(t):
    assert t.gradients.shape == t.parameters.shape == (10, *t.initial.shape)
    assert np.isfinite(t.gradients).all() and np.isfinite(t.parameters).all()
    moved = np.abs(np.diff(np.vstack([t.initial, t.parameters]), axis=0))
    assert (moved.max(axis=1) > 1e-6).all(), "a step that moves nothing tests nothing"


def test_reader_keeps_every_bit_and_every_special_value():
    a = array({"dtype": "float64", "shape": [5], "data": [0.1, -0.0, "inf", "-inf", "nan"]})
    assert a[0] == 0.1 and math.copysign(1, a[1]) == -1 and a[2] == math.inf and a[3] == -math.inf and math.isnan(a[4])
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1


def test_load_op_gathers_every_source():
    assert {v.source.split()[0] for v in load_op("exp")} == {"torch", "mpmath"}
    assert {v.source.split()[0] for v in load_op("conv2d")} == {"torch", "keras"}
    assert load_op("no such op") == []
