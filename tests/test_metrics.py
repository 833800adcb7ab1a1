"""Laws of the metrics: equal to scikit-learn or to a plain loop, however the rows are cut into batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn import metrics as reference

from engine.errors import ArgumentError, DataError, IndexRangeError, ShapeError
from models import metrics

SEVERAL = st.integers(2, 5)


@st.composite
def classified(draw, classes=SEVERAL):
    """(labels (N,), probabilities (N,C), weights (N,) or None, cuts), with ties among the probabilities."""
    n, c = draw(st.integers(1, 40)), draw(classes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.integers(0, c, n)
    scores = np.round(rng.random((n, c)), draw(st.sampled_from([1, 6])))
    weights = rng.random(n) + 0.1 if draw(st.booleans()) else None
    cuts = sorted(rng.integers(0, n + 1, draw(st.integers(0, 3))))
    return labels, scores.astype(np.float32), weights, cuts


def close(number):
    return pytest.approx(number, rel=1e-9, abs=1e-12)


def over_batches(metric, y_true, y_pred, weights, cuts):
    parts = zip(
        np.split(y_true, cuts), np.split(y_pred, cuts),
        [None] * (len(cuts) + 1) if weights is None else np.split(weights, cuts), strict=True,
    )  # fmt: skip
    for t, p, w in parts:
        metric.update(t, p, w)
    return metric.result()


def one_hot(labels, c):
    return np.eye(c, dtype=np.float32)[labels]


@given(classified())
def test_accuracies_are_how_often(case):
    labels, scores, weights, cuts = case
    c = scores.shape[1]
    want = np.average(scores.argmax(1) == labels, weights=weights)
    assert over_batches(metrics.SparseCategoricalAccuracy(), labels, scores, weights, cuts) == close(want)
    assert over_batches(metrics.CategoricalAccuracy(), one_hot(labels, c), scores, weights, cuts) == close(want)
    assert over_batches(metrics.Accuracy(), labels, scores.argmax(1), weights, cuts) == close(want)
    right = (scores[:, 0] > 0.5) == (labels == 0)
    want = np.average(right, weights=weights)
    assert over_batches(metrics.BinaryAccuracy(), labels == 0, scores[:, :1], weights, cuts) == close(want)


@given(classified(), st.integers(1, 4))
def test_top_k_is_a_plain_loop(case, k):
    labels, scores, weights, cuts = case
    hits = []
    for label, row in zip(labels, scores, strict=True):
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        hits.append(label in best)
    want = np.average(hits, weights=weights)
    got = over_batches(metrics.SparseTopKCategoricalAccuracy(k), labels, scores, weights, cuts)
    assert got == close(want)
    hot = one_hot(labels, scores.shape[1])
    assert over_batches(metrics.TopKCategoricalAccuracy(k), hot, scores, weights, cuts) == close(want)


@given(classified(), st.sampled_from(["micro", "macro", "weighted", None]), st.sampled_from([None, 0.5, 0.3]))
def test_precision_recall_f1_are_scikit_learns(case, average, threshold):
    labels, scores, weights, cuts = case
    c = scores.shape[1]
    true = one_hot(labels, c).astype(int)
    predicted = np.eye(c, dtype=int)[scores.argmax(1)] if threshold is None else (scores > threshold).astype(int)
    if c == 2:  # two columns are two classes here; scikit-learn, too, takes an indicator matrix so
        assert true.shape == predicted.shape
    for ours, theirs in [
        (metrics.Precision(threshold, average=average), reference.precision_score),
        (metrics.Recall(threshold, average=average), reference.recall_score),
        (metrics.F1Score(average, threshold), reference.f1_score),
    ]:
        want = theirs(true, predicted, average=average, sample_weight=weights, zero_division=0)
        for y_true in (labels, true):
            ours.reset()
            np.testing.assert_allclose(over_batches(ours, y_true, scores, weights, cuts), want, rtol=1e-12)


@given(classified(classes=st.just(2)))
def test_two_classes_count_the_positive_one(case):
    labels, scores, weights, cuts = case
    p = scores[:, 0]
    predicted = p > 0.5
    for ours, theirs in [
        (metrics.Precision(), reference.precision_score),
        (metrics.Recall(), reference.recall_score),
        (metrics.F1Score(), reference.f1_score),
    ]:
        want = theirs(labels, predicted, sample_weight=weights, zero_division=0)
        assert over_batches(ours, labels, p, weights, cuts) == close(want)
        ours.reset()
        assert over_batches(ours, labels[:, None], p[:, None], weights, cuts) == close(want)


@given(classified())
def test_confusion_matrix_is_scikit_learns(case):
    labels, scores, weights, cuts = case
    c = scores.shape[1]
    want = reference.confusion_matrix(labels, scores.argmax(1), labels=range(c), sample_weight=weights)
    np.testing.assert_allclose(over_batches(metrics.ConfusionMatrix(), labels, scores, weights, cuts), want, rtol=1e-12)
    hot = one_hot(labels, c)
    np.testing.assert_allclose(over_batches(metrics.ConfusionMatrix(c), hot, scores, weights, cuts), want, rtol=1e-12)


@given(classified(classes=st.just(2)))
def test_areas_are_scikit_learns(case):
    labels, scores, weights, cuts = case
    roc = over_batches(metrics.AUC(), labels, scores[:, 0], weights, cuts)
    pr = over_batches(metrics.AUC("PR"), labels, scores[:, :1], weights, cuts)
    if 0 < labels.sum() < len(labels):
        assert roc == close(reference.roc_auc_score(labels, scores[:, 0], sample_weight=weights))
        assert pr == close(reference.average_precision_score(labels, scores[:, 0], sample_weight=weights))
    else:
        assert math.isnan(roc) and math.isnan(pr)


def test_area_is_a_probability():
    rng = np.random.default_rng(3)
    s, y = np.round(rng.random(60), 1), rng.integers(0, 2, 60)
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]
    m = metrics.AUC()
    m.update(y, s)
    assert m.result() == pytest.approx(np.mean(pairs), rel=1e-12)


@given(classified())
def test_errors_are_scikit_learns(case):
    _, scores, weights, cuts = case
    true, predicted = scores[:, :-1].astype(float), scores[:, 1:].astype(float)
    squared = reference.mean_squared_error(true, predicted, sample_weight=weights)
    absolute = reference.mean_absolute_error(true, predicted, sample_weight=weights)
    assert over_batches(metrics.MeanSquaredError(), true, predicted, weights, cuts) == close(squared)
    assert over_batches(metrics.MeanAbsoluteError(), true, predicted, weights, cuts) == close(absolute)
    root = over_batches(metrics.RootMeanSquaredError(), true, predicted, weights, cuts)
    assert root == pytest.approx(math.sqrt(squared), abs=1e-7)


def test_a_function_is_averaged():
    m = metrics.Function(lambda t, p: abs(t - p).max(-1), name="worst")
    m.update(np.zeros((2, 3)), np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert (m.name, m.result()) == ("worst", 4.5)


@pytest.mark.parametrize("make", sorted(set(metrics.NAMES.values()), key=lambda m: m.__name__))
def test_reset_forgets_and_nothing_gives_nan(make):
    metric = make()
    fresh = metric.result()
    y = np.array([[0.0, 1.0], [1.0, 0.0]])
    metric.update(y if "Sparse" not in make.__name__ else np.array([0, 1]), np.array([[0.2, 0.8], [0.3, 0.7]]))
    assert not np.array_equal(metric.result(), fresh, equal_nan=True)
    metric.reset()
    assert np.array_equal(metric.result(), fresh, equal_nan=True)


@pytest.mark.parametrize(
    ("target", "output", "options", "kind"),
    [
        ((8, 1), (8, 1), {}, metrics.BinaryAccuracy),
        ((8,), (8,), {}, metrics.BinaryAccuracy),
        ((8, 10), (8, 10), {}, metrics.CategoricalAccuracy),
        ((8,), (8, 10), {}, metrics.SparseCategoricalAccuracy),
        ((8, 1), (8, 10), {}, metrics.SparseCategoricalAccuracy),
        ((8, 5), (8, 5, 10), {}, metrics.SparseCategoricalAccuracy),
        ((8, 3), (8, 3), {"binary": True}, metrics.BinaryAccuracy),
    ],
)
def test_accuracy_picks_its_kind(target, output, options, kind):
    metric = metrics.get("accuracy", target_shape=target, output_shape=output, **options)
    assert type(metric) is kind and metric.name == "accuracy"


def test_accuracy_of_logits_has_its_threshold_at_zero():
    metric = metrics.get("accuracy", target_shape=(4, 1), output_shape=(4, 1), binary=True, logits=True)
    metric.update(np.array([1, 1, 0, 0]), np.array([[0.2], [-0.2], [0.2], [-0.2]]))
    assert metric.result() == 0.5
    assert metric.threshold == 0.0


@pytest.mark.parametrize(("name", "kind"), metrics.NAMES.items())
def test_every_name_makes_its_metric(name, kind):
    metric = metrics.get(name, target_shape=(2, 2), output_shape=(2, 2))
    assert type(metric) is kind and metric.name == name


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: metrics.get("acc.", target_shape=(), output_shape=()), ArgumentError, "'acc.', which is none of"),
        (lambda: metrics.get(3, target_shape=(), output_shape=()), ArgumentError, "metrics takes names"),
        (lambda: metrics.AUC("roc"), ArgumentError, 'must be "ROC" or "PR"'),
        (lambda: metrics.Precision(average="mean"), ArgumentError, "average='mean'"),
        (lambda: metrics.SparseTopKCategoricalAccuracy(0), ArgumentError, "k=0 must be at least 1"),
        (lambda: metrics.Accuracy().update(np.zeros(2), np.zeros(3)), ShapeError, r"y_true has shape \(2,\).*\(3,\)"),
        (
            lambda: metrics.CategoricalAccuracy().update(np.zeros(2), np.zeros((2, 3))),
            ShapeError,
            "for class numbers use the sparse metric",
        ),
        (
            lambda: metrics.SparseCategoricalAccuracy().update(np.zeros((2, 3)), np.zeros((2, 3))),
            ShapeError,
            "without 'sparse'",
        ),
        (
            lambda: metrics.SparseCategoricalAccuracy().update(np.array([0, 3]), np.zeros((2, 3))),
            IndexRangeError,
            r"label 3 is outside of 0\.\.2",
        ),
        (
            lambda: metrics.ConfusionMatrix().update(np.array([0, 1.5]), np.zeros((2, 3))),
            DataError,
            r"holds 1\.5, .* whole",
        ),
        (
            lambda: metrics.BinaryAccuracy().update(np.zeros(3), np.zeros(3), np.zeros(2)),
            ShapeError,
            r"sample_weight has shape \(2,\)",
        ),
    ],
)
def test_errors_name_the_argument_and_the_remedy(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_keras_words_are_the_same():
    m = metrics.BinaryAccuracy()
    m.update_state([1, 0], [0.9, 0.8])
    assert m.result() == 0.5
    m.reset_state()
    assert math.isnan(m.result())
