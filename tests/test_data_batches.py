"""Laws of batching, one-hot labels and the synthetic sets."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import data
from data import Batches, check_finite, normalize, synthetic, to_categorical
from engine.errors import ArgumentError, DataError, DTypeError, IndexRangeError, ShapeError


def noisy(batch, rng):
    return batch + rng.standard_normal(batch.shape)


def walk(batches):
    return [np.asarray(batch) for batch in batches]


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not threads()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    shuffle=st.booleans(),
    drop=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    prefetch=st.integers(0, 3),
)
def test_an_epoch_meets_every_row_once(n, batch_size, shuffle, drop, seed, prefetch):
    if drop and n < batch_size:
        return
    x, y = np.arange(n) * 10, np.arange(n)
    batches = Batches(x, y, batch_size, shuffle, seed, drop_remainder=drop, prefetch=prefetch)
    steps = list(batches)
    assert len(steps) == len(batches) == (n // batch_size if drop else -(-n // batch_size))
    sizes = [len(yb) for _, yb in steps]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1) and (sizes[-1] == batch_size or not drop)
    rows = np.concatenate([yb for _, yb in steps])
    assert len(np.unique(rows)) == len(rows) == (n - n % batch_size if drop else n)
    assert all(np.array_equal(xb, 10 * yb) for xb, yb in steps)
    if not shuffle:
        np.testing.assert_array_equal(rows, y[: len(rows)])


def test_the_order_depends_on_seed_and_epoch_only():
    x = np.arange(100)
    order = Batches(x, seed=3).order(5)
    np.testing.assert_array_equal(np.sort(order), x)
    np.testing.assert_array_equal(Batches(x * 2.0, x, batch_size=7, seed=3, prefetch=2).order(5), order)
    assert not np.array_equal(Batches(x, seed=4).order(5), order)
    assert not np.array_equal(Batches(x, seed=3).order(6), order)
    assert not np.array_equal(Batches(x, seed=5).order(3), order), "seed and epoch are not added up"
    np.testing.assert_array_equal(np.concatenate(walk(Batches(x, seed=3).epoch(5))), order)


def test_orders_are_frozen():
    """A checkpoint of today has to go on tomorrow: these numbers are part of its meaning."""
    drawn = []
    batches = Batches(np.arange(8), seed=1, transform=lambda x, rng: drawn.extend(rng.integers(0, 1000, 4)) or x)
    assert batches.order(0).tolist() == [0, 5, 4, 1, 2, 6, 3, 7]
    next(batches.epoch(0))
    assert drawn == [332, 269, 724, 992]


def test_every_place_is_equally_likely():
    counts = np.zeros((6, 6))
    batches = Batches(np.arange(6), seed=9)
    for epoch in range(3000):
        counts[np.arange(6), batches.order(epoch)] += 1
    chi2 = np.sum((counts - 500) ** 2 / 500)
    assert chi2 < 60  # 25 degrees of freedom: mean 25, deviation 7


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_run_goes_on_bit_for_bit_from_any_step(prefetch):
    x = np.linspace(0, 1, 50)
    options = {"batch_size": 8, "seed": 2, "transform": noisy}
    straight = Batches(x, **options)
    epochs = [walk(straight) for _ in range(3)]
    assert not same(epochs[0], epochs[1])
    for step in range(len(straight) + 1):
        resumed = Batches(x, prefetch=prefetch, **options)
        resumed.set_epoch(1, step)
        assert same(walk(resumed), epochs[1][step:])
        assert same(walk(resumed), epochs[2])
        assert same(walk(resumed.epoch(0)), epochs[0])


def test_every_loop_walks_the_next_epoch_even_after_a_break():
    batches = Batches(np.arange(20), batch_size=4)
    for _ in batches:
        break
    assert same(walk(batches), walk(Batches(np.arange(20), batch_size=4).epoch(1)))


def test_steps_have_random_streams_of_their_own():
    batches = Batches(np.zeros((12, 5)), batch_size=4, transform=noisy)
    drawn = [*walk(batches), *walk(batches)]
    assert len(np.unique(np.concatenate(drawn))) == 24 * 5


def test_nested_inputs_and_weights():
    x = (np.arange(10), [np.arange(10.0) * 2, np.arange(20).reshape(10, 2)])
    y = [np.arange(10) * 3, np.arange(10) * 4]
    (a, (b, c)), (d, e), w = next(iter(Batches(x, y, 4, sample_weight=list(range(10)))))
    for leaf, factor in ((b, 2), (d, 3), (e, 4), (w, 1)):
        np.testing.assert_array_equal(leaf, factor * a)
    np.testing.assert_array_equal(c, np.stack([2 * a, 2 * a + 1], 1))
    first, nothing, _ = next(iter(Batches(x[0], sample_weight=np.ones(10))))
    assert nothing is None and first.shape == (10,)
    assert next(iter(Batches([[1, 2], [3, 4], [5, 6]], shuffle=False))).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_transform_sees_the_whole_structure():
    def swap(x, rng):
        return x[1], x[0]

    b, a = next(iter(Batches((np.zeros(4), np.ones(4)), transform=swap)))
    assert np.all(b == 1) and np.all(a == 0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_is_a_copy(shuffle):
    x = np.zeros((10, 3), np.uint8)
    x.flags.writeable = False
    for batch in Batches(x, batch_size=4, shuffle=shuffle):
        assert batch.dtype == np.uint8 and not np.shares_memory(batch, x)
        batch += 1
    assert not x.any()


# --- prefetching ------------------------------------------------------------------------------------------------------


def test_prefetch_works_ahead_and_no_further():
    done = []
    loop = iter(Batches(np.arange(100), batch_size=1, prefetch=3, transform=lambda x, rng: done.append(1) or x))
    assert not threads(), "a loop that never starts costs no thread"
    next(loop)
    deadline = time.monotonic() + 5
    while len(done) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(done) == 4  # the one handed over and three ahead
    loop.close()


def test_errors_in_the_thread_arrive_in_their_turn():
    def fail_at_step_two(x, rng):
        if 2 in x:
            raise ValueError("row 2 is bad")
        return x

    seen = []
    with pytest.raises(ValueError, match="row 2 is bad"):
        for batch in Batches(np.arange(6), batch_size=1, shuffle=False, prefetch=4, transform=fail_at_step_two):
            seen.extend(batch)
    assert seen == [0, 1] and not threads()


def test_a_loop_that_breaks_off_stops_the_thread_promptly():
    def slow(x, rng):
        time.sleep(0.02)
        return x

    start = time.monotonic()
    for _ in Batches(np.arange(1000), batch_size=1, prefetch=50, transform=slow):
        break
    gc.collect()
    assert not threads() and time.monotonic() - start < 0.9  # 50 batches would take a second


# --- errors -----------------------------------------------------------------------------------------------------------

TEN = np.arange(10)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: Batches(TEN, batch_size=0), ArgumentError, "batch_size=0 must be an integer of at least 1"),
        (lambda: Batches(TEN, batch_size=-3), ArgumentError, "batch_size=-3 must be an integer of at least 1"),
        (lambda: Batches(TEN, batch_size=2.0), ArgumentError, "batch_size=2.0 must be an integer"),
        (lambda: Batches(TEN, batch_size=True), ArgumentError, "batch_size=True must be an integer"),
        (lambda: Batches(TEN, seed=-1), ArgumentError, "seed=-1 must be an integer of at least 0"),
        (lambda: Batches(TEN, prefetch=-1), ArgumentError, "prefetch=-1 must be an integer of at least 0"),
        (lambda: Batches(TEN, transform="flip"), ArgumentError, "transform='flip' cannot be called"),
        (lambda: Batches(np.zeros((0, 28, 28))), DataError, "x has 0 rows, shape (0, 28, 28)"),
        (lambda: Batches(()), DataError, "x holds no array"),
        (lambda: Batches(TEN, TEN[:9]), ShapeError, "x has 10 rows, y has 9 rows. All must have one length"),
        (lambda: Batches((TEN, TEN[1:])), ShapeError, "x[0] has 10 rows, x[1] has 9 rows"),
        (lambda: Batches(TEN, sample_weight=[1.0]), ShapeError, "x has 10 rows, sample_weight has 1 rows"),
        (lambda: Batches(TEN, sample_weight=np.ones((10, 1))), ShapeError, "sample_weight has shape (10, 1)"),
        (lambda: Batches(3.0), ShapeError, "x is a single value, shape ()"),
        (lambda: Batches(np.array([1, "a"], object)), DTypeError, "x has dtype object"),
        (
            lambda: Batches(TEN, batch_size=11, drop_remainder=True),
            ArgumentError,
            "drop_remainder=True drops all 10",
        ),
        (lambda: Batches(TEN).set_epoch(0, 2), IndexRangeError, "step=2 lies beyond the 1 steps of an epoch"),
        (lambda: Batches(TEN).set_epoch(-1), ArgumentError, "epoch=-1 must be an integer of at least 0"),
        (
            lambda: list(Batches(TEN, transform=lambda x, rng: x[1:])),
            ShapeError,
            "transform returned [9] rows for a batch of 10",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


def test_check_finite():
    x = np.zeros((4, 3), np.float32)
    check_finite(x)
    check_finite(np.array([1, 2]))
    x[1, 2], x[3, 0] = np.inf, np.nan
    with pytest.raises(DataError) as caught:
        check_finite(x, "x_train")
    expected = "x_train of shape (4, 3) holds 1 NaN and 1 infinite values, the first at x_train[1, 2] = inf."
    assert str(caught.value).startswith(expected)


# --- utils ------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 9), min_size=1), spare=st.integers(0, 3), column=st.booleans())
def test_one_hot_rows_find_their_label_back(labels, spare, column):
    y = np.array(labels)[:, None] if column else labels
    hot = to_categorical(y, max(labels) + 1 + spare)
    assert hot.shape == (len(labels), max(labels) + 1 + spare) and hot.dtype == np.float32
    np.testing.assert_array_equal(hot.argmax(1), labels)
    np.testing.assert_array_equal(np.sort(hot, 1)[:, :-1], 0)
    np.testing.assert_array_equal(hot.sum(1), 1)
    np.testing.assert_array_equal(to_categorical(y), hot[:, : max(labels) + 1])


def test_to_categorical_keeps_leading_axes_and_takes_whole_floats():
    y = np.array([[0, 2], [1, 1]])
    assert to_categorical(y).shape == (2, 2, 3) and to_categorical(1, 3).tolist() == [0, 1, 0]
    np.testing.assert_array_equal(to_categorical(y.astype(np.float64)), to_categorical(y))
    assert to_categorical(y, dtype="int8").dtype == np.int8
    assert data.utils.to_categorical is data.to_categorical


@pytest.mark.parametrize(
    "y, classes, error, text",
    [
        ([0, 3, 10], 10, IndexRangeError, "label 10 at y[2] is outside of 0..9 (num_classes=10)"),
        ([[0], [-1]], None, IndexRangeError, "label -1 at y[1] is outside of 0..0"),
        ([0, 1.5], 3, DataError, "y[1] = 1.5 is not a whole number"),
        ([0, np.nan], 3, DataError, "y[1] = nan is not a whole number"),
        (["cat"], 3, DTypeError, "y has dtype <U3; labels are integers"),
        ([], None, DataError, "y is empty, so the number of classes cannot be seen: pass num_classes="),
        ([0], 0, ArgumentError, "num_classes=0 must be at least 1"),
    ],
)
def test_to_categorical_errors(y, classes, error, text):
    with pytest.raises(error) as caught:
        to_categorical(y, classes)
    assert text in str(caught.value)


def test_normalize_gives_unit_length():
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    for order in (1, 2, np.inf):
        for axis in (-1, 0, 1):
            unit = normalize(x, axis, order)
            np.testing.assert_allclose(np.linalg.norm(unit, order, axis), 1)
            np.testing.assert_allclose(unit * np.linalg.norm(x, order, axis, keepdims=True), x)
    np.testing.assert_array_equal(normalize(np.zeros((2, 3))), 0)


# --- synthetic sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, classes", [(synthetic.blobs, 3), (synthetic.moons, 2), (synthetic.spirals, 3)])
def test_synthetic_sets(make, classes):
    x, y = make(101, seed=4)
    assert x.shape == (101, 2) and x.dtype == np.float32 and y.dtype == np.int64
    assert set(y) == set(range(classes)) and np.ptp(np.bincount(y)) <= 1
    np.testing.assert_array_equal(make(101, seed=4)[0], x)
    assert not np.array_equal(make(101, seed=5)[0], x)
    exact = make(101, noise=0.0)[0]
    spread = (make(101, noise=0.25)[0] - exact).std()
    assert 0.21 < spread < 0.29
    assert len(np.unique(exact, axis=0)) >= (classes if make is synthetic.blobs else 90)
    for wrong in ({"n": 1}, {"noise": -1.0}):
        with pytest.raises(ArgumentError):
            make(**wrong)


def test_moons_are_half_circles():
    x, y = synthetic.moons(80, noise=0.0)
    np.testing.assert_allclose(np.hypot(*x[y == 0].T), 1, rtol=1e-6)
    np.testing.assert_allclose(np.hypot(*(x[y == 1] - [1, 0.5]).T), 1, rtol=1e-6)
    assert x[y == 0][:, 1].min() > -1e-6 and x[y == 1][:, 1].max() < 0.5 + 1e-6


def test_spirals_are_turned_copies_of_one_arm():
    x, y = synthetic.spirals(90, classes=3, noise=0.0)
    turn = np.array([[np.cos(2 * np.pi / 3), np.sin(2 * np.pi / 3)], [-np.sin(2 * np.pi / 3), np.cos(2 * np.pi / 3)]])
    np.testing.assert_allclose(x[y == 0] @ turn, x[y == 1], atol=1e-6)
