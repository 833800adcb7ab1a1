"""Mixed precision: which ops run in 16 bits, where gradients come back, what scaling saves, what a master remembers."""

from __future__ import annotations

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import OPS, autocast, ops

HALF = [n for n, o in OPS.items() if o.note.autocast == "half"]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------ autocast
@pytest.mark.parametrize("name", [n for n, o in OPS.items() if o.note.autocast])
def test_an_op_runs_in_the_precision_that_its_record_asks_for(name):
    from engine.gradcheck import sample
    from engine.samples import Draw
    from engine.tensor import Tensor, asarray

    op = OPS[name]
    given, wanted = ("float32", "float16") if op.note.autocast == "half" else ("float16", "float32")
    inputs, params = sample(op, Draw.seeded(1))
    tensors = [
        asarray(x.astype(given)).requires_grad_() if isinstance(x, np.ndarray) and x.dtype.kind == "f"
        else asarray(x) if isinstance(x, np.ndarray) else x for x in inputs
    ]  # fmt: skip
    with autocast("float16"):
        y = op(*tensors, **params)
    assert y.dtype == wanted
    y.backward(np.ones(y.shape, y.dtype))
    for t in tensors:
        assert not isinstance(t, Tensor) or t.grad is None or t.grad.dtype == given


def test_every_product_asks_for_half():
    assert {"matrix_product", "linear", "conv2d", "attention", "lstm"} <= set(HALF)


def test_backward_goes_as_the_forward_pass_was_recorded():
    """A fused op's composition, too, meets no autocast that came later."""
    x, w, b = (engine.tensor(drawn(*shape), requires_grad=True) for shape in ((3, 4), (4, 5), (5,)))
    y, g = ops.linear_relu(x, w, b), drawn(3, 5, seed=1)
    expected = engine.grad(y, w, g, create_graph=True, retain_graph=True)
    with autocast("float16"):
        got = engine.grad(y, w, g, create_graph=True)
    np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_outside_of_a_block_and_where_it_is_switched_off_nothing_is_cast():
    x, w = engine.tensor(drawn(3, 4)), engine.tensor(drawn(4, 2))
    with autocast("float16"):
        assert (x @ w).dtype == "float16"
        with autocast(enabled=False):
            assert (x @ w).dtype == "float32"
        assert (x @ w).dtype == "float16"
    assert (x @ w).dtype == "float32"
    says = "autocast: dtype is float32; .* float16 or bfloat16"
    with pytest.raises(engine.DTypeError, match=says), autocast("float32"):
        pass


def test_float64_and_whole_numbers_are_left_alone():
    with autocast("float16"):
        assert (engine.tensor(drawn(2, 2).astype(np.float64)) @ engine.tensor(np.eye(2))).dtype == "float64"
        assert (engine.tensor([[1, 2]]) @ engine.tensor([[1], [2]])).dtype == "int64"


def test_a_block_may_hold_several_steps():
    """Whatever happened to a parameter since it was rounded, it is its present value that counts, and its gradient."""
    w, x = engine.tensor(drawn(3, 3), requires_grad=True), engine.tensor(drawn(2, 3))
    with autocast("float16"):
        with engine.no_grad():
            assert not (x @ w).requires_grad
        for _ in range(3):
            w.grad = None
            (x @ w).sum().backward()
            (x @ w).sum().backward()  # two that add up
            expected = np.broadcast_to(2 * x.numpy().sum(0)[:, None], (3, 3))
            np.testing.assert_allclose(w.grad.numpy(), expected, rtol=2e-3)
            with engine.no_grad():
                w[...] = w - 0.5 * w.grad
            np.testing.assert_array_equal((x @ w).numpy(), (x.astype("float16") @ w.detach().astype("float16")).numpy())
        w.data = engine.tensor(drawn(3, 3, seed=5)).data
        np.testing.assert_array_equal((x @ w).numpy(), (x.astype("float16") @ w.detach().astype("float16")).numpy())


def test_a_parameter_is_rounded_once_in_a_block_and_its_gradient_is_float32():
    w = engine.tensor(drawn(4, 4), requires_grad=True)
    x = engine.tensor(drawn(2, 4))
    with autocast("float16"):
        y = (x @ w) @ w
    casts = {n for n in _nodes(y.node) if n.op.name == "astype" and n.parents[0] is w}
    assert len(casts) == 1
    y.sum().backward()
    assert w.grad.dtype == "float32"
    exact = engine.tensor(drawn(4, 4), requires_grad=True)
    ((x @ exact) @ exact).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), exact.grad.numpy(), rtol=2e-2, atol=2e-2)


def _nodes(node):
    found, stack = [], [node]
    while stack:
        n = stack.pop()
        if n is not None and n not in found and hasattr(n, "parents"):
            found.append(n)
            stack.extend(p for p in n.parents if hasattr(p, "parents"))
    return found


# ------------------------------------------------------------------------------------------------ scaling
def test_scaling_saves_gradients_that_float16_rounds_to_zero():
    """ȳ = 1e-8 is below float16's smallest number; carried 2^16 times larger it arrives."""
    x = engine.tensor(drawn(4, 4))

    def gradient(scaler):
        w = engine.tensor(drawn(4, 4, seed=1), requires_grad=True)
        with autocast("float16"):
            loss = ((x @ w).astype("float32") * 1e-8).sum()
        scaler.scale(loss).backward()
        optimizer = optim.SGD([w], 0.0)
        scaler.unscale_(optimizer)
        return w.grad.numpy()

    want = np.broadcast_to(1e-8 * x.numpy().sum(0)[:, None], (4, 4))
    assert not gradient(optim.GradScaler(enabled=False)).any()
    np.testing.assert_allclose(gradient(optim.GradScaler()), want, rtol=1e-2, atol=1e-10)


