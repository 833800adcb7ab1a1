"""Every op, from its own record: nothing is listed here. A new op is tested by being registered.

Laws, for each op and at least 50 draws of its inputs: it is its definition; its vjp is its derivative, in the first
and in the second order; it keeps dtypes and its inputs' values, whatever their memory layout; its special values,
kinks, invariants and error messages are as recorded; and a checker that looks for all this notices an error of 0.1 %.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import OPS, index, no_grad
from engine.dtypes import ROUNDING, SEVERAL_ROUNDINGS, is_float
from engine.gradcheck import gradcheck, planted, sample
from engine.op import CompositeOp, ElementwiseOp
from engine.samples import Draw
from engine.tensor import Tensor, asarray, tensor

ELEMENTWISE = [n for n, o in OPS.items() if isinstance(o, ElementwiseOp)]
FORMULAS = [n for n in ELEMENTWISE if OPS[n].result != "integer" and OPS[n].atom.mpmath or OPS[n].atom.definition]
STRUCTURAL = [n for n, o in OPS.items() if not isinstance(o, ElementwiseOp)]
SAMPLED = [n for n, o in OPS.items() if isinstance(o, ElementwiseOp) or o.note.samples]
DIFFERENTIABLE = [n for n in SAMPLED if OPS[n].differentiable]
EXTRA = {k: v for k, v in {"logit": 1}.items() if k in OPS}


def draws(data) -> Draw:
    return Draw(lambda lo, hi: data.draw(st.integers(lo, hi)))


def call(op, inputs, params):
    """The op on tensors; variadic ones take a list."""
    tensors = [asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
    return op(tensors, **params) if getattr(op, "variadic", False) else op(*tensors, **params)


def as_function(op):
    if not getattr(op, "variadic", False):
        return op
    return lambda *xs, **params: op(list(xs), **params)


def outputs(y):
    """Results as a list of arrays."""
    return [t.numpy() for t in (y if isinstance(y, (tuple, list)) else (y,))]


# ------------------------------------------------------------------------------------------------ it is its definition
@pytest.mark.parametrize("name", FORMULAS)
@given(data=st.data())
def test_elementwise_forward_is_the_definition_at_50_digits(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    y = np.asarray(call(op, inputs, params).numpy())
    exact = op.definition.mpmath()
    flat = [np.broadcast_to(x, y.shape).ravel()[:8] for x in inputs]
    with mpmath.workdps(50):
        for got, *xs in zip(y.ravel()[:8], *flat, strict=True):
            want = exact(*(_mp(x) for x in xs), *params.values())
            _assert_close(got, want, name, xs)


def _mp(x):
    return bool(x) if isinstance(x, np.bool_) else int(x) if isinstance(x, np.integer) else mpmath.mpf(float(x))


def _assert_close(got, want, name, xs):
    if isinstance(got, (bool, np.bool_)):
        assert bool(want) == bool(got), (name, xs, got, want)
        return
    want = float(mpmath.re(want))
    got, ulps = float(got), OPS[name].note.ulps
    assert (
        (math.isnan(got) and math.isnan(want))
        or got == want
        or abs(got - want) <= ulps * np.spacing(abs(want)) + 5e-324
    ), f"{name}{tuple(map(float, xs))} = {got!r}, the definition gives {want!r}"


@pytest.mark.parametrize(
    "name",
    [n for n in STRUCTURAL if OPS[n].note.samples and (OPS[n].note.reference or index.runs(OPS[n].note.definition))],
)
@given(data=st.data())
def test_structural_forward_is_the_definition(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    got = outputs(call(op, inputs, params))
    wanted = op.note.reference(*inputs, **params) if op.note.reference else by_loops(op, inputs, params, got[0])
    wanted = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    assert len(got) == len(wanted)
    for y, want in zip(got, wanted, strict=True):
        want = np.asarray(want)
        assert y.shape == want.shape
        if y.dtype.kind in "iub":
            np.testing.assert_array_equal(y, want)
        else:
            np.testing.assert_allclose(y, want, rtol=SEVERAL_ROUNDINGS["float64"], atol=1e-13 * magnitude(inputs))


def magnitude(inputs) -> float:
    """The size of the largest product of inputs: rounding of a contraction is relative to its terms, not to their
    sum.
    """
    return math.prod(
        max(1.0, float(np.abs(x).max(initial=0))) for x in inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"
    )


def by_loops(op, inputs, params, y):
    """The index-notation definition by plain loops; an op with `axis` is defined for one row, looped over the
    others.
    """
    definition = index.parse(op.note.definition)
    names = op.inputs
    if "axis" not in params:
        letters = op.note.letters(*inputs, **params) if op.note.letters else {}
        return definition(y.shape, dict(zip(names, inputs, strict=False)), {**params, **letters})
    x = inputs[0]
    rows, restore = rows_of(x, params["axis"])
    others = {k: v for k, v in params.items() if k not in ("axis", "keepdims")}
    axis = params["axis"]
    shape = (y.shape[axis] if isinstance(axis, int) else rows.shape[-1],) if definition.axes else ()
    flats = [rows_of(t, params["axis"])[0].reshape(math.prod(rows.shape[:-1]), rows.shape[-1]) for t in inputs]
    each = [definition(shape, dict(zip(names, r, strict=False)), others) for r in zip(*flats, strict=True)]
    out = np.stack(each) if each else np.zeros((0, *shape))
    return restore(out.reshape(rows.shape[:-1] + shape), params.get("keepdims", False), bool(definition.axes))


def rows_of(x, axis):
    """x with the reduced axes moved last and joined to one, and the way back for a result."""
    axes = (
        tuple(range(x.ndim))
        if axis is None
        else tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
    )
    rest = [a for a in range(x.ndim) if a not in axes]
    rows = x.transpose(*rest, *axes).reshape(*(x.shape[a] for a in rest), math.prod(x.shape[a] for a in axes))

    def restore(y, keepdims, scans):
        if scans and axis is None:
            return y.reshape(-1) if x.ndim != 1 else y
        if scans:
            return np.moveaxis(y, -1, axes[0])
        return np.expand_dims(y, axes) if keepdims else y

    return rows, restore


# ------------------------------------------------------------------------------------------------ its vjp is its
# derivative
@pytest.mark.parametrize("name", DIFFERENTIABLE)
@given(data=st.data())
def test_vjp_is_the_derivative_in_first_and_second_order(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    report = gradcheck(as_function(op), inputs, seed=data.draw(st.integers(0, 2**32 - 1)), name=name, params=params)
    assert report.agrees, str(report)


@pytest.mark.parametrize("name", [n for n in FORMULAS if OPS[n].differentiable and OPS[n].atom.definition])
@given(data=st.data())
def test_elementwise_vjp_is_the_symbolic_derivative_of_the_definition(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    y = call(op, inputs, params).numpy()
    flat = [np.broadcast_to(x, y.shape).ravel()[:6] for x in inputs]
    for i, rule in enumerate(op.vjps):
        if rule is None:
            continue
        symbolic = op.definition.derivative(i).mpmath()
        hand = rule.numpy(np.float64)
        for value, *xs in zip(y.ravel()[:6], *flat, strict=True):
            scope = {"g": np.float64(1.25), "y": value, **dict(zip(op.inputs, xs, strict=True)), **params}
            got = float(hand(*(scope[n] for n in rule.inputs)))
            with mpmath.workdps(50):
                want = 1.25 * float(mpmath.re(symbolic(*(_mp(x) for x in xs), *params.values())))
            assert abs(got - want) <= 1e-9 * max(abs(want), 1e-6), (
                f"{name}: vjp {i} at {xs} is {got}, d(definition) gives {want}"
            )


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if not isinstance(OPS[n], CompositeOp)])
def test_a_planted_error_of_a_tenth_of_a_percent_is_caught(name, order):
    """In every op, every differentiable input, first and second order."""
    op = OPS[name]
    checked = 0
    for i in range(len(op.inputs)):
        if not plantable(op, i):
            continue
        checked += 1
        with planted(name, i, order=order):
            assert any(not check(op, seed, order) for seed in range(50)), (
                f"{name}: an error in the cotangent of {op.inputs[i]} passed"
            )
    assert checked or flat(op), f"{name} has no input in which an error could be planted"


def check(op, seed, order):
    inputs, params = sample(op, Draw.seeded(seed))
    return gradcheck(as_function(op), inputs, order=order, seed=seed, params=params)


def plantable(op, i) -> bool:
    """Can input i get a cotangent that is not zero everywhere?"""
    for seed in range(30):
        inputs, params = sample(op, Draw.seeded(seed))
        if (
            i >= len(inputs)
            or not isinstance(inputs[i], np.ndarray)
            or inputs[i].dtype.kind != "f"
            or inputs[i].size == 0
        ):
            continue
        tensors = [asarray(x).requires_grad_(k == i) if isinstance(x, np.ndarray) else x for k, x in enumerate(inputs)]
        y = as_function(op)(*tensors, **params)
        if not y.requires_grad:
            continue
        g = engine.grad(y, tensors[i], np.random.default_rng(seed).standard_normal(y.shape), allow_unused=True)
        if g is not None and np.any(g.numpy()):
            return True
    return False


def flat(op) -> bool:
    return isinstance(op, ElementwiseOp) and all(r is None or "g" not in r.used for r in op.vjps)


# ------------------------------------------------------------------------------------------------ dtypes, layouts,
# purity
@pytest.mark.parametrize("name", SAMPLED)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_floats_keep_their_width_forward_and_backward(name, data, dtype):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    tensors = [
        asarray(x.astype(dtype)).requires_grad_() if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x in inputs
    ]
    y = as_function(op)(*tensors, **params)
    for t in y if isinstance(y, (tuple, list)) else [y]:
        if "dtype" not in params:
            assert not is_float(t.dtype) or t.dtype == dtype
    if isinstance(y, Tensor) and y.requires_grad:
        y.backward(np.ones(y.shape, y.dtype))
        for t in tensors:
            if isinstance(t, Tensor):
                assert t.grad is None or (t.grad.dtype == dtype and t.grad.shape == t.shape)


@pytest.mark.parametrize("name", SAMPLED)
@given(data=st.data())
def test_float32_agrees_with_float64(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    if any(p in params for p in ("dtype",)):
        return
    inputs = [
        x.astype(np.float32).astype(x.dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs
    ]
    narrow = [x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
    for a, b in zip(outputs(call(op, narrow, params)), outputs(call(op, inputs, params)), strict=True):
        if b.dtype.kind == "f":
            tolerance = SEVERAL_ROUNDINGS["float32"]
            np.testing.assert_allclose(
                a,
                b,
                rtol=10 * tolerance,
                atol=10 * tolerance * max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0), magnitude(inputs)),
            )


@pytest.mark.parametrize("name", SAMPLED)
@given(data=st.data())
def test_inputs_and_cotangents_are_only_read_in_any_memory_layout(name, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))
    plain = outputs(call(op, inputs, params))
    strange = [strided(x) if isinstance(x, np.ndarray) else x for x in inputs]
    copies = [x.copy() if isinstance(x, np.ndarray) else x for x in inputs]
    tensors = [asarray(x).requires_grad_(x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in strange]
    y = as_function(op)(*tensors, **params)
    for a, b in zip(outputs(y), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13 * magnitude(inputs))
    if isinstance(y, Tensor) and y.requires_grad:
        g = strided(np.random.default_rng(0).standard_normal(y.shape))
        kept = g.copy()
        y.backward(g)
        np.testing.assert_array_equal(g, kept)
    for a, b in zip(strange, copies, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)


def strided(x):
    """The same values, read-only, with gaps between elements and axes in reversed memory order."""
    room = np.zeros(tuple(2 * n for n in x.shape[::-1]), x.dtype)
    view = room[(..., *(slice(None, None, 2) for _ in x.shape))].transpose()
    view[...] = x
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("name", SAMPLED)
def test_no_grad_records_nothing(name):
    op = OPS[name]
    inputs, params = sample(op, Draw.seeded(1))
    tensors = [asarray(x).requires_grad_(x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in inputs]
    with no_grad():
        y = as_function(op)(*tensors, **params)
    for t in y if isinstance(y, (tuple, list)) else [y]:
        assert t.node is None
        assert not t.requires_grad


# ------------------------------------------------------------------------------------------------ what the record says
@pytest.mark.parametrize(("name", "at"), [(n, k) for n in ELEMENTWISE for k in OPS[n].note.special])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_are_met(name, at, dtype):
    op = OPS[name]
    want = op.note.special[at]
    xs = at if isinstance(at, tuple) else (at,)
    narrow = not isinstance(want, bool) and op.result == "float"
    arrays = [np.asarray(x, dtype) if narrow or isinstance(x, float) else np.asarray(x) for x in xs]
    with np.errstate(all="ignore"):  # the bare arithmetic of NumPy says aloud that inf - inf is nan
        got = op(*arrays).numpy()
    if isinstance(want, float) and math.isnan(want):
        assert np.isnan(got), (name, at, got)
    else:
        np.testing.assert_allclose(
            np.asarray(got, np.float64), want, rtol=4 * ROUNDING[dtype], atol=float(np.finfo(dtype).smallest_subnormal)
        )
        if isinstance(want, float) and want == 0:
            assert np.signbit(got) == np.signbit(want), (
                f"{name}{xs} is {got}, the sign of zero should be that of {want}"
            )


@pytest.mark.parametrize(
    ("name", "k"), [(n, k) for n in ELEMENTWISE for k in range(len(OPS[n].note.kinks)) if OPS[n].note.kinks[k].at]
)
def test_kinks_take_the_recorded_gradient(name, k):
    op, kink = OPS[name], OPS[name].note.kinks[k]
    assert abs(float(kink.distance(*kink.at, **op.params))) < 1e-12, "the point is not on the kink"
    tensors = [tensor(np.array([x]), requires_grad=True) for x in kink.at]
    op(*tensors).backward(np.array([1.0]))
    assert [t.grad.item() for t in tensors] == list(kink.gradient)


@pytest.mark.parametrize(("name", "k"), [(n, k) for n in ELEMENTWISE for k in range(len(OPS[n].note.invariants))])
@given(data=st.data())
def test_invariants_hold(name, k, data):
    op = OPS[name]
    inputs, params = sample(op, draws(data))

    def f(*xs, **others):
        return op(*xs, **{**params, **others})

    found = op.note.invariants[k](f, *map(asarray, inputs))
    if isinstance(found, tuple):
        left, right = np.broadcast_arrays(*map(np.asarray, found))
        np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-11)
    else:
        assert np.all(np.asarray(found))


@pytest.mark.parametrize(("name", "k"), [(n, k) for n, o in OPS.items() for k in range(len(o.note.errors))])
def test_a_bad_call_says_what_where_and_the_remedy(name, k):
    bad, message = OPS[name].note.errors[k]
    with pytest.raises(engine.ChainRuleError, match=message):
        bad(OPS[name])
        engine.get_backend(engine.current_device()).synchronize()  # a GPU says by then which index was wrong


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_shapes_that_do_not_broadcast_are_named(name):
    op = OPS[name]
    if len(op.inputs) < 2:
        with pytest.raises(engine.ArgumentError, match=rf"{name}: takes \d inputs?|{name}: unknown argument"):
            op()
        return
    xs = [np.ones((2, 3)), np.ones((4,)), np.ones((4,))][: len(op.inputs)]
    xs = [
        x.astype(bool) if d.kind == "bool" else x.astype(int) if d.kind == "integer" else x
        for x, d in zip(xs, op.note.domain, strict=True)
    ]
    with pytest.raises(
        engine.ShapeError, match=rf"{name}: shapes .*\(2, 3\).*\(4,\).* do not broadcast: axis -1 is 3 and 4"
    ):
        op(*xs)
