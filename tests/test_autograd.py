"""Laws of the tape: sums over paths, what is kept and for how long, modes, and derivatives of derivatives."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine
from engine import (
    GradientError,
    ShapeError,
    Tensor,
    detect_anomaly,
    enable_grad,
    grad,
    hessian,
    hvp,
    is_grad_enabled,
    jacobian,
    jvp,
    no_grad,
    tensor,
    value_and_grad,
    vjp,
)
from engine.ops import exp, log, matmul, multiply, sin, sqrt, tanh

SEEDS = st.integers(0, 2**32 - 1)


def leaf(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape), True)


def assert_equal(a, b, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-14)


# ------------------------------------------------------------------------------------------------ sums over paths
@given(SEEDS)
def test_gradients_of_all_paths_add_up(seed):
    """A diamond, and a leaf used three times in one op and between ops: f = (x·x + eˣ)·x."""
    x = leaf(3, seed=seed)
    square, power = x * x, exp(x)
    g = np.random.default_rng(seed).standard_normal(3)
    ((square + power) * x).backward(g)
    v = x.numpy()
    assert_equal(x.grad, g * (3 * v**2 + np.exp(v) * (1 + v)))


@given(st.integers(1, 40), SEEDS)
def test_a_chain_of_doublings_counts_its_paths(n, seed):
    """y = x + x, n times: 2ⁿ paths, n nodes."""
    x = leaf(seed=seed)
    y = x
    for _ in range(n):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**n


@given(SEEDS)
def test_broadcasting_is_undone(seed):
    rng = np.random.default_rng(seed)
    a, b, g = leaf(3, 1, seed=seed), leaf(4, seed=seed + 1), rng.standard_normal((2, 3, 4))
    y = a * b * rng.standard_normal((2, 1, 1))
    ga, gb = grad(y, [a, b], g)
    scale = y.numpy() / (a.numpy() * b.numpy())
    assert_equal(ga, (g * scale * b.numpy()).sum((0, 2))[:, None], 1e-9)
    assert_equal(gb, (g * scale * a.numpy()).sum((0, 1)), 1e-9)


def test_backward_adds_to_grad_and_grad_does_not_touch_it():
    x = leaf(3)
    (2.0 * x).sum().backward()
    (3.0 * x).sum().backward()
    assert_equal(x.grad, np.full(3, 5.0))
    assert_equal(grad((7.0 * x).sum(), x), np.full(3, 7.0))
    assert_equal(x.grad, np.full(3, 5.0))
    x.grad = None
    x.sum().backward()
    assert_equal(x.grad, np.ones(3))


def test_a_leaf_is_its_own_gradient():
    x = tensor(3.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1.0
    assert grad(x, x, 5.0).item() == 5.0


def test_gradients_of_results_inside_the_graph():
    x = leaf(4)
    h = x * x
    y = exp(h)
    g = np.random.default_rng(1).standard_normal(4)
    gh, gx = grad(y, [h, x], g)
    assert_equal(gh, g * np.exp(h.numpy()))
    assert_equal(gx, gh.numpy() * 2 * x.numpy())
    (only,) = grad(exp(h), [h], g, retain_graph=True)
    assert_equal(only, gh)


def test_several_results_at_once():
    x = leaf(3)
    a, b = x * 2.0, x * x
    ga, gb = np.random.default_rng(2).standard_normal((2, 3))
    assert_equal(grad([a, b], x, [ga, gb]), 2 * ga + 2 * gb * x.numpy())


def test_integer_results_have_no_graph_and_integer_leaves_no_gradient():
    x = leaf(3)
    assert not (x > 0).requires_grad
    assert not engine.ops.argmax(x).requires_grad
    with pytest.raises(engine.DTypeError, match="only floating tensors have gradients, this one is int64"):
        tensor([1, 2]).requires_grad_()


def test_the_cotangent_keeps_each_input_dtype():
    a, b = Tensor(np.ones(2, np.float32), True), Tensor(np.ones(2), True)
    (a * b).sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64


# ------------------------------------------------------------------------------------------------ the graph's life
def test_a_second_backward_needs_retain_graph():
    x = leaf(3)
    y = exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert_equal(x.grad, 2 * np.exp(x.numpy()))
    with pytest.raises(GradientError, match=r"backward through 'sum' a second time.*freed.*retain_graph=True"):
        y.backward()


def test_gradients_of_any_size_have_their_own_memory():
    for side in (2, 256):  # the memory of large arrays comes from the shelves
        x = tensor(np.ones(side * side), requires_grad=True)
        y = tensor(np.ones((side, side)), requires_grad=True)
        exp(x.reshape(side, side) + y).sum().backward()
        assert not np.shares_memory(x.grad.data, y.grad.data)


def test_two_results_may_share_a_graph_that_one_backward_frees():
    x = leaf(3)
    shared = exp(x)
    a, b = shared.sum(), (shared * 2.0).sum()
    a.backward()
    with pytest.raises(GradientError, match="backward through 'exp' a second time"):
        b.backward()


@pytest.mark.parametrize("allow_unused", [False, True])
def test_what_lies_behind_a_freed_graph_is_not_called_unused(allow_unused):
    x, other = leaf(3), leaf(2)
    shared = exp(x)
    engine.grad(shared.sum(), x)
    with pytest.raises(GradientError, match="backward through 'exp' a second time"):
        engine.grad((shared * 2.0).sum(), x, allow_unused=allow_unused)
    y = shared.sum() * other.sum()  # a part that is gone, and one that is asked for
    assert_equal(engine.grad(y, other), np.full(2, shared.numpy().sum()))


def test_what_has_no_graph_says_so():
    with pytest.raises(GradientError, match=r"backward: the tensor \(shape \(\)\) has no graph.*requires_grad=True"):
        tensor(1.0).backward()
    with no_grad():
        y = leaf(3).sum()
    with pytest.raises(GradientError, match="has no graph"):
        y.backward()
    with pytest.raises(GradientError, match="has no graph"):
        leaf(3).detach().sum().backward()


def test_backward_starts_from_one_number_or_a_cotangent_of_the_same_shape():
    x = leaf(2, 3)
    with pytest.raises(GradientError, match=r"the tensor has shape \(2, 3\); a gradient starts from one number"):
        (x * 2.0).backward()
    with pytest.raises(ShapeError, match=r"gradient has shape \(3,\), the tensor \(2, 3\); they must be equal"):
        (x * 2.0).backward(np.ones(3))


def test_grad_names_the_input_that_does_not_matter():
    x, z = leaf(2), leaf(3)
    with pytest.raises(GradientError, match=r"y does not depend on input 1 \(shape \(3,\)\); pass allow_unused=True"):
        grad(x.sum(), [x, z])
    assert grad(x.sum(), [x, z], allow_unused=True)[1] is None
    with pytest.raises(GradientError, match=r"grad: input 0 \(shape \(2,\)\) has requires_grad=False"):
        grad(x.sum(), x.detach())


def test_detach_cuts_and_shares_memory():
    x = leaf(3)
    y = x * x.detach()
    assert_equal(grad(y, x, np.ones(3)), x.numpy())
    assert x.detach().data is x.data


def test_a_graph_dies_with_its_last_user_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(3)
        y = exp(x) * x
        node = weakref.ref(y.node)
        del y
        assert node() is None
        z = exp(x).sum()
        inner = weakref.ref(z.node.parents[0])
        z.backward()
        assert inner() is None
    finally:
        gc.enable()


def test_a_thousand_steps_keep_memory_flat_with_the_garbage_collector_off():
    x, w = Tensor(np.ones((4, 3))), leaf(3, 2)

    def step():
        y = tanh(matmul(x, w))
        first = grad((y * y).sum(), w, create_graph=True)
        ((first * first).sum() + y.sum()).backward()
        w.grad = None

    for _ in range(20):
        step()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(1000):
            step()
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()


def test_a_chain_of_100_000_ops_runs_forward_and_backward():
    x = tensor(1.0, requires_grad=True, dtype="float64")
    y = x
    for _ in range(100_000):
        y = y * 1.00001
    y.backward()
    assert np.isclose(x.grad.item(), 1.00001**100_000, rtol=1e-9)


def test_a_chain_of_100_000_ops_can_be_dropped_without_backward():
    x = tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    first = weakref.ref(y.node)
    del y
    assert first() is None


def test_a_chain_of_doubly_used_results_can_be_dropped():
    y = tensor(1.0, requires_grad=True)
    for _ in range(50_000):
        y = multiply(y, y)
    del y


# ------------------------------------------------------------------------------------------------ modes
def test_no_grad_and_enable_grad_nest_and_come_back_after_an_error():
    x = leaf(2)
    with no_grad():
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
        assert not is_grad_enabled()
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_no_grad_decorates():
    @no_grad()
    def double(x):
        return x * 2.0

    assert not double(leaf(2)).requires_grad
    assert not double(leaf(2)).requires_grad
    assert is_grad_enabled()


def test_modes_belong_to_a_thread():
    inside, seen = threading.Barrier(2), {}

    def run(name, record):
        x = leaf(3)
        if record:
            inside.wait()
            y = x * 2.0
            inside.wait()
        else:
            with no_grad():
                inside.wait()
                y = x * 2.0
                inside.wait()
        seen[name] = y.requires_grad, (x * 2.0).requires_grad

    threads = [threading.Thread(target=run, args=(f"{r}", r)) for r in (True, False)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == {"True": (True, True), "False": (False, True)}


def test_two_threads_walk_graphs_of_their_own():
    shared = leaf(50)
    results = {}

    def run(k):
        for _ in range(20):
            results[k] = grad((sin(shared) * float(k)).sum(), shared).numpy()

    threads = [threading.Thread(target=run, args=(k,)) for k in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in (1, 2):
        assert_equal(results[k], k * np.cos(shared.numpy()))


def test_detect_anomaly_names_the_op_that_made_a_nan():
    x = Tensor(np.array([1.0, -1.0]), True)
    with (
        detect_anomaly(),
        pytest.raises(GradientError, match=r"log: its forward made 1 NaN in a result of shape"),
    ):
        log(x)
    zero = Tensor(np.zeros(2), True)
    y = sqrt(zero * zero).sum()  # 0 under the root: 1/0 comes back, and meets 0
    with (
        np.errstate(all="ignore"),
        detect_anomaly(),
        pytest.raises(GradientError, match=r"multiply: its backward made 2 NaN .*0/0"),
    ):
        y.backward()
    with np.errstate(all="ignore"):
        assert np.isnan(log(x).numpy()[1])  # outside, a NaN is a value


# ------------------------------------------------------------------------------------------------ hooks
def test_hooks_see_the_whole_gradient_once_and_may_replace_it():
    x = leaf(3)
    h = x * 2.0
    seen = []
    remove = h.register_hook(lambda g: seen.append(g.numpy().copy()))
    h.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: g + 1.0)
    (h + h * h).sum().backward()
    assert len(seen) == 1
    assert_equal(seen[0], 1 + 2 * h.numpy())
    assert_equal(x.grad, 1 + 20 * seen[0])
    remove()
    with pytest.raises(GradientError, match="register_hook: this tensor requires no gradient"):
        tensor(1.0).register_hook(print)


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(3)
    h = x * 2.0
    h.retain_grad()
    g = np.random.default_rng(3).standard_normal(3)
    (h * h).backward(g)
    assert_equal(h.grad, 2 * g * h.numpy())


# ------------------------------------------------------------------------------------------------ any order
@given(SEEDS, st.integers(1, 5))
def test_derivatives_of_a_power_to_the_fifth_order(seed, order):
    x = leaf(seed=seed)
    y, factor = x**5, 1.0
    for k in range(order):
        y = grad(y, x, create_graph=True)
        factor *= 5 - k
    assert_equal(y, factor * x.numpy() ** (5 - order), 1e-9)


def test_backward_with_create_graph_can_be_differentiated_again():
    x = leaf(3)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    g = np.random.default_rng(4).standard_normal(3)
    first.backward(g)
    assert_equal(x.grad, 6 * x.numpy() * g)


def test_the_gradient_is_linear_in_its_cotangent_and_differentiable_in_it():
    x, u = leaf(3), leaf(3, seed=1)
    g = grad(sin(x), x, u, create_graph=True)
    v = np.random.default_rng(5).standard_normal(3)
    assert_equal(grad(g, u, v), v * np.cos(x.numpy()))


def test_a_gradient_without_create_graph_has_no_graph():
    x = leaf(3)
    assert not grad(exp(x).sum(), x).requires_grad


def f(x):
    """R³ -> R², smooth and not symmetric."""
    return matmul(tanh(x * x), np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]])) * exp(x[0])


def scalar(x):
    return (f(x) * np.array([1.0, -2.0])).sum() + (x * x * x).sum()


@given(SEEDS)
def test_vjp_jvp_and_jacobian_are_one_matrix(seed):
    rng = np.random.default_rng(seed)
    x, v, u = rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal(2)
    matrix = jacobian(f, x).numpy()
    assert matrix.shape == (2, 3)
    value, pull = vjp(f, x)
    assert_equal(value, f(Tensor(x)))
    for _ in range(2):  # pull may be called again
        assert_equal(pull(u)[0], u @ matrix)
    value, tangent = jvp(f, [x], [v])
    assert_equal(value, f(Tensor(x)))
    assert_equal(tangent, matrix @ v)
    h = 1e-5
    assert_equal((f(Tensor(x + h * v)).numpy() - f(Tensor(x - h * v)).numpy()) / (2 * h), matrix @ v, 1e-6)


@given(SEEDS)
def test_hessian_is_symmetric_and_hvp_is_its_product(seed):
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal(3), rng.standard_normal(3)
    matrix = hessian(scalar, x).numpy()
    assert_equal(matrix, matrix.T, 1e-9)
    value, product = hvp(scalar, x, v)
    assert_equal(value, scalar(Tensor(x)))
    assert_equal(product, matrix @ v, 1e-9)
    h = 1e-5
    slope = [value_and_grad(scalar)(x + s * h * v)[1].numpy() for s in (1, -1)]
    np.testing.assert_allclose((slope[0] - slope[1]) / (2 * h), product.numpy(), rtol=1e-5, atol=1e-6)


def test_derivatives_of_constants_and_linear_functions():
    x = np.array([1.0, 2.0])
    assert_equal(jacobian(lambda t: Tensor(np.ones(3)), x), np.zeros((3, 2)))
    for flat in (lambda t: (t * 3.0).sum(), lambda t: Tensor(np.ones(()))):
        assert_equal(hessian(flat, x), np.zeros((2, 2)))
        assert_equal(hvp(flat, x, x)[1], np.zeros(2))
    assert_equal(jvp(lambda t: Tensor(np.ones(3)), [x], [x])[1], np.zeros(3))
    assert jacobian(lambda t: t[:0], x).shape == (0, 2)
    with pytest.raises(ShapeError, match=r"jvp: a direction has shape \(3,\), its input \(2,\)"):
        jvp(lambda t: t * t, [x], [np.ones(3)])


def test_value_and_grad_of_chosen_arguments():
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    value, (ga, gb) = value_and_grad(lambda p, q: (p * q * q).sum(), (0, 1))(a, b)
    assert value.item() == 41
    assert_equal(ga, b * b)
    assert_equal(gb, 2 * a * b)
    assert_equal(value_and_grad(lambda p, q: (p * q * q).sum(), 1)(a, b)[1], 2 * a * b)


# ------------------------------------------------------------------------------------------------ copies
def test_deep_copies_are_leaves_of_their_own():
    x = leaf(3)
    twin, pair = copy.deepcopy(x), copy.deepcopy({"a": x, "b": x})
    assert twin.requires_grad
    assert pair["a"] is pair["b"]
    with no_grad():
        twin[0] = 9.0
    assert x.numpy()[0] != 9
    (x * 2.0).sum().backward()
    assert twin.grad is None
    with pytest.raises(GradientError, match=r"deepcopy of a tensor in a graph; copy t.detach\(\) instead"):
        copy.deepcopy(x * 2.0)


def test_pickles_hold_values_and_the_wish_for_a_gradient():
    x = leaf(3)
    for t, wants in [(x, True), (x.detach(), False), (x * 2.0, False), (tensor([1, 2]), False)]:
        back = pickle.loads(pickle.dumps(t))
        np.testing.assert_array_equal(back.numpy(), t.numpy(), strict=True)
        assert (back.requires_grad, back.is_leaf) == (wants, True)
        assert back.data.flags.writeable


def test_a_clone_has_its_own_memory_and_the_same_gradient():
    x = leaf(3)
    y = x.clone()
    assert not np.shares_memory(x.data, y.data)
    g = np.random.default_rng(6).standard_normal(3)
    assert_equal(grad(y, x, g), g)


# ------------------------------------------------------------------------------------------------ whose memory
@pytest.mark.parametrize("create_graph", [False, True])
def test_each_leaf_owns_its_gradient(create_graph):
    """A sum hands one cotangent to both leaves, and it is the caller's own: writing to one must change no other."""
    a, b, seed = leaf(3, seed=1), leaf(3, seed=2), Tensor(np.array([3.0, 4.0, 5.0]))
    (a + b).backward(seed, create_graph=create_graph)
    with no_grad():
        a.grad[0] = 99.0
    assert_equal(a.grad, [99, 4, 5])
    assert_equal(b.grad, [3, 4, 5])
    assert_equal(seed, [3, 4, 5])


