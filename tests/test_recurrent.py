"""Recurrent layers: the kernels equal the loops, the layers equal the textbook's equations and Keras' conventions."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import engine
import layers
import optim
from engine import ops, tensor
from engine.errors import ArgumentError, IndexRangeError, ShapeError
from engine.kernels.cpu import recurrent, recurrent_plain, recurrent_tokens
from engine.kernels.cpu.recurrent_cells import CELLS
from engine.kernels.cpu.threads import get_num_threads, set_num_threads
from engine.ops.recurrent_steps import gru_loop, lstm_loop, simple_rnn_loop
from engine.parameter import training_mode
from layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, Masking, SimpleRNN
from layers.symbolic import map_structure
from models import Model, Sequential, load_model

KINDS = [SimpleRNN, GRU, LSTM]
FUSED = {"simple_rnn": (ops.simple_rnn, simple_rnn_loop), "gru": (ops.gru, gru_loop), "lstm": (ops.lstm, lstm_loop)}


def draw(name, N, T, D, H, seed=0):
    """Inputs of the kernels in float64."""
    rng, G = np.random.default_rng(seed), CELLS[name].gates
    shapes = (N, T, D), (D, G * H), (H, G * H), (G * H,), (G * H,), (N, H), (N, H)
    x, w, u, b, b_u, h0, c0 = (rng.standard_normal(s) for s in shapes)
    mask = (rng.random((N, T)) < 0.8).astype(np.uint8)
    factors = np.where(rng.random((N, H)) < 0.7, 1 / 0.7, 0.0)
    return x, w / D**0.5, u / H**0.5, b, b_u, h0, c0, mask, factors


def narrow(arrays):
    return [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]


def sequence(N=3, T=5, D=4, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal((N, T, D)).astype(dtype)


def layer(kind, units=6, seed=7, **options):
    made = kind(units, **options)
    made.set_seed(seed)
    return made


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ------------------------------------------------------------------------------------------------ the kernels
SHAPES = [(1, 1, 1, 1), (5, 7, 3, 5), (16, 4, 8, 16), (35, 9, 20, 32), (20, 90, 7, 48), (3, 5, 400, 208)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_the_kernels_are_the_loops_in_numpy(name, shape):
    """Rows, steps, features and units beyond one part, one block, one vector and one panel; masked and dropped."""
    inputs = draw(name, *shape)
    H, rng = shape[3], np.random.default_rng(1)
    wanted = recurrent_plain.forward(CELLS[name], *inputs)
    found = recurrent.forward(name, *narrow(inputs))
    close(found[0][..., :H], wanted[0])
    close(found[3], wanted[3])
    x, w, u, _, _, h0, c0, mask, factors = inputs
    for steps in {shape[1], 1}:
        found = recurrent.forward(name, *narrow(inputs))  # its gates are used up by `backward`
        g, c_bar = rng.standard_normal((shape[0], steps, H)), rng.standard_normal((shape[0], H))
        inner = g, c_bar, x, w, u, h0, c0, mask, factors
        *bars, used_up = recurrent.backward(name, *narrow(inner), *found[:3])
        assert used_up == recurrent.ENABLED
        for a, b in zip(bars, recurrent_plain.backward(CELLS[name], *inner, *wanted[:3]), strict=True):
            close(a, b)


def close(found, wanted):
    """Float32 beside float64: a few roundings for each step."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(wanted).max(initial=0)))


TOKENS = [(1, 1, 1, 1, 1), (5, 7, 3, 5, 4), (16, 40, 8, 16, 2), (35, 9, 20, 32, 500), (20, 90, 7, 48, 100)]


