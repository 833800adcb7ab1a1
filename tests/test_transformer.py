"""Layers of sequences that attend: equal to Python written from the equations, masked, cached, built, saved."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

import layers
from engine import Tensor, config, no_grad, tensor, zeros
from engine.errors import ArgumentError, GradientError, ShapeError
from engine.gradcheck import gradcheck
from engine.parameter import training_mode
from layers import KeyValueCache, MultiHeadAttention, RotaryEmbedding, TransformerDecoder, TransformerEncoder
from models import Model, Sequential, load_model


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(a, b, rtol=2e-5):
    a, b = (x.numpy() if isinstance(x, Tensor) else x for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, float(np.abs(b).max())))


# ------------------------------------------------------------------------------------------------ attention
def attention_by_steps(mha, query, value, key, seen):
    """One head, one query after the other; seen(n, t, s) says which keys take part."""
    weights = {name: p.numpy().astype(np.float64) for name, p in mha.named_parameters()}
    h, g, d, e = mha.num_heads, mha.num_key_value_heads, mha.key_dim, mha.value_dim
    N, T, _ = query.shape
    joined = np.zeros((N, T, h * e))
    for n in range(N):
        q, k, v = (
            x[n] @ weights[f"{name}.kernel"] + weights.get(f"{name}.bias", 0.0)
            for name, x in (("query", query), ("key", key), ("value", value))
        )
        for a in range(h):
            b = a // (h // g)
            for t in range(T):
                some = [s for s in range(len(k)) if seen(n, t, s)]
                z = [q[t, a * d : (a + 1) * d] @ k[s, b * d : (b + 1) * d] / math.sqrt(d) for s in some]
                p = np.exp(z) / np.sum(np.exp(z)) if some else []
                for weight, s in zip(p, some, strict=True):
                    joined[n, t, a * e : (a + 1) * e] += weight * v[s, b * e : (b + 1) * e]
    return joined @ weights["output.kernel"] + weights.get("output.bias", 0.0)


@pytest.mark.parametrize("groups", [None, 2, 1])
def test_self_attention_is_its_equation(groups):
    x, mask = numbers(2, 5, 12), np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    mha = MultiHeadAttention(4, 3, value_dim=2, num_key_value_heads=groups, bias_initializer="random_normal")
    close(mha(x), attention_by_steps(mha, x, x, x, lambda n, t, s: True))
    close(mha(x, key_mask=mask), attention_by_steps(mha, x, x, x, lambda n, t, s: mask[n, s]))
    close(mha(x, use_causal_mask=True), attention_by_steps(mha, x, x, x, lambda n, t, s: s <= t))
    some = np.random.default_rng(1).random((2, 5, 5)) < 0.7
    close(mha(x, attention_mask=some), attention_by_steps(mha, x, x, x, lambda n, t, s: some[n, t, s]))
    both = attention_by_steps(mha, x, x, x, lambda n, t, s: some[n, t, s] and mask[n, s] and mask[n, t])
    close(mha(x, query_mask=mask, value_mask=mask, attention_mask=some), both)


def test_cross_attention_takes_keys_and_values_of_other_widths():
    x, value, key = numbers(2, 3, 8), numbers(2, 6, 5, seed=1), numbers(2, 6, 7, seed=2)
    mha = MultiHeadAttention(2, 4, use_bias=False)
    close(mha(x, value, key), attention_by_steps(mha, x, value, key, lambda n, t, s: True))
    assert mha.key.kernel.shape == (7, 8)
    by_name = MultiHeadAttention(2, 4, output_shape=3)
    assert by_name(x, value=value).shape == (2, 3, 3)
    with pytest.raises(ArgumentError, match="key is given without value"):
        mha(x, key=key)


def test_floats_as_attention_mask_are_added_to_the_scores():
    x, mha = numbers(2, 4, 6), MultiHeadAttention(2, 3)
    mask = np.tri(4, dtype=bool)[None]
    added = np.where(mask, 0, -np.inf).astype(np.float32)
    close(mha(x, attention_mask=added), mha(x, attention_mask=mask))
    close(mha(x, attention_mask=mask), mha(x, use_causal_mask=True))


def test_scores_come_along_and_are_the_weights():
    x, mha = numbers(2, 4, 6), MultiHeadAttention(2, 3)
    y, scores = mha(x, return_attention_scores=True, use_causal_mask=True)
    assert scores.shape == (2, 2, 4, 4)
    close(scores.numpy().sum(-1), np.ones((2, 2, 4)))
    assert not np.triu(scores.numpy(), 1).any()
    close(y, mha(x, use_causal_mask=True))


def test_a_fully_masked_sample_gives_the_bias_and_no_nan():
    x, mha = numbers(2, 4, 6), MultiHeadAttention(2, 3, bias_initializer="random_normal")
    y = mha(tensor(x, requires_grad=True), key_mask=[[0, 0, 0, 0], [1, 1, 1, 1]])
    y.backward(numbers(*y.shape))
    close(y.numpy()[0], np.broadcast_to(mha.output.bias.numpy(), (4, 6)))
    assert all(np.isfinite(p.grad.numpy()).all() for p in mha.parameters())


def test_dropout_of_weights_is_drawn_anew_and_off_in_use():
    x, mha = numbers(2, 16, 6), MultiHeadAttention(2, 3, dropout=0.5, seed=1)
    quiet = mha.eval()(x).numpy()
    mha.train()
    a, b = mha(x).numpy(), mha(x).numpy()
    assert (a != b).any()
    assert (a != quiet).any()
    close(np.mean([mha(x).numpy() for _ in range(400)], 0), quiet, rtol=0.25)


def test_gradients_of_attention_agree_with_differences():
    mha = MultiHeadAttention(2, 4, num_key_value_heads=1, rotary=RotaryEmbedding(), dtype="float64")
    report = gradcheck(lambda x: mha(x, use_causal_mask=True), [numbers(2, 3, 5).astype(np.float64)])
    assert report.agrees, str(report)


def test_no_texts_and_texts_without_tokens_have_gradients_too():
    mha = MultiHeadAttention(2, 3)
    for shape in ((0, 4, 8), (2, 0, 8)):
        x = zeros(shape, requires_grad=True)
        y = mha(x, use_causal_mask=True)
        y.sum().backward()
        assert y.shape == x.grad.shape == shape and not mha.key.kernel.grad.numpy().any()


def test_masks_that_are_no_rows_are_refused():
    mha, x = MultiHeadAttention(2, 3), numbers(2, 4, 8)
    for how in ({"key_mask": np.ones(4)}, {"value_mask": np.ones((2, 4, 1))}, {"query_mask": np.ones(2)}):
        with pytest.raises(ShapeError, match=r"a mask of tokens is \(N,T\), a row for each text, got shape"):
            mha(x, **how)


def test_bad_heads_are_refused():
    with pytest.raises(ArgumentError, match="num_heads=4 is no multiple of num_key_value_heads=3"):
        MultiHeadAttention(4, 2, num_key_value_heads=3)
    with pytest.raises(ArgumentError, match="dropout is a probability"):
        MultiHeadAttention(4, 2, dropout=1.5)
    with pytest.raises(ArgumentError, match="10 features can't be shared out to 4 heads"):
        TransformerEncoder(8, 4)(numbers(1, 2, 10))
    with pytest.raises(ShapeError, match=r"sequences are \(N,T,D\), got shape \(None, 4\)"):
        MultiHeadAttention(2, 2)(numbers(3, 4))


# ------------------------------------------------------------------------------------------------ positions
def test_sine_positions_are_their_waves():
    y = layers.SinePositionEncoding()(numbers(2, 7, 6), start=3).numpy()
    for t in range(7):
        for i in range(3):
            angle = (t + 3) * 10000 ** (-2 * i / 6)
            close(y[t, 2 * i : 2 * i + 2], np.array([math.sin(angle), math.cos(angle)]))


def test_learnt_positions_are_rows_of_a_table_and_end():
    layer = layers.PositionEmbedding(5)
    x = numbers(2, 3, 4)
    close(layer(x, start=2), layer.embeddings.numpy()[2:])
    close(layer(x, positions=np.array([[0, 0, 1], [4, 3, 2]])).numpy()[1], layer.embeddings.numpy()[[4, 3, 2]])
    with pytest.raises(ShapeError, match="the sequence ends at position 6, but there are 5; cut the text"):
        layer(x, start=3)


def test_turned_queries_and_keys_know_their_distance_only():
    rotary, q, k = RotaryEmbedding(), numbers(1, 9, 1, 8), numbers(1, 9, 1, 8, seed=1)
    q, k = (np.broadcast_to(x[:, :1], x.shape).copy() for x in (q, k))  # the same everywhere
    scores = np.einsum("ntad,nsad->ts", rotary(q, start=5).numpy(), rotary(k, start=5).numpy())
    for distance in range(-8, 9):
        diagonal = np.diagonal(scores, distance)
        close(diagonal, np.full_like(diagonal, diagonal[0]), rtol=1e-4)
    close(np.linalg.norm(rotary(q).numpy(), axis=-1), np.linalg.norm(q, axis=-1))
    omega = layers.positions.frequencies(64, 10000.0)
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192}  # fmt: skip
    slow = layers.positions.scaled(omega, llama3)
    assert slow[0] == omega[0]  # short waves stay
    assert slow[-1] == omega[-1] / 8  # long ones are stretched


@pytest.mark.parametrize("kind", [layers.SinePositionEncoding, RotaryEmbedding])
def test_a_thread_that_comes_in_between_moves_no_positions(kind):
    """What is kept from call to call may be replaced by another thread between writing and reading it."""
    x, wider = numbers(1, 4, 8), numbers(1, 4, 8).astype(np.float64)
    if kind is RotaryEmbedding:
        x, wider = x[:, :, None], wider[:, :, None]

    class Interrupted(kind):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name in ("_waves", "_turns") and value is not None and value[1].dtype == np.float32:
                self(tensor(wider), start=7)

    np.testing.assert_array_equal(Interrupted()(tensor(x), start=3), kind()(tensor(x), start=3))


def test_turns_that_make_no_sense_are_refused():
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192}  # fmt: skip
    for scaling, message in (
        ({"rope_type": "yarn"}, "scaling of type 'yarn' is not built; there are 'linear' and 'llama3'"),
        ({"rope_type": "linear"}, "scaling of type 'linear' takes factor, a number above 0, got None"),
        ({"type": "linear", "factor": 0}, "takes factor, a number above 0, got 0"),
        (llama3 | {"low_freq_factor": "1"}, "type 'llama3' takes low_freq_factor, a number above 0, got '1'"),
        (llama3 | {"high_freq_factor": 1.0}, "low_freq_factor that is not below its high_freq_factor"),
    ):
        with pytest.raises(ArgumentError, match=message):
            RotaryEmbedding(scaling=scaling)
    with pytest.raises(ArgumentError, match="max_wavelength is above 0, got 0"):
        RotaryEmbedding(0)


# ------------------------------------------------------------------------------------------------ blocks
def test_rms_normalisation_and_gated_units_are_their_equations():
    x = numbers(2, 3, 4)
    norm = layers.RMSNormalization(epsilon=1e-2, gamma_initializer="random_normal")
    close(norm(x), norm.gamma.numpy() * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-2))
    glu = layers.SwiGLU(7)
    y = glu(x).numpy()
    z = x @ glu.gate.kernel.numpy()
    close(y, (z / (1 + np.exp(-z)) * (x @ glu.inner.kernel.numpy())) @ glu.outer.kernel.numpy())
    assert glu.inner.bias is None


@pytest.mark.parametrize("normalize_first", [False, True])
def test_an_encoder_block_is_its_equation(normalize_first):
    x, mask = numbers(2, 5, 8), np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    block = TransformerEncoder(16, 2, activation="gelu", normalize_first=normalize_first, dropout=0.1).eval()
    y = block(x, padding_mask=mask)
    norm1, norm2 = block.attention_norm, block.network_norm
    if normalize_first:
        h = x + block.attention(norm1(x), key_mask=mask)
        close(y, h + block.network(norm2(h)))
    else:
        h = norm1(x + block.attention(x, key_mask=mask))
        close(y, norm2(h + block.network(h)))
    assert {path.split(".")[0] for path, _ in block.named_parameters()} == {
        "attention", "attention_norm", "network", "network_norm",
    }  # fmt: skip


def test_padding_changes_nothing_at_real_tokens():
    block, x = TransformerEncoder(16, 2), numbers(1, 5, 8)
    padded = np.concatenate([x, numbers(1, 3, 8, seed=4)], 1)
    close(block(padded, padding_mask=np.arange(8)[None] < 5).numpy()[:, :5], block(x))


def test_the_mask_of_an_embedding_is_that_of_the_keys():
    ids = np.array([[3, 1, 2, 0, 0], [4, 4, 1, 2, 3]])
    embedding, block = layers.Embedding(5, 8, mask_zero=True), TransformerEncoder(16, 2)
    x = embedding(ids)
    y = block(x)
    close(y, block(x.numpy(), padding_mask=ids != 0))
    np.testing.assert_array_equal(layers.masks.mask_of(y).numpy(), ids != 0)


def test_a_decoder_sees_the_past_and_the_encoder():
    block = TransformerDecoder(16, 2, normalize_first=True)
    x, encoded = numbers(2, 5, 8), numbers(2, 7, 6, seed=1)
    y = block(x, encoded).numpy()
    later = x.copy()
    later[:, 3:] += 1
    np.testing.assert_array_equal(block(later, encoded).numpy()[:, :3], y[:, :3])
    assert (block(x, encoded * 2).numpy() != y).any()
    half = np.arange(7)[None].repeat(2, 0) < 4
    close(block(x, encoded, encoder_padding_mask=half), block(x, encoded[:, :4]))
    alone = TransformerDecoder(16, 2)
    alone(x)
    with pytest.raises(ArgumentError, match="was built without an encoder's sequence"):
        alone(x, encoded)


@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_cached_steps_equal_the_whole_at_once(kind):
    llama = {"rotary": RotaryEmbedding(), "normalization": "rms", "feed_forward": "swiglu", "num_key_value_heads": 1}
    blocks = [TransformerDecoder(16, 2, normalize_first=True, **(llama if kind == "llama" else {})) for _ in range(2)]
    x, cache = numbers(2, 70, 8), KeyValueCache()

    def run(x, **how):
        for block in blocks:
            x = block(x, **how)
        return x.numpy()

    with no_grad(), training_mode(False):
        whole = run(x)
        parts = []
        for a, b in [(0, 3), (3, 4), (4, 64), (64, 65), (65, 70)]:
            assert cache.length == a
            parts.append(run(x[:, a:b], cache=cache))
    close(np.concatenate(parts, 1), whole, rtol=1e-4)


def test_a_cache_remembers_which_tokens_are_padding():
    table, blocks = layers.Embedding(9, 8, mask_zero=True), [TransformerDecoder(16, 2) for _ in range(2)]
    ids = np.array([[0, 0, 0, 5, 6, 7], [1, 0, 3, 4, 0, 8]])

    def run(ids, **how):
        x = table(ids)
        for block in blocks:
            x = block(x, **how)
        return x.numpy()

    with no_grad(), training_mode(False):
        whole = run(ids)
        for cuts in ([0, 3, 4, 5, 6], [0, 2, 6], [0, 5, 6]):
            cache = KeyValueCache()
            parts = [run(ids[:, a:b], cache=cache) for a, b in pairwise(cuts)]
            close(np.concatenate(parts, 1), whole, rtol=1e-4)
        cache = KeyValueCache()  # what came without a mask was real
        first = run(np.array([[1, 2], [3, 4]]), cache=cache, padding_mask=np.ones((2, 2)))
        assert first.shape == (2, 2, 8)
        plain, x = MultiHeadAttention(2, 4), tensor(numbers(2, 5, 8))
        cache, real = KeyValueCache(), np.array([[1, 1, 1, 0, 1], [1, 1, 1, 1, 0]], bool)
        plain(x[:, :3], cache=cache)
        y = plain(layers.masks.masked(x[:, 3:], tensor(real[:, 3:])), cache=cache)
        close(y, plain(x[:, 3:], x, key_mask=real))


def test_a_cache_belongs_to_one_batch_and_has_no_gradient():
    mha, x, encoded = MultiHeadAttention(2, 3), numbers(2, 4, 8), numbers(2, 5, 8)
    for call in (lambda: mha(x, cache=KeyValueCache()), lambda: mha(x, encoded, cache=KeyValueCache())):
        with pytest.raises(GradientError, match=r"no gradient would reach the keys and values: read within `with no_g"):
            call()
    with no_grad():
        cache = KeyValueCache()
        mha(x, cache=cache)
        for other in (x[:1], np.concatenate([x, x])):
            with pytest.raises(ShapeError, match="beginnings of 2 texts, and is to be continued with [14]: a cache"):
                mha(other, cache=cache)
        assert cache.length == 4


def test_an_encoders_sequence_is_looked_through_once():
    block, x, encoded = TransformerDecoder(16, 2), tensor(numbers(2, 6, 8)), tensor(numbers(2, 7, 8, seed=1))
    real, cache, seen = np.arange(7) < np.array([[7], [4]]), KeyValueCache(), []
    with no_grad(), training_mode(False):
        whole = block(x, encoded, encoder_padding_mask=real).numpy()
        make = block.cross_attention.key.call
        block.cross_attention.key.call = lambda sequence: seen.append(sequence.shape) or make(sequence)
        parts = [
            block(x[:, a:b], encoded, encoder_padding_mask=real, cache=cache).numpy()
            for a, b in [(0, 2), (2, 3), (3, 6)]
        ]
        close(np.concatenate(parts, 1), whole, rtol=1e-4)
        assert seen == [(2, 7, 8)] and cache.length == 6
        block(x[:, :1], tensor(numbers(2, 5, 8)), cache=cache)
        encoded[:, 0] = 0.0
        block(x[:, :1], encoded, cache=cache)
        assert len(seen) == 3, "another sequence, or one that was written to, is looked through anew"


def test_blocks_can_be_held_before_they_are_built_and_written_down():
    block = TransformerEncoder(
        16, 2, hidden_dim=8, feed_forward="swiglu", normalization="rms", rotary=RotaryEmbedding()
    )
    held = block.parameters()
    block(numbers(1, 3, 8))
    assert list(map(id, held)) == list(map(id, block.parameters()))
    twin = config.deserialize(layers.Layer, json.loads(json.dumps(config.serialize(block))))
    assert twin.get_config() == block.get_config()
    twin(numbers(1, 3, 8))
    twin.load_state_dict(block.state_dict())
    close(twin(numbers(1, 3, 8)), block(numbers(1, 3, 8)))
    with pytest.raises(ArgumentError, match="normalization is one of layer, rms, got 'batch'"):
        TransformerEncoder(16, 2, normalization="batch")


def test_blocks_stand_in_models_of_either_kind_and_are_saved(tmp_path):
    ids, y = np.random.default_rng(0).integers(0, 11, (12, 6)), np.arange(12) % 2
    stack = Sequential([
        layers.Embedding(11, 8, mask_zero=True), TransformerEncoder(16, 2, dropout=0.1, rotary=RotaryEmbedding()),
        TransformerDecoder(16, 2, normalization="rms", feed_forward="swiglu"), layers.Flatten(), layers.Dense(2),
    ], seed=1)  # fmt: skip
    x, memory = layers.Input((5, 8)), layers.Input((7, 6))
    graph = Model([x, memory], TransformerDecoder(16, 2)(x, memory), seed=1)
    for model, inputs, target in (
        (stack, ids, np.eye(2)[y]), (graph, [numbers(12, 5, 8), numbers(12, 7, 6)], numbers(12, 5, 8)),
    ):  # fmt: skip
        model.compile("adam", "mse")
        model.fit(inputs, target, verbose=0)
        model.save(tmp_path / "model.safetensors")
        again = load_model(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(again.predict(inputs), model.predict(inputs))