def test_a_result_that_is_its_input_shares_its_version():
    x, w = Tensor(np.array(2.0)), leaf(seed=1)
    y = engine.broadcast_to(x, ()) * w
    x[()] = 9.0
    with pytest.raises(GradientError, match="'multiply' needs a value of shape \\(\\) that was changed in place"):
        y.backward()


def test_a_graph_is_that_of_its_forward_pass_whatever_its_leaves_were_given_since():
    """`leaf.data = ...` puts another array in place, and writes to none: backward goes on with the one that was met."""
    w = np.random.default_rng(1).normal(size=(3, 8))
    for f in (
        lambda x: (x * x * x).sum(),
        lambda x: (x @ x @ x).sum(),
        lambda x: (engine.ops.softmax(x) * x).sum(),
        lambda x: engine.ops.lstm(x[None], w, w[:2]).sum(),
        lambda x: (x * np.ones(3, np.float32) * x).sum(),
    ):
        values = np.random.default_rng(0).normal(size=(3, 3))
        kept, replaced = Tensor(values.copy(), True), Tensor(values.copy(), True)
        found = []
        for x in (kept, replaced):
            y = f(x)
            if x is replaced:
                x.data = np.full((3, 3), 7.0)
            plain = grad(y, x, retain_graph=True)
            again = grad(y, x, create_graph=True)
            assert_equal(again, plain.numpy())
            if x is replaced:
                x.data = np.ones((3, 3))
            found.append(grad((again * again).sum(), x).numpy())
        assert_equal(*found)
    x32, x64 = Tensor(np.array([2.0], np.float32), True), Tensor(np.array([3.0]), True)
    g = grad((x32 * x32 * x64).sum(), [x32, x64], create_graph=True)  # what was cast for an op is its leaf all the same
    assert [t.item() for t in g] == [12, 4] and g[0].dtype == np.float32
    assert [t.item() for t in grad(g[0].sum(), [x32, x64])] == [6, 4]