@pytest.mark.parametrize("shape", TOKENS, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_tokens_are_rows_of_their_table_in_numpy(name, shape):
    """Tokens that come once, often, and more often than a sum has terms; more of them than one part of a product."""
    *shape, V = shape
    rng, (_, w, u, b, b_u, h0, c0, mask, factors) = np.random.default_rng(3), draw(name, *shape)
    N, T, D, H = shape
    ids, table = rng.integers(0, V, (N, T)), rng.standard_normal((V, D))
    wanted = recurrent_plain.forward(CELLS[name], table[ids], w, u, b, b_u, h0, c0, mask, factors)
    found = recurrent_tokens.forward(name, ids, *narrow([table, w, u, b, b_u, h0, c0, mask, factors]))
    close(found[0][..., :H], wanted[0])
    close(found[3], wanted[3])
    g, c_bar = rng.standard_normal((N, T, H)), rng.standard_normal((N, H))
    others = w, u, h0, c0, mask, factors
    x_bar, *bars = recurrent_plain.backward(CELLS[name], g, c_bar, table[ids], *others, *wanted[:3])
    table_bar = np.zeros((V, D))
    np.add.at(table_bar, ids, x_bar)
    inner = narrow([g, c_bar]), [ids, *narrow([table, *others])]
    *found, _ = recurrent_tokens.backward(name, *inner[0], *inner[1], *found[:3], *found[4:])
    for a, b in zip(found, [table_bar, *bars], strict=True):
        close(a, b)


@pytest.mark.slow
@pytest.mark.skipif(not recurrent.ENABLED, reason="NUMBA_DISABLE_JIT is set")
@pytest.mark.parametrize("tile", [(4, 8, 3), (8, 6, 2), (4, 6, 2)], ids=["NEON", "AVX2", "SSE2"])
def test_the_tiles_of_other_processors_give_the_same(tile, tmp_path):
    """The laws above, where panels are as wide as other processors' tiles."""
    code = f"""
import sys
from engine.kernels.cpu import microkernel
microkernel.tile_shape = lambda *_: microkernel.Tile{tile}
import pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", {__file__!r}, "-k", "in_numpy"]))
"""
    root, environment = Path(__file__).parent.parent, os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("name", CELLS)
def test_bits_do_not_depend_on_the_number_of_threads(name):
    inputs = narrow(draw(name, 70, 30, 20, 32))
    g, before = np.random.default_rng(2).standard_normal((70, 30, 32)).astype(np.float32), get_num_threads()

    def run(threads):
        set_num_threads(threads)
        y = recurrent.forward(name, *inputs)
        x, w, u, _, _, h0, c0, mask, factors = inputs
        return [y[0], *recurrent.backward(name, g, None, x, w, u, h0, c0, mask, factors, *y[:3])]

    def run_tokens(threads):
        set_num_threads(threads)
        _, w, u, b, b_u, *others = inputs
        ids, table = np.arange(2100).reshape(70, 30) % 333, np.sin(np.arange(8000, dtype=np.float32)).reshape(400, 20)
        y = recurrent_tokens.forward(name, ids, table, w, u, b, b_u, *others)
        return [y[0], *recurrent_tokens.backward(name, g, None, ids, table, w, u, *others, *y[:3], *y[4:])]

    try:
        for a, b in zip(run(1) + run_tokens(1), run(before) + run_tokens(before), strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("name", CELLS)
def test_without_numba_the_same_comes_out(name, monkeypatch):
    inputs = narrow(draw(name, 5, 6, 4, 8))
    fast = recurrent.forward(name, *inputs)[0][..., :8]
    monkeypatch.setattr(recurrent, "ENABLED", False)
    close(recurrent.forward(name, *inputs)[0], fast)


@pytest.mark.parametrize("name", FUSED)
def test_saturated_gates_give_numbers(name):
    """Where every gate is 0 or 1 to the last bit, nothing overflows."""
    x, w, u, *_ = narrow(draw(name, 3, 4, 5, 16))
    leaves = [tensor(1e4 * x, requires_grad=True), tensor(w, requires_grad=True), tensor(u, requires_grad=True)]
    y = FUSED[name][0](*leaves)
    y.backward(np.ones(y.shape, np.float32))
    assert np.isfinite(y.numpy()).all() and all(np.isfinite(leaf.grad.numpy()).all() for leaf in leaves)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_graph_that_is_kept_gives_the_same_gradients_again(name, dtype):
    """The first walk turns the gates into their cotangents where they lie; the second makes them anew."""
    x, w, u, b, b_u, h0, c0, mask, _ = draw(name, 18, 7, 5, 20)
    b = np.stack([b, b_u]) if name == "gru" else b
    states = [h0, c0] if name == "lstm" else [h0]
    leaves = [tensor(a, dtype=dtype, requires_grad=True) for a in (x, w, u, b, *states)]
    y = FUSED[name][0](*leaves, mask, recurrent_dropout=0.3, seed=4, stream=2)
    once, twice, last = (engine.grad((y * y).sum(), leaves, retain_graph=keep) for keep in (True, True, False))
    for a, b, c in zip(once, twice, last, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        np.testing.assert_array_equal(a.numpy(), c.numpy())


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whose_gradient_nobody_wants_changes_no_other(name, dtype):
    x, w, u, *_ = draw(name, 18, 7, 5, 20)
    ids, table = np.arange(18 * 7).reshape(18, 7) % 11, x[0].repeat(2, 0)[:11]

    def gradients(wanted, run, first):
        first = tensor(first, dtype=dtype, requires_grad=wanted)
        leaves = [tensor(a, dtype=dtype, requires_grad=True) for a in (w, u)]
        run(first, *leaves).sum().backward()
        return [leaf.grad.numpy() for leaf in leaves]

    for run, first in (
        (FUSED[name][0], x),
        (lambda table, w, u: ops.embedding_rnn(ids, table, w, u, kind=name), table),
    ):
        for a, b in zip(gradients(True, run, first), gradients(False, run, first), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not recurrent.ENABLED, reason="NUMBA_DISABLE_JIT is set")
def test_the_way_back_takes_no_memory_for_the_gates():
    x, w, u, *_ = narrow(draw("lstm", 32, 64, 16, 32))
    leaf = tensor(w, requires_grad=True)
    gates = 32 * 64 * 4 * 32 * 4  # bytes

    def peak():
        y = ops.lstm(x, leaf, u).sum()
        engine.empty_cache()
        tracemalloc.start()
        try:
            engine.grad(y, leaf)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak()  # compiled
    assert peak() < gates


@pytest.mark.parametrize("name", FUSED)
def test_derivatives_of_second_order_go_through_the_loop(name):
    fused, loop = FUSED[name]
    x, w, u, *_ = draw(name, 2, 3, 2, 3)

    def curvature(f):
        leaf = tensor(w, requires_grad=True)
        (g,) = [engine.grad((f(x, leaf, u) ** 2).sum(), leaf, create_graph=True)]
        return engine.grad((g * g).sum(), leaf).numpy()

    np.testing.assert_allclose(curvature(fused), curvature(lambda x, w, u: loop(tensor(x), w, tensor(u))), rtol=1e-10)


# ------------------------------------------------------------------------------------------------ the textbook
def test_simple_rnn_is_e8_and_dense_on_its_states_is_e9():
    """h_t = σ(W_h h_{t-1} + W_x x_t + b_h), y_t = σ(W_o h_t + b_o), with the matrices on the left."""
    x = sequence(dtype="float64")
    net = Sequential(
        [SimpleRNN(6, "sigmoid", return_sequences=True, dtype="float64"), Dense(2, "sigmoid", dtype="float64")], seed=1
    )
    y = net(tensor(x)).numpy()
    W_x, W_h, b_h, W_o, b_o = (p.numpy() for p in net.parameters())
    for n in range(3):
        h = np.zeros(6)
        for t in range(5):
            h = sigmoid(W_h.T @ h + W_x.T @ x[n, t] + b_h)
            np.testing.assert_allclose(y[n, t], sigmoid(W_o.T @ h + b_o), rtol=1e-12)


def test_gru_before_the_product_is_the_papers():
    """h = u h' + (1 - u) tanh(W x + U (r h')): Cho et al. 2014, (5) to (8), one matrix for each gate."""
    x = sequence(dtype="float64")
    net = layer(GRU, reset_after=False, dtype="float64")
    y = net(tensor(x)).numpy()
    W, U, b = (np.split(p.numpy(), 3, -1) for p in net.parameters())
    h = np.zeros((3, 6))
    for t in range(5):
        u, r = (sigmoid(x[:, t] @ W[k] + h @ U[k] + b[k]) for k in (0, 1))
        h = u * h + (1 - u) * np.tanh(x[:, t] @ W[2] + (r * h) @ U[2] + b[2])
    np.testing.assert_allclose(y, h, rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"go_backwards": True}, {"use_bias": False}, {"dropout": 0.3, "recurrent_dropout": 0.4}], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_unrolled_and_fused_agree_gradients_included(kind, options):
    x, mask = sequence(20, 6, 5), np.random.default_rng(3).random((20, 6)) < 0.7
    results = []
    for unroll in (False, True):
        net = layer(kind, return_sequences=True, return_state=True, unroll=unroll, **options)
        leaf = tensor(x, requires_grad=True)
        outputs = net(leaf, mask=mask, training=True)
        rng = np.random.default_rng(4)
        total = sum((y * rng.standard_normal(y.shape).astype("float32")).sum() for y in outputs)
        total.backward()
        results.append([y.numpy() for y in outputs] + [p.grad.numpy() for p in (leaf, *net.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_other_activations_are_used(kind):
    x = sequence()
    net = layer(kind, activation="relu")
    y = net(x).numpy()
    assert (y >= 0).all() and y.any()
    assert not np.allclose(y, layer(kind)(x).numpy())


def test_a_forget_gate_begins_open():
    bias = layer(LSTM, units=3)
    bias.build((None, 4, 2))
    np.testing.assert_array_equal(bias.bias.numpy(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    plain = layer(LSTM, units=3, unit_forget_bias=False)
    plain.build((None, 4, 2))
    assert not plain.bias.numpy().any()


# ------------------------------------------------------------------------------------------------ states
@pytest.mark.parametrize("kind", KINDS)
def test_states_come_in_and_go_out(kind):
    """A sequence in two pieces, the states handed on, is the sequence in one."""
    x = sequence()
    net = layer(kind, return_sequences=True, return_state=True)
    whole, *last = net(x)
    first, *states = net(x[:, :2])
    second, *end = net(x[:, 2:], initial_state=states)
    np.testing.assert_allclose(np.concatenate([first.numpy(), second.numpy()], 1), whole.numpy(), rtol=1e-5, atol=1e-6)
    assert len(last) == net.states
    for a, b in zip(end, last, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(last[0].numpy(), whole.numpy()[:, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stateful_layer_goes_on_where_the_last_batch_ended(kind):
    x = sequence()
    net, other = layer(kind, stateful=True), layer(kind)
    net(x[:, :2])
    np.testing.assert_allclose(net(x[:, 2:]).numpy(), other(x).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match=r"a state has shape \(3, 6\), these inputs need \(2, 6\); reset_states\(\)"):
        net(x[:2])
    net.reset_states()
    np.testing.assert_allclose(net(x[:2]).numpy(), other(x[:2]).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_going_backwards_is_the_reversed_sequence(kind):
    x = sequence()
    backwards = layer(kind, go_backwards=True, return_sequences=True)(x)
    np.testing.assert_array_equal(backwards.numpy(), layer(kind, return_sequences=True)(x[:, ::-1]).numpy())


def test_the_initial_state_has_a_gradient():
    x = sequence()
    h0, c0 = (tensor(sequence(1, 3, 6, seed=seed)[0], requires_grad=True) for seed in (0, 5))
    net = layer(LSTM)
    net(x, initial_state=[h0, c0]).sum().backward()
    assert h0.grad.numpy().any() and c0.grad.numpy().any()


# ------------------------------------------------------------------------------------------------ masks
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_is_not_there(kind, unroll):
    """The last state of a padded sequence is that of the sequence; the padding gets no gradient, and its values don't
    matter.
    """
    x, lengths = sequence(4, 6), [6, 3, 1, 5]
    mask = np.arange(6) < np.array(lengths)[:, None]
    net = layer(kind, unroll=unroll)
    leaf = tensor(np.where(mask[:, :, None], x, 1e3), requires_grad=True)
    y = net(leaf, mask=mask)
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(y.numpy()[n], net(x[n : n + 1, :length]).numpy()[0], rtol=1e-5, atol=1e-6)
    y.sum().backward()
    assert not leaf.grad.numpy()[~mask].any()
    assert leaf.grad.numpy()[mask].any()


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_masked_step_the_output_repeats_or_is_zero(kind):
    x = sequence()
    mask = np.array([[1, 1, 0, 1, 0]] * 3)
    y = layer(kind, return_sequences=True)(x, mask=mask).numpy()
    np.testing.assert_array_equal(y[:, 2], y[:, 1])
    np.testing.assert_array_equal(y[:, 4], y[:, 3])
    y = layer(kind, return_sequences=True, zero_output_for_mask=True)(x, mask=mask).numpy()
    assert not y[:, [2, 4]].any() and y[:, [0, 1, 3]].all()


def test_a_row_that_is_masked_throughout_is_zero():
    y = layer(LSTM)(sequence(), mask=np.array([[0] * 5, [1] * 5, [0] * 5]))
    assert not y.numpy()[[0, 2]].any() and np.isfinite(y.numpy()).all()


def test_masks_travel_from_the_embedding_through_the_layers():
    ids = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 1]])
    net = Sequential(
        [Embedding(10, 4, mask_zero=True), Dense(4, "tanh"), Dropout(0.5), LSTM(5, return_sequences=True), GRU(3)],
        seed=2,
    )
    short = net(ids[:1, :3], training=False).numpy()
    np.testing.assert_allclose(net(ids, training=False).numpy()[:1], short, rtol=1e-5, atol=1e-6)
    x = layers.Input((5,))
    model = functional(x, net)
    np.testing.assert_allclose(model(ids, training=False).numpy()[:1], short, rtol=1e-5, atol=1e-6)


def functional(x, net):
    y = x
    for part in net.layers:
        y = part(y)
    return Model(x, y)


READ = [{}] + [{name: True} for name in ("return_sequences", "go_backwards", "stateful")]
READ += [{"recurrent_dropout": 0.3}, {"use_bias": False}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", READ, ids=str)
def test_an_embedding_and_what_reads_it_are_one_kernel_and_the_same(kind, options, monkeypatch):
    ids = np.random.default_rng(5).integers(0, 9, (6, 7))

    def run(together):
        model = Sequential([Embedding(9, 5, mask_zero=True), kind(4, **options), Dense(1)], seed=3)
        model.build((None, 7))
        if not together:
            monkeypatch.setattr(model.layers[1], "reads_tokens", lambda: False)
        with training_mode(True):
            model(ids)
            y = model(ids)
        found = ops_behind(y)
        assert ("embedding_rnn" in found) == together and ("embedding" in found) != together
        (y * y).sum().backward()
        return [y.numpy(), *(p.grad.numpy() for p in model.parameters())]

    for a, b in zip(run(True), run(False), strict=True):
        close(a, b)


def ops_behind(y):
    """Names of the ops that y was made by."""
    names, stack = set(), [y.node]
    while stack:
        node = stack.pop()
        if node is not None and hasattr(node, "parents"):
            names.add(node.op.name)
            stack.extend(node.parents)
    return names


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"unroll": True}, {"activation": "relu"}], ids=str)
def test_what_the_kernel_does_not_compute_is_looked_up_first(options):
    model = Sequential([Embedding(9, 5), LSTM(4, **options)], seed=3)
    with training_mode(True):
        assert "embedding" in ops_behind(model(np.ones((2, 3), int)))


def test_within_autocast_rows_are_looked_up_in_full_precision():
    model = Sequential([Embedding(9, 5), LSTM(4)], seed=3)
    with training_mode(True), engine.autocast("bfloat16"):
        assert "embedding" in ops_behind(model(np.ones((2, 3), int)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ids_that_changed_since_are_looked_at_again(dtype):
    """Another's array may hold anything when it is read once more."""
    ids, (_, w, u, *_) = np.arange(300).reshape(10, 30) % 8, draw("lstm", 10, 30, 5, 4)
    held = engine.asarray(ids)
    leaves = [tensor(a, dtype=dtype, requires_grad=True) for a in (np.ones((8, 5)), w, u)]
    y = ops.embedding_rnn(held, *leaves).sum()
    y.backward(retain_graph=True)
    ids[1, 2] = 10**8
    if held.numpy()[1, 2] != 10**8:
        pytest.skip("this device has copied the ids")
    with pytest.raises(IndexRangeError, match=r"embedding_rnn: ids\[1, 2\] is 100000000, but the table has 8 rows"):
        y.backward()


@pytest.mark.parametrize("shape", [(), (3,), (1, 6, 7)], ids=str)
def test_ids_of_another_rank_name_the_layer_that_needs_steps(shape):
    model = Sequential([Embedding(9, 5, mask_zero=True), LSTM(4)])
    model.build((None, 7))
    with pytest.raises(ShapeError, match=r"LSTM '1': the input has \d dimensions .* \(N,T,D\) needs 3") as caught:
        model(np.ones(shape, int))
    assert "in layer LSTM '1'" in caught.value.__notes__


def test_a_changed_layer_reads_for_itself():
    model = Sequential([Embedding(9, 5), LSTM(4)], seed=3)
    before = model(np.ones((2, 3), int)).numpy()
    call = model.layers[1].call
    model.layers[1].call = lambda x, **options: 2 * call(x, **options)
    np.testing.assert_allclose(model(np.ones((2, 3), int)).numpy(), 2 * before, rtol=1e-5)


def test_masking_marks_steps_of_nothing_but_the_value():
    x = sequence()
    x[0, 3:] = 2.0
    x[1, 2, 0] = 2.0  # not the whole step
    masked = Masking(2.0)(x)
    np.testing.assert_array_equal(masked.mask.numpy(), [[1, 1, 1, 0, 0], [1] * 5, [1] * 5])
    assert not masked.numpy()[0, 3:].any()
    np.testing.assert_allclose(layer(LSTM)(masked).numpy()[0], layer(LSTM)(x[:1, :3]).numpy()[0], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ dropout
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_has_one_mask_a_sequence(kind):
    """Gal and Ghahramani: the same features vanish at every step of a sequence; other sequences lose others."""
    leaf = tensor(sequence(8, 6, 10), requires_grad=True)
    layer(kind, dropout=0.5, seed=1)(leaf, training=True).sum().backward()
    gone = leaf.grad.numpy() == 0  # (N,T,D)
    assert (gone == gone[:, :1]).all()
    assert 0.2 < gone.mean() < 0.8
    assert (gone[0] != gone[1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_dropout_is_off_in_use_and_anew_at_each_call(kind):
    x = sequence()
    net = layer(kind, recurrent_dropout=0.5)
    np.testing.assert_array_equal(net(x, training=False).numpy(), layer(kind)(x).numpy())
    assert not np.allclose(net(x, training=True).numpy(), net(x, training=True).numpy())


def test_dropout_of_everything_leaves_the_biases():
    y = layer(SimpleRNN, dropout=1.0, recurrent_dropout=1.0, bias_initializer="ones")(sequence(), training=True)
    np.testing.assert_allclose(y.numpy(), np.tanh(1), rtol=1e-6)


# ------------------------------------------------------------------------------------------------ two directions
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional_is_a_layer_from_each_end(mode, sequences):
    x = sequence()
    both = Bidirectional(GRU(6, return_sequences=sequences), merge_mode=mode)
    both.set_seed(3)
    y = both(x)
    a, b = both.forward_layer(x).numpy(), both.backward_layer(x).numpy()
    b = b[:, ::-1] if sequences else b
    merged = {"concat": np.concatenate([a, b], -1), "sum": a + b, "mul": a * b, "ave": (a + b) / 2, None: [a, b]}[mode]
    for found, wanted in zip(y if mode is None else [y], merged if mode is None else [merged], strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
        assert both.compute_output_shape((3, 5, 4)) in (wanted.shape, [wanted.shape] * 2)


def test_bidirectional_returns_and_takes_the_states_of_both():
    x = sequence()
    both = Bidirectional(LSTM(6, return_sequences=True, return_state=True))
    y, *states = both(x)
    assert y.shape == (3, 5, 12) and [s.shape for s in states] == [(3, 6)] * 4
    again = both(x, initial_state=states)[0]
    assert not np.allclose(again.numpy(), y.numpy())
    assert [tuple(s) for s in both.compute_output_shape((3, 5, 4))] == [y.shape] + [(3, 6)] * 4


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}, {"return_state": True}], ids=str)
@pytest.mark.parametrize("mode", ["concat", None])
def test_bidirectional_knows_its_shapes_where_the_directions_differ(mode, options, tmp_path):
    made = Bidirectional(LSTM(3, **options), mode, backward_layer=LSTM(5, go_backwards=True, **options))
    y, shapes = made(sequence()), made.compute_output_shape((3, 5, 4))
    assert map_structure(lambda t: t.shape, y) == shapes
    if mode == "concat" and not options:
        model = Sequential([made, Dense(2)], seed=1)
        model.build((None, 5, 4))
        model.save(tmp_path / "m.safetensors")
        np.testing.assert_array_equal(load_model(tmp_path / "m.safetensors")(sequence()), model(sequence()))


def test_bidirectional_leaves_masked_steps_out():
    x = sequence(2, 6)
    mask = np.arange(6) < np.array([[6], [4]])
    both = Bidirectional(LSTM(3, return_sequences=True))
    y = both(x, mask=mask).numpy()
    np.testing.assert_allclose(y[1, :4], both(x[1:, :4]).numpy()[0], rtol=1e-5, atol=1e-6)
    assert not y[1, 4:].any()


# ------------------------------------------------------------------------------------------------ models
def test_a_recurrent_network_is_saved_and_loaded(tmp_path):
    net = Sequential([Embedding(20, 4, mask_zero=True), Bidirectional(LSTM(3, dropout=0.1)), Dense(1)], seed=1)
    net.compile("adam", "mse")
    ids, y = np.random.default_rng(0).integers(0, 20, (8, 5)), np.ones((8, 1), np.float32)
    net.fit(ids, y, epochs=1, verbose=0)
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(load_model(tmp_path / "net").predict(ids), net.predict(ids))
    twin = copy.deepcopy(net)
    np.testing.assert_array_equal(twin.predict(ids), net.predict(ids))


def test_an_lstm_learns_what_came_first():
    """The sign of the first number, through 20 steps of noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 20, 1)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.float32)
    x[:, 0] = 4 * y - 2
    net = Sequential([LSTM(16), Dense(1, "sigmoid")], seed=0)
    net.compile(optim.Adam(learning_rate=0.01), "binary_crossentropy", metrics=["accuracy"])
    net.fit(x, y, batch_size=64, epochs=15, verbose=0)
    assert net.evaluate(x, y, verbose=0)[1] > 0.95


def test_stacked_layers_in_a_functional_model_return_their_states():
    x = layers.Input((None, 4))
    y, h, c = LSTM(5, return_sequences=True, return_state=True)(x)
    out = LSTM(5)(y, initial_state=[h, c])
    model = Model(x, [out, h])
    a, b = model(sequence())
    assert a.shape == b.shape == (3, 5)


# ------------------------------------------------------------------------------------------------ bad input
def test_bad_arguments_are_refused():
    with pytest.raises(ArgumentError, match="LSTM: units is a whole number of 1 or more, got 0"):
        LSTM(0)
    with pytest.raises(ArgumentError, match="GRU: dropout is the probability of becoming 0"):
        GRU(3, dropout=2)
    with pytest.raises(ArgumentError, match="LSTM.*initial_state has 1 tensors, the layer has 2"):
        LSTM(6)(sequence(), initial_state=[np.zeros((3, 6))])
    with pytest.raises(ShapeError, match=r"a state has shape \(2, 6\), these inputs need \(3, 6\)"):
        GRU(6)(sequence(), initial_state=np.zeros((2, 6)))
    with pytest.raises(ShapeError, match=r"2 dimensions \(3, 4\), but \(N,T,D\) needs 3"):
        LSTM(6)(np.zeros((3, 4)))
    for unroll in (False, True):  # the loop would broadcast a mask of one row, and never read the end of a long one
        with pytest.raises(ShapeError, match=r"LSTM.*: x has no steps, shape \(3, 0, 4\)"):
            LSTM(6, unroll=unroll)(np.zeros((3, 0, 4)))
        for shape in ((3, 4), (3, 7), (1, 5), (3, 5, 1), (5,)):
            with pytest.raises(ShapeError, match=r"mask has shape .* these inputs need \(N,T\) = \(3, 5\)"):
                LSTM(6, unroll=unroll)(sequence(), mask=np.ones(shape))
    with pytest.raises(ArgumentError, match="Bidirectional: takes a recurrent layer"):
        Bidirectional(Dense(3))
    with pytest.raises(ArgumentError, match="merge_mode is one of"):
        Bidirectional(LSTM(3), merge_mode="max")
    with pytest.raises(
        ArgumentError, match="merge_mode='sum' takes two layers of as many units, got 3 and 1; 'concat'"
    ):
        Bidirectional(LSTM(3), "sum", backward_layer=LSTM(1, go_backwards=True))