def test_a_step_with_an_infinite_gradient_is_skipped_and_the_scale_halved():
    w = engine.tensor(drawn(3), requires_grad=True)
    optimizer, scaler = optim.Adam([w], 0.1), optim.GradScaler(init_scale=4.0, growth_interval=2)
    before = w.numpy().copy()
    for bad, scale in ((np.inf, 2.0), (np.nan, 1.0)):
        optimizer.zero_grad()
        scaler.scale((w * np.float32([1, bad, 1])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == scale
    np.testing.assert_array_equal(w.numpy(), before)
    assert optimizer.iterations == 0
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale((w * w).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0
    assert optimizer.iterations == 2


def test_scaling_by_a_power_of_two_changes_no_bit_of_float32_training():
    def trained(scaler):
        w = engine.tensor(drawn(5, 3), requires_grad=True)
        optimizer = optim.Adam([w], 0.05)
        for i in range(5):
            optimizer.zero_grad()
            scaler.scale(ops.mse(engine.tensor(drawn(2, 3)), engine.tensor(drawn(2, 5, seed=i)) @ w)).backward()
            scaler.step(optimizer)
            scaler.update()
        return w.numpy()

    np.testing.assert_array_equal(trained(optim.GradScaler()), trained(optim.GradScaler(enabled=False)))


def test_a_scaler_goes_on_from_its_state_and_says_what_it_misses():
    a, b = optim.GradScaler(init_scale=8.0), optim.GradScaler()
    b.load_state_dict(a.state_dict())
    assert b.get_scale() == 8.0
    with pytest.raises(engine.ArgumentError, match=r"GradScaler.update: no step was taken; call step\(optimizer\)"):
        b.update()
    w = engine.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], 0.1)
    b.scale(w.sum()).backward()
    b.unscale_(optimizer)
    with pytest.raises(engine.ArgumentError, match="these gradients were unscaled already"):
        b.unscale_(optimizer)
    with pytest.raises(engine.ArgumentError, match="backoff_factor < 1"):
        optim.GradScaler(backoff_factor=2.0)


# ------------------------------------------------------------------------------------------------ master weights
@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 1.0), lambda p: optim.Adam(p, 1e-4)], ids=["SGD", "Adam"])
def test_steps_too_small_for_16_bits_add_up(make):
    """1000 steps of 1e-4 from 1: each is lost in float16 (its spacing there is 1e-3), together they are 0.1."""
    w = engine.tensor(np.ones(4, np.float16), requires_grad=True)
    optimizer = make([w])
    for _ in range(1000):
        w.grad = engine.tensor(np.full(4, 1e-4, np.float16))
        optimizer.step()
    assert w.dtype == "float16"
    np.testing.assert_allclose(w.numpy(), 0.9, atol=2e-3)


def test_the_master_follows_who_else_writes_to_the_parameter():
    w = engine.tensor(np.ones(2, np.float16), requires_grad=True)
    optimizer = optim.SGD([w], 1.0)
    for value in (1.0, 5.0):
        with engine.no_grad():
            w[:] = value
        w.grad = engine.tensor(np.full(2, 0.5, np.float16))
        optimizer.step()
        np.testing.assert_array_equal(w.numpy(), value - 0.5)


def test_a_master_is_saved_and_loaded():
    def make():
        w = engine.tensor(np.ones(3, np.float16), requires_grad=True)
        return w, optim.SGD([w], 1.0)

    def steps(w, optimizer, n):
        for _ in range(n):
            w.grad = engine.tensor(np.full(3, 1e-4, np.float16))
            optimizer.step()

    (w, optimizer), (again, other) = make(), make()
    steps(w, optimizer, 7)
    state = optimizer.state_dict()
    assert state["state"]["0.master"].dtype == np.float32
    again.data[...] = w.data
    other.load_state_dict(state)
    steps(w, optimizer, 7)
    steps(again, other, 7)
    np.testing.assert_array_equal(again.numpy(), w.numpy())
    np.testing.assert_array_equal(other.state_dict()["state"]["0.master"], optimizer.state_dict()["state"]["0.master"])


# ------------------------------------------------------------------------------------------------ a whole network
def test_a_network_learns_in_mixed_precision_as_in_full():
    x, labels = drawn(128, 8, 8, 1), np.arange(128) % 4
    x += labels[:, None, None, None]
    losses = {}
    for enabled in (False, True):
        model = models.Sequential(
            [layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), layers.Flatten(), layers.Dense(4)], seed=1
        )
        model.build((None, 8, 8, 1))
        optimizer, scaler = optim.Adam(model.parameters(), 1e-2), optim.GradScaler(enabled=enabled)
        for _ in range(15):
            optimizer.zero_grad()
            with autocast("float16", enabled=enabled):
                logits = model(x)
                loss = ops.cross_entropy(engine.tensor(labels), logits)
            assert logits.dtype == ("float16" if enabled else "float32")
            assert loss.dtype == "float32"
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses[enabled] = loss.item()
    assert losses[False] < 1.1
    assert abs(losses[True] - losses[False]) < 0.02