@pytest.mark.parametrize(
    ("returned", "found"), [(np.ones(2), "a ndarray"), (Tensor(np.ones(3)), r"a tensor of shape \(3,\)")]
)
def test_a_hook_that_returns_no_gradient_is_named(returned, found):
    x = leaf(2)
    y = x * 3
    y.register_hook(lambda g: returned)
    with pytest.raises(GradientError, match=rf"a hook returned {found} for a gradient of shape \(2,\); return None"):
        y.sum().backward()


def test_the_gradient_of_a_broadcast_input_adds_up_a_million_rows():
    row = Tensor(np.ones(2, np.float32), True)
    (row * np.full((1_000_001, 2), 0.1, np.float32)).sum().backward()
    np.testing.assert_allclose(row.grad.numpy(), 100_000.1, rtol=1e-5)


def test_grad_runs_no_hook_of_a_leaf_that_was_not_asked_for():
    a, b, seen = leaf(2, seed=1), leaf(2, seed=2), []
    b.register_hook(seen.append)
    assert_equal(grad((a * b).sum(), a), b)
    assert not seen


def test_a_list_of_margins_may_be_used_again_before_backward():
    x, width = leaf(3), [[1, 1]]
    y = engine.ops.pad(x, pad_width=width)
    width[0][:] = 0, 2
    y.backward(np.arange(5.0))
    assert_equal(x.grad.numpy(), np.array([1.0, 2.0, 3.0]))
