"""Losses: Keras' numbers and gradients, weights, and stability where probabilities round to 0 or 1."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from engine import config, current_device, get_backend, tensor
from engine.errors import ArgumentError, ChainRuleError, DTypeError, IndexRangeError, ShapeError
from engine.random import Generator
from layers import Activation, Dense, Softmax, activations, losses, regularizers

sys.path.insert(0, str(Path(__file__).parent / "vectors"))
import reader  # noqa: E402

CLASSES = {
    "mse": losses.MeanSquaredError,
    "mae": losses.MeanAbsoluteError,
    "huber": losses.Huber,
    "hinge": losses.Hinge,
    "binary_cross_entropy": losses.BinaryCrossentropy,
    "binary_cross_entropy_with_logits": losses.BinaryCrossentropy,
    "categorical_crossentropy": losses.CategoricalCrossentropy,
    "cross_entropy": losses.CategoricalCrossentropy,
    "kl_div": losses.KLDivergence,
}
BY_CLASS = ("categorical_crossentropy", "cross_entropy", "kl_div")  # one loss a sample, in our ops too


def is_ours(v: reader.Vector) -> bool:
    """Keras divides probabilities by their sum, and has one loss a sample where some ops have one an element."""
    whole = v.params.get("reduction") == "mean" or (v.op in BY_CLASS and v.params.get("reduction") == "none")
    return v.op in CLASSES and whole and v.params.get("normalise", True)


RECORDS = [v for family in ("keras", "loss") for v in reader.load(family) if is_ours(v)]


def draw(*shape: int, at: str = "x") -> np.ndarray:
    return Generator(17).at(at).normal(shape, np.float64)


@pytest.mark.parametrize("v", RECORDS, ids=str)
def test_equals_the_record_and_its_gradient(v: reader.Vector) -> None:
    y_true, y_pred = v.inputs.values()
    params = {k: x for k, x in v.params.items() if k not in ("reduction", "normalise")}
    cls = CLASSES[v.op]
    if y_true.dtype.kind == "i":
        cls = losses.SparseCategoricalCrossentropy
    if "logits" in v.inputs:
        params["from_logits"] = True
    loss = cls(reduction="sum_over_batch_size" if v.params["reduction"] == "mean" else None, **params)
    x = tensor(y_pred, requires_grad=True)
    result = loss(y_true, x)
    np.testing.assert_allclose(result.numpy(), v.output, rtol=1e-6)  # Keras clips at 1e-7
    result.backward(v.cotangent)
    np.testing.assert_allclose(x.grad.numpy(), v.gradients[1], rtol=1e-6, atol=1e-9)


def test_every_class_has_a_record() -> None:
    assert {CLASSES[v.op] for v in RECORDS} == set(CLASSES.values())


# ------------------------------------------------------------------------------------------------ fusion
def test_cross_entropy_after_a_softmax_starts_from_the_logits() -> None:
    """exp(-200) is 0 in float32: from probabilities the loss would be -ln(1e-7) = 16.1, and the gradient 0."""
    z = tensor(np.array([[200.0, 0.0, -200.0], [0.0, 1.0, 2.0]], np.float32), requires_grad=True)
    for make in (Softmax(), Activation("softmax"), Softmax(axis=1)):
        z.grad = None
        p = make(z)
        loss = losses.get("sparse_categorical_crossentropy")([2, 0], p)
        loss.backward()
        assert loss.item() == pytest.approx((400 + 2.4076059) / 2, rel=1e-6)
        np.testing.assert_allclose(z.grad.numpy()[0], [0.5, 0, -0.5], atol=1e-7)


def test_binary_cross_entropy_after_a_sigmoid_starts_from_the_logits() -> None:
    z = tensor(np.array([[100.0], [-100.0]], np.float32), requires_grad=True)
    loss = losses.BinaryCrossentropy()([0.0, 1.0], Activation("sigmoid")(z))
    loss.backward()
    assert loss.item() == 100.0
    np.testing.assert_allclose(z.grad.numpy(), [[0.5], [-0.5]])


def test_what_is_done_to_probabilities_counts() -> None:
    p = Softmax()(tensor(draw(4, 3)))
    mixed = p * 0.9 + 0.1 / 3
    expected = -np.log(mixed.numpy()[range(4), [0, 1, 2, 0]]).mean()
    assert losses.SparseCategoricalCrossentropy()([0, 1, 2, 0], mixed).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_fused_and_unfused_agree_where_both_are_exact(smoothing: float) -> None:
    z, q = draw(5, 4), np.eye(4)[[0, 3, 1, 1, 2]]
    results = []
    for seen in (lambda p: p, lambda p: p + 0.0):  # adding 0 makes it a plain tensor
        x = tensor(z, requires_grad=True)
        loss = losses.CategoricalCrossentropy(label_smoothing=smoothing)(q, seen(Softmax()(x)))
        loss.backward()
        results.append((loss.item(), x.grad.numpy()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


def test_one_hot_and_sparse_labels_are_the_same() -> None:
    z, labels = draw(6, 5), [0, 4, 2, 2, 1, 3]
    for logits in (True, False):
        x = tensor(z) if logits else Softmax()(tensor(z)) + 0.0  # adding 0 makes it a plain tensor
        for smoothing in (0.0, 0.2):
            dense = losses.CategoricalCrossentropy(logits, smoothing)(np.eye(5)[labels], x)
            for form in (labels, np.array(labels, np.float32), np.array(labels)[:, None]):
                sparse = losses.SparseCategoricalCrossentropy(logits, smoothing)(form, x)
                assert sparse.item() == pytest.approx(dense.item(), rel=1e-12)


# ------------------------------------------------------------------------------------------------ weights
@pytest.mark.parametrize("name", ["mse", "mae", "huber", "binary_crossentropy", "categorical_crossentropy", "kld"])
def test_a_weight_counts_a_sample_so_many_times(name: str) -> None:
    p = np.abs(draw(4, 3)) + 0.1
    p /= p.sum(-1, keepdims=True)
    q = np.roll(p, 1, axis=0)
    each = losses.get({"class_name": type(losses.get(name)).__name__, "config": {"reduction": None}})(q, p).numpy()
    w = np.array([2.0, 0.0, 1.0, 3.0])
    assert losses.get(name)(q, p, sample_weight=w).item() == pytest.approx((w * each).sum() / 4, rel=1e-12)
    assert losses.get(name)(q, p, sample_weight=w[:, None]).item() == pytest.approx((w * each).sum() / 4, rel=1e-12)


def test_probabilities_that_do_not_sum_to_one_are_divided_by_their_sum() -> None:
    p = np.array([[2.0, 2.0], [0.1, 0.3]])
    expected = -np.log([0.5, 0.75])
    np.testing.assert_allclose(losses.SparseCategoricalCrossentropy(reduction=None)([1, 1], p).numpy(), expected)
    one_hot = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(losses.CategoricalCrossentropy(reduction=None)(one_hot, p).numpy(), expected)


def test_probabilities_or_logits_written_to_no_longer_stand_for_each_other() -> None:
    z = tensor(np.array([[3.0, 0.0]]))
    p, loss = activations.softmax(z), losses.CategoricalCrossentropy()
    p[...] = 0.5
    np.testing.assert_allclose(loss([[0.0, 1.0]], p).item(), np.log(2))
    p = activations.softmax(z)
    before = loss([[0.0, 1.0]], p).item()
    z[...] = 0.0
    np.testing.assert_allclose(loss([[0.0, 1.0]], p).item(), before)


def test_a_column_and_a_row_of_targets_are_the_same() -> None:
    """(N,) against (N,1) must not broadcast to (N,N)."""
    y, p = draw(5), draw(5, at="p")
    expected = np.mean((y - p) ** 2)
    for a, b in ((y, p), (y[:, None], p), (y, p[:, None])):
        assert losses.MeanSquaredError()(a, b).item() == pytest.approx(expected, rel=1e-12)


def test_hinge_takes_zero_and_one_for_signs() -> None:
    p = draw(6)
    signs = np.where(draw(6, at="s") > 0, 1.0, -1.0)
    assert losses.Hinge()((signs + 1) / 2, p).item() == losses.Hinge()(signs, p).item()


# ------------------------------------------------------------------------------------------------ regularizers, words
def test_penalties_and_their_gradients() -> None:
    w = draw(4, 3)
    for penalty, value, gradient in (
        (regularizers.L1(0.1), 0.1 * np.abs(w).sum(), 0.1 * np.sign(w)),
        (regularizers.get("l2"), 0.01 * (w**2).sum(), 0.02 * w),
        (regularizers.L1L2(0.1, 0.2), 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum(), 0.1 * np.sign(w) + 0.4 * w),
    ):
        x = tensor(w, requires_grad=True)
        y = penalty(x)
        y.backward(1.7)
        assert y.item() == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(x.grad.numpy(), 1.7 * gradient, rtol=1e-12)


def test_a_layer_gives_its_penalties_to_the_loss() -> None:
    layer = Dense(3, kernel_regularizer=regularizers.L2(0.5), bias_regularizer="l1")
    layer(draw(2, 4))
    layer.bias.assign(np.array([1.0, -2.0, 0.0]))
    expected = 0.5 * (layer.kernel.numpy() ** 2).sum() + 0.01 * 3
    assert layer.regularization_loss().item() == pytest.approx(expected, rel=1e-6)
    assert Dense(3).regularization_loss() is None


@pytest.mark.parametrize("word", ["mse", "mean_squared_error", "MeanSquaredError", losses.MeanSquaredError])
def test_words(word) -> None:
    assert isinstance(losses.get(word), losses.MeanSquaredError)


def test_config_makes_the_same_loss() -> None:
    loss = losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1, reduction="sum")
    again = losses.get(config.serialize(loss))
    assert again.get_config() == loss.get_config() and again.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: losses.get("msee"), ArgumentError, r"there is no loss 'msee'; there are .*mean_squared_error"),
        (lambda: losses.get("hubber"), ArgumentError, r"there is no loss 'hubber'; .*; did you mean huber\?"),
        (lambda: losses.Huber(reduction="avg"), ArgumentError, r"Huber: reduction is .* 'sum' or None, got 'avg'"),
        (
            lambda: losses.get("mse")(np.zeros((4, 2)), np.zeros((4, 3))),
            ShapeError,
            r"mean_squared_error: y_true has shape \(4, 2\), y_pred \(4, 3\); they must be equal: reshape one of them",
        ),
        (
            lambda: losses.get("categorical_crossentropy")(np.zeros(4), np.ones((4, 3)) / 3),
            ShapeError,
            r"use sparse_categorical_crossentropy if y_true holds class numbers",
        ),
        (
            lambda: losses.get("sparse_categorical_crossentropy")(np.eye(3), np.ones((3, 3)) / 3),
            ShapeError,
            r"needs one class number a row, \(3,\); for one-hot rows use categorical_crossentropy",
        ),
        (
            lambda: losses.get("sparse_categorical_crossentropy")([0.5], np.ones((1, 3)) / 3),
            DTypeError,
            r"y_true holds class numbers 0, 1, 2 ..., got fractions",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy(from_logits=True)([0, 3], np.zeros((2, 3))),
            IndexRangeError,
            r"label 3 at position 1 is out of range for 3 classes",
        ),
        (
            lambda: losses.get("mse")(np.zeros((4, 2)), np.zeros((4, 2)), sample_weight=np.ones(3)),
            ShapeError,
            r"sample_weight has shape \(3,\), the losses \(4,\); give one weight for each sample",
        ),
        (lambda: losses.BinaryCrossentropy(label_smoothing=2), ArgumentError, r"label_smoothing is a share .* got 2"),
        (lambda: regularizers.L2(-1), ArgumentError, r"L2: l2 is a penalty, 0 or more, got -1"),
    ],
)
def test_errors(bad, error, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        bad()
        get_backend(current_device()).synchronize()  # a GPU says so late
    assert isinstance(caught.value, ChainRuleError)
