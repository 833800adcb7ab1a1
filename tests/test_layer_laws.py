"""Laws that every layer keeps: derivatives along a random direction, rows on their own, inputs left as they are."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import layers
from engine import tensor
from layers import (
    GRU,
    LSTM,
    Activation,
    Add,
    Average,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    FeedForward,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    InputLayer,
    Layer,
    LayerNormalization,
    LeakyReLU,
    Masking,
    Maximum,
    MaxPooling2D,
    Minimum,
    MultiHeadAttention,
    Multiply,
    Operation,
    Permute,
    PositionEmbedding,
    ReLU,
    Reshape,
    RMSNormalization,
    RotaryEmbedding,
    SimpleRNN,
    SinePositionEncoding,
    Softmax,
    Subtract,
    SwiGLU,
    TransformerDecoder,
    TransformerEncoder,
)
from tests.layer_draws import draw, seeded

__all__ = ["seeded"]  # a fixture

SEQUENCE, IMAGE = (3, 4, 6), (2, 7, 6, 4)
F = {"dtype": "float64"}
EVERY: list[tuple[Layer, tuple[int, ...]]] = [
    (Dense(3, "tanh", **F), (4, 5)),
    (Conv2D(2, 3, padding="same", strides=2, activation="relu", **F), IMAGE),
    (Conv2D(4, (2, 3), dilation_rate=2, groups=2, use_bias=False, **F), IMAGE),
    (MaxPooling2D((2, 3), strides=1), IMAGE),
    (AveragePooling2D(padding="same"), IMAGE),
    (GlobalAveragePooling2D(), IMAGE),
    (GlobalMaxPooling2D(keepdims=True), IMAGE),
    (Flatten(), SEQUENCE),
    (Reshape((4, -1)), (2, 6, 2)),
    (Permute((2, 1)), SEQUENCE),
    (Activation("softmax"), (2, 6)),
    (ReLU(max_value=6.0), (2, 6)),
    (LeakyReLU(), (2, 6)),
    (Softmax(axis=1), SEQUENCE),
    (Dropout(0.5, seed=4), (2, 6)),
    (InputLayer((4,)), (3, 4)),
    (Operation("tanh"), (3, 4)),
    (BatchNormalization(**F), SEQUENCE),
    (LayerNormalization(epsilon=1e-5, **F), SEQUENCE),
    (RMSNormalization(**F), SEQUENCE),
    (Embedding(7, 3, **F), (4, 5)),
    (Masking(), SEQUENCE),
    (PositionEmbedding(8, **F), SEQUENCE),
    (SinePositionEncoding(), SEQUENCE),
    (RotaryEmbedding(), (2, 4, 3, 6)),
    (SimpleRNN(5, return_sequences=True, **F), SEQUENCE),
    (GRU(5, **F), SEQUENCE),
    (GRU(5, reset_after=False, go_backwards=True, **F), SEQUENCE),
    (LSTM(5, return_sequences=True, **F), SEQUENCE),
    (LSTM(5, unroll=True, **F), SEQUENCE),
    (Bidirectional(LSTM(3, return_sequences=True, **F), **F), SEQUENCE),
    (MultiHeadAttention(2, 3, **F), SEQUENCE),
    (MultiHeadAttention(4, 2, value_dim=3, num_key_value_heads=2, rotary=RotaryEmbedding(), **F), SEQUENCE),
    (FeedForward(5, "gelu", **F), SEQUENCE),
    (SwiGLU(5, **F), SEQUENCE),
    (TransformerEncoder(8, 2, **F), SEQUENCE),
    (TransformerDecoder(8, 2, normalize_first=True, normalization="rms", feed_forward="swiglu", **F), SEQUENCE),
    *((merge(), SEQUENCE) for merge in (Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate)),
]
TABLES = PositionEmbedding, SinePositionEncoding  # they look at the shape of x only: (N,T,D) -> (T,D)


def of_every(*but):
    some = [(layer, shape) for layer, shape in EVERY if not isinstance(layer, but)]
    names = [type(layer).__name__ for layer, _ in some]
    return pytest.mark.parametrize(("layer", "shape"), some, ids=names)


def test_no_layer_is_left_out():
    public = {c for c in vars(layers).values() if isinstance(c, type) and issubclass(c, Layer)} - {Layer}
    assert public == {type(layer) for layer, _ in EVERY}


def inputs(layer, shape):
    """Read-only arrays: what the layer is called with, in a list."""
    if isinstance(layer, Embedding):
        arrays = [np.arange(np.prod(shape)).reshape(shape) % 7]
    else:
        count = 2 if hasattr(layer, "pairwise") or isinstance(layer, Concatenate) else 1
        arrays = [draw(*shape, at=f"x{i}").astype(np.float64) for i in range(count)]
    for a in arrays:
        a.setflags(write=False)
    return arrays


def called(layer, arrays, training, requires_grad=False):
    """The result, and the tensors that went in."""
    leaves = [tensor(a, requires_grad=requires_grad and a.dtype.kind == "f") for a in arrays]
    return layer(leaves if hasattr(layer, "pairwise") or isinstance(layer, Concatenate) else leaves[0],
                 training=training), leaves  # fmt: skip


@of_every(SinePositionEncoding)
@pytest.mark.parametrize("training", [False, True])
def test_the_derivative_along_a_random_direction(layer, shape, training):
    layer, arrays = copy.deepcopy(layer), inputs(layer, shape)
    training = training and not isinstance(layer, Dropout)  # another mask at each call
    y, leaves = called(layer, arrays, training, requires_grad=True)
    g = draw(*y.shape, at="g").astype(np.float64)
    y.backward(g)
    parameters = layer.parameters()
    ways = {id(p): draw(*p.shape, at=f"way{i}") for i, p in enumerate([*leaves, *parameters])}
    slope = sum((p.grad.numpy() * ways[id(p)]).sum() for p in (*leaves, *parameters) if p.grad is not None)
    assert all(p.grad is not None for p in parameters)
    values, step = [p.numpy().copy() for p in parameters], 1e-5

    def at(h):
        for p, value in zip(parameters, values, strict=True):
            p.assign(value + h * ways[id(p)])
        moved = [a + h * ways[id(x)] if a.dtype.kind == "f" else a for a, x in zip(arrays, leaves, strict=True)]
        return float((called(layer, moved, training)[0].numpy() * g).sum())

    numeric = (at(step) - at(-step)) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=1e-6, atol=1e-8)


@of_every(*TABLES)
def test_rows_are_on_their_own_and_inputs_of_any_layout_stay_as_they_are(layer, shape):
    layer, arrays = copy.deepcopy(layer), inputs(layer, shape)
    whole = called(layer, arrays, False)[0].numpy()
    before = [a.copy() for a in arrays]
    turned = [np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0) for a in arrays]
    np.testing.assert_allclose(called(layer, turned, False)[0].numpy(), whole, rtol=1e-12, atol=1e-14)
    alone = [called(layer, [a[i : i + 1] for a in arrays], False)[0].numpy() for i in range(shape[0])]
    np.testing.assert_allclose(np.concatenate(alone), whole, rtol=1e-12, atol=1e-14)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)
