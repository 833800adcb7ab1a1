"""Steps that only fill up count nowhere: masks in merge layers, batch normalisation, losses, metrics and `fit`."""

from __future__ import annotations

import numpy as np
import pytest

from engine import ops, tensor
from layers import (
    GRU,
    LSTM,
    Activation,
    Add,
    Average,
    BatchNormalization,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    LeakyReLU,
    Maximum,
    Multiply,
    Subtract,
    losses,
)
from layers.masks import Masked, mask_of
from models import Sequential

LENGTHS = np.array([5, 2, 3])
REAL = np.arange(5) < LENGTHS[:, None]  # (N,T)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def masked(x, mask=REAL, requires_grad=False):
    return Masked(tensor(x, requires_grad=requires_grad), tensor(np.asarray(mask)))


# ------------------------------------------------------------------------------------------------ merge layers
@pytest.mark.parametrize("merge", [Add, Subtract, Multiply, Average, Maximum])
def test_a_merged_step_is_real_where_one_input_is_as_in_keras(merge):
    x, other = numbers(3, 5, 4), ~REAL
    other[1, 4] = False
    y = merge()([masked(x), masked(x, other)])
    np.testing.assert_array_equal(mask_of(y).numpy(), REAL | other)
    assert mask_of(merge()([masked(x), x])) is None, "an input without a mask is real throughout"


@pytest.mark.parametrize("axis", [-1, 2, 1])
def test_concatenated_masks(axis):
    x, other = numbers(3, 5, 4), np.roll(REAL, 1, 0)

    def joined(a, b):
        return np.concatenate([a, b], 1) if axis == 1 else a | b

    y = Concatenate(axis)([masked(x), masked(x, other)])
    np.testing.assert_array_equal(mask_of(y).numpy(), joined(REAL, other))
    y = Concatenate(axis)([masked(x), x])
    np.testing.assert_array_equal(mask_of(y).numpy(), joined(REAL, np.ones_like(REAL)))
    assert mask_of(Concatenate(axis)([x, x])) is None


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "relu", "linear"])
def test_a_mask_goes_through_activations(name):
    for layer in (Dense(3, name), Activation(name), LeakyReLU(), Dropout(0.5)):
        np.testing.assert_array_equal(mask_of(layer(masked(numbers(3, 5, 4)))).numpy(), REAL)


# ------------------------------------------------------------------------------------------------ normalisation
def test_batch_normalization_counts_real_steps_only():
    x, g = numbers(3, 5, 4), numbers(3, 5, 4, seed=1)
    net, rows = (BatchNormalization(momentum=0.5, beta_initializer="ones") for _ in range(2))
    leaf, real = tensor(np.where(REAL[..., None], x, 1e4), requires_grad=True), tensor(x[REAL], requires_grad=True)
    y, wanted = net(Masked(leaf * 1.0, tensor(REAL)), training=True), rows(real, training=True)
    np.testing.assert_allclose(y.numpy()[REAL], wanted.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.moving_mean.numpy(), rows.moving_mean.numpy(), rtol=1e-6)
    np.testing.assert_allclose(net.moving_variance.numpy(), rows.moving_variance.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(mask_of(y).numpy(), REAL)
    ops.sum(y * np.where(REAL[..., None], g, 0)).backward()
    ops.sum(wanted * g[REAL]).backward()
    np.testing.assert_allclose(leaf.grad.numpy()[REAL], real.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert not leaf.grad.numpy()[~REAL].any()
    assert np.isfinite(net(masked(x, np.zeros_like(REAL)), training=True).numpy()).all(), "nothing is real"


# ------------------------------------------------------------------------------------------------ losses
LOSSES = {
    "mse": (losses.MeanSquaredError, numbers(3, 5, 4, seed=2)),
    "binary_crossentropy": (losses.BinaryCrossentropy, (numbers(3, 5, 4, seed=2) > 0).astype(np.float32)),
    "sparse_categorical_crossentropy": (losses.SparseCategoricalCrossentropy, np.arange(15).reshape(3, 5) % 4),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_masked_step_has_no_loss_and_the_mean_is_over_the_others(name):
    loss, y = LOSSES[name]
    p = 1 / (1 + np.exp(-numbers(3, 5, 4)))
    w = np.abs(numbers(3, seed=3))
    each = loss(reduction=None)(y, p).numpy()  # (N,T)
    np.testing.assert_allclose(loss()(y, masked(p)).item(), each[REAL].mean(), rtol=1e-6)
    np.testing.assert_allclose(loss(reduction="sum")(y, masked(p)).item(), each[REAL].sum(), rtol=1e-6)
    np.testing.assert_allclose(loss(reduction=None)(y, masked(p)).numpy(), np.where(REAL, each, 0), rtol=1e-6)
    np.testing.assert_allclose(loss()(y, masked(p), w).item(), (each * w[:, None])[REAL].mean(), rtol=1e-6)
    broken = np.where(REAL[..., None], p, np.nan).astype(np.float32)
    np.testing.assert_allclose(
        loss()(y, masked(broken)).item(), each[REAL].mean(), rtol=1e-6, err_msg="whatever stands at masked steps"
    )


def test_nothing_but_masked_steps_have_the_loss_0():
    leaf = tensor(numbers(3, 5, 4), requires_grad=True)
    loss = losses.MeanSquaredError()(numbers(3, 5, 4), Masked(leaf * 1.0, tensor(np.zeros_like(REAL))))
    loss.backward()
    assert loss.item() == 0 and not leaf.grad.numpy().any()


# ------------------------------------------------------------------------------------------------ fit
def tagger(seed=1, **options):
    model = Sequential(
        [Embedding(12, 6, mask_zero=True), LSTM(5, return_sequences=True), GRU(5, return_sequences=True),
         BatchNormalization(), Dense(4, "softmax")],
        seed=seed,
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def words(T=5, seed=0):
    ids = np.random.default_rng(seed).integers(1, 12, (3, T))
    ids[:, :5][~REAL] = 0
    ids[:, 5:] = 0
    return ids


def test_the_labels_of_masked_steps_and_more_padding_change_nothing():
    x, rng = words(), np.random.default_rng(1)
    y = rng.integers(0, 4, x.shape)
    other = np.where(x > 0, y, (y + 1) % 4)
    longer, padded = np.pad(x, [(0, 0), (0, 3)]), np.pad(y, [(0, 0), (0, 3)])
    runs = []
    for inputs, targets in ((x, y), (x, other), (longer, padded)):
        model = tagger()
        logs = [model.train_on_batch(inputs, targets) for _ in range(3)]
        logs.append(model.evaluate(inputs, targets, verbose=0))
        runs.append((logs, [w.numpy() for w in model.weights]))
    for logs, weights in runs[1:]:
        np.testing.assert_allclose(logs, runs[0][0], rtol=1e-5)
        for a, b in zip(weights, runs[0][1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_metrics_count_real_steps_by_the_weights_of_their_rows():
    model, x = tagger(), words()
    y, w = np.random.default_rng(1).integers(0, 4, x.shape), np.array([1.0, 0.0, 3.0])
    hit = (model.predict(x).argmax(-1) == y)[x > 0]
    weight = np.broadcast_to(w[:, None], x.shape)[x > 0]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["acc"])
    _, plain, weighted = model.evaluate(x, y, sample_weight=w, verbose=0)
    np.testing.assert_allclose([plain, weighted], [hit.mean(), (hit * weight).sum() / weight.sum()], rtol=1e-6)
