"""Laws of x[index] and x[index] = v: NumPy's results, mirror images as gradients, and writing that is never silent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import engine
from engine import DTypeError, GradientError, IndexRangeError, ShapeError, Tensor, no_grad, tensor
from engine.ops import (
    add_at,
    argsort,
    getitem,
    index_add,
    one_hot,
    scatter_add,
    set_at,
    sort,
    take,
    take_along_axis,
    topk,
    unique_counts,
)

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)


@st.composite
def indexed(draw):
    """A shape and an index for it: slices, integers, None, Ellipsis, masks, integer arrays, and all of them mixed."""
    shape = draw(SHAPES)
    kind = draw(st.sampled_from(["basic", "mask", "mixed"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True, max_dims=6))
    if kind == "mask":
        k = draw(st.integers(0, len(shape)))
        mask = draw(hnp.arrays(bool, shape[:k]))
        return shape, draw(st.sampled_from([mask, (mask, ...), (None, mask), (..., mask) if k == len(shape) else mask]))
    common = draw(st.sampled_from([(), (1,), (3,), (2, 3), (0,)]))
    entries = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        choices = [st.slices(n), st.just(slice(None))]
        if n:
            choices += [st.integers(-n, n - 1), hnp.arrays(np.int64, common, elements=st.integers(-n, n - 1))]
        entries.append(draw(st.one_of(choices)))
    for extra in draw(st.lists(st.sampled_from([None, ...]), max_size=2, unique=True)):
        entries.insert(draw(st.integers(0, len(entries))) if extra is None else len(entries), extra)
    return shape, tuple(entries)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def as_tensors(index):
    """The same index with Tensors for arrays."""
    if isinstance(index, tuple):
        return tuple(as_tensors(i) for i in index)
    return Tensor(index) if isinstance(index, np.ndarray) else index


def as_lists(index):
    """The same index with lists for integer arrays (an empty list is one of integers)."""
    if isinstance(index, tuple):
        return tuple(as_lists(i) for i in index)
    return index.tolist() if isinstance(index, np.ndarray) and index.ndim and index.dtype != bool else index


# ------------------------------------------------------------------------------------------------ reading
@given(indexed())
def test_reading_is_numpys_whatever_the_index_is_made_of(case):
    shape, index = case
    x = numbers(shape)
    want = x[index]
    t = Tensor(x)
    for same in (index, as_tensors(index)):
        got = t[same]
        assert got.shape == want.shape
        np.testing.assert_array_equal(got.numpy(), want)


def test_lists_are_integer_arrays_and_masks():
    x = numbers((3, 4))
    for index in ([2, 0], [[0, 1], [2, 2]], ([0, 1], [3, 3]), (slice(None), [1, -1]), [True, False, True], []):
        want = x[np.array(index, int) if index == [] else index]
        np.testing.assert_array_equal(Tensor(x)[index].numpy(), want, strict=True)
    np.testing.assert_array_equal(Tensor(x)[[Tensor(np.array(2)), 0]].numpy(), x[[2, 0]])
    np.testing.assert_array_equal(Tensor(x)[Tensor(np.array(1)) :].numpy(), x[1:])


@given(indexed())
def test_the_gradient_of_reading_adds_where_it_was_read(case):
    shape, index = case
    x = Tensor(numbers(shape), True)
    y = x[index]
    g = numbers(y.shape, 1)
    want = np.zeros(shape)
    np.add.at(want, index, g)
    got = engine.grad(y, x, g)
    assert got.shape == shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-15, atol=1e-15)


@given(indexed())
def test_reading_and_adding_are_adjoint(case):
    """⟨x[index], v⟩ = ⟨x, add_at(0, v, index)⟩."""
    shape, index = case
    x = numbers(shape)
    read = getitem(x, index=index).numpy()
    v = numbers(read.shape, 1)
    added = add_at(np.zeros(shape), v, index=index).numpy()
    assert np.isclose((read * v).sum(), (x * added).sum(), rtol=1e-12, atol=1e-12)


def test_slices_are_views_and_arrays_are_copies():
    t = tensor(np.arange(12.0).reshape(3, 4))
    row, picked, single = t[1], t[[1]], t[1, 2]
    with no_grad():
        t[1] = -1.0
    np.testing.assert_array_equal(row.numpy(), np.full(4, -1))
    np.testing.assert_array_equal(picked.numpy(), [[4, 5, 6, 7]])
    assert single.item() == 6  # a single element is a copy, as NumPy's scalar is


def test_iteration_and_length():
    t = tensor(np.arange(6.0).reshape(3, 2))
    assert len(t) == 3
    assert [r.tolist() for r in t] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ShapeError, match="no axes can't be iterated over"):
        iter(tensor(1.0))


def test_an_index_changed_after_reading_does_not_change_the_gradient():
    x, index = Tensor(np.arange(4.0), True), tensor([0, 1])
    y = x[index] * tensor(np.array([2.0, 3.0]))
    index[0] = 3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 3, 0, 0])


# ------------------------------------------------------------------------------------------------ set_at
@given(indexed())
def test_set_at_is_numpys_assignment_on_a_copy(case):
    shape, index = case
    x = numbers(shape)
    v = numbers(x[index].shape, 1)
    want = x.copy()
    want[index] = v
    np.testing.assert_array_equal(set_at(x, v, index=index).numpy(), want, strict=True)
    np.testing.assert_array_equal(x, numbers(shape))


@given(indexed())
def test_the_gradients_of_set_at_split_the_cotangent(case):
    """What was written gets it at `value`, what stayed at `x`; a value overwritten by a later one gets none."""
    shape, index = case
    x = Tensor(numbers(shape), True)
    v = Tensor(numbers(x.numpy()[index].shape, 1), True)
    y = set_at(x, v, index=index)
    g = numbers(y.shape, 2)
    gx, gv = engine.grad(y, [x, v], g)
    want_x = g.copy()
    want_x[index] = 0
    np.testing.assert_array_equal(gx.numpy(), want_x)
    # every written element's cotangent arrives exactly once
    assert np.isclose(gv.numpy().sum(), (g - want_x).sum(), rtol=1e-12, atol=1e-12)
    back = np.zeros(shape)
    np.add.at(back, index, gv.numpy())
    np.testing.assert_array_equal(back, g - want_x)


def test_of_an_element_written_twice_only_the_last_value_counts():
    v = Tensor(np.array([1.0, 2.0, 3.0]), True)
    y = set_at(np.zeros(3), v, index=[1, 0, 1])
    np.testing.assert_array_equal(y.numpy(), [2, 3, 0])
    np.testing.assert_array_equal(engine.grad(y, v, np.array([5.0, 7.0, 11.0])).numpy(), [0, 5, 7])


# ------------------------------------------------------------------------------------------------ t[index] = v
@given(indexed(), st.booleans())
def test_assignment_changes_the_tensor_in_place(case, spread):
    shape, index = case
    t = tensor(numbers(shape))
    data = t.data
    v = np.float64(3.5) if spread else numbers(t.numpy()[index].shape, 1)
    want = numbers(shape)
    want[index] = v
    t[index] = v
    assert t.data is data
    np.testing.assert_array_equal(t.numpy(), want)


@given(indexed())
def test_assignment_is_recorded(case):
    """t = x·1; t[index] = v is set_at(x, v): the same value, the same gradients."""
    shape, index = case
    x = Tensor(numbers(shape), True)
    v = Tensor(numbers(x.numpy()[index].shape, 1), True)
    t = x * 1.0
    t[index] = v
    want = set_at(x, v, index=index)
    g = numbers(shape, 2)
    np.testing.assert_array_equal(t.numpy(), want.numpy())
    for a, b in zip(engine.grad(t, [x, v], g), engine.grad(want, [x, v], g), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_loop_of_assignments_is_differentiable():
    """y_t = y_{t-1} · x_t, written element by element, is the running product."""
    x = Tensor(np.array([2.0, 3.0, 0.5, 4.0]), True)
    y = Tensor(np.zeros(4))
    y[0] = x[0]
    for t in range(1, 4):
        y[t] = y[t - 1] * x[t]
    g = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(y.numpy(), np.cumprod(x.numpy()))
    want = engine.grad(engine.ops.cumulative_prod(x), x, g)
    np.testing.assert_allclose(engine.grad(y, x, g).numpy(), want.numpy(), rtol=1e-14)


def test_a_value_saved_before_the_change_is_noticed():
    x = Tensor(np.array([1.0, 2.0]), True)
    t = x * 3.0
    y = (t * t).sum()
    t[0] = 5.0
    with pytest.raises(GradientError, match=r"'multiply' needs a value of shape \(2,\) .* changed in place .*clone"):
        y.backward()
    t = x * 3.0
    t[0] = 5.0
    (t * t).sum().backward()  # saved after the change
    np.testing.assert_array_equal(x.grad.numpy(), [0, 2 * 6 * 3])


def test_a_change_through_a_view_is_noticed_too():
    x = Tensor(np.arange(4.0), True)
    t = Tensor(np.arange(4.0))
    y = (x * t).sum()
    with no_grad():
        t[1:][0] = 9.0
    assert t.numpy()[1] == 9
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()


def test_an_operand_that_is_not_saved_may_change():
    x = Tensor(np.arange(3.0), True)
    t = Tensor(np.ones(3))
    y = (x + t).sum()
    t[0] = 7.0
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.ones(3))


def test_a_leaf_is_written_only_under_no_grad():
    x = Tensor(np.zeros(3), True)
    with pytest.raises(GradientError, match=r"leaf that requires a gradient; do it under no_grad\(\)"):
        x[0] = 1.0
    with no_grad():
        x[0] = 1.0
    np.testing.assert_array_equal(x.numpy(), [1, 0, 0])
    assert x.requires_grad
    assert x.is_leaf


def test_views_are_not_written_while_recording():
    x = Tensor(np.zeros((2, 3)), True)
    t = x * 1.0
    row = t[0]
    with pytest.raises(GradientError, match="on a view, or on a tensor with live views.*where.*scatter_add"):
        t[0] = 1.0
    with pytest.raises(GradientError, match="on a view"):
        row[0] = 1.0
    del row
    t[0] = 1.0  # nobody looks any more
    np.testing.assert_array_equal(t.numpy(), [[1, 1, 1], [0, 0, 0]])


def test_writing_to_what_can_not_be_written_makes_a_copy_first():
    a = np.zeros(3)
    a.flags.writeable = False
    t = engine.asarray(a)
    t[0] = 1.0
    np.testing.assert_array_equal(t.numpy(), [1, 0, 0])
    np.testing.assert_array_equal(a, np.zeros(3))


@pytest.mark.parametrize("recorded", [False, True])
def test_a_failed_assignment_changes_nothing(recorded):
    t = Tensor(np.arange(3.0), True) * 1.0 if recorded else Tensor(np.arange(3.0))
    node = t.node
    for index, value, error in [(5, 1.0, IndexRangeError), (slice(2), np.zeros(3), ShapeError), (1.5, 1.0, DTypeError)]:
        with pytest.raises(error):
            t[index] = value
    np.testing.assert_array_equal(t.numpy(), np.arange(3.0))
    assert t.node is node
    assert t.storage.version == 0


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexRangeError, "index 3 is out of range for axis 0 of length 2; use -2 to 1"),
        ((0, -5), IndexRangeError, "index -5 is out of range for axis 1 of length 4; use -4 to 3"),
        ((..., 4), IndexRangeError, "index 4 is out of range for axis 1 of length 4"),
        ((None, 0, 4), IndexRangeError, "index 4 is out of range for axis 1 of length 4"),
        (([0, 1, 2],), IndexRangeError, r"index 2 \(at \(2,\) of the indices\) is out of range for axis 0 of length 2"),
        ((0, 0, 0), IndexRangeError, r"3 indices for 2 axes; x has shape \(2, 4\)"),
        (
            np.zeros((4, 2), bool),
            ShapeError,
            r"a mask of shape \(4, 2\) for axes of lengths \(2, 4\); they must be equal",
        ),
        (([0, 1], [0, 1, 2]), ShapeError, r"index arrays of shapes \(2,\), \(3,\) do not broadcast"),
        (1.0, DTypeError, "1.0 can't be an index; use integers, slices"),
        (np.array([0.0]), DTypeError, "an array of float64 can't be an index"),
        ("a", DTypeError, "'a' can't be an index"),
        ([[0], [0, 1]], ShapeError, r"the lists in \[\[0\], \[0, 1\]\] differ in length, so they make no array"),
        ([0, [0, 1]], ShapeError, r"the lists in \[0, \[0, 1\]\] differ in length"),
        ((..., 0, ...), engine.ArgumentError, "only one Ellipsis"),
        (slice(None, None, 0), engine.ArgumentError, "a slice can't step by 0"),
    ],
)
def test_a_bad_index_says_where_and_what_is_allowed(index, error, message):
    t = tensor(np.zeros((2, 4)))
    with pytest.raises(error, match=message):
        t[index]
    with pytest.raises(error, match=message):
        t[index] = 0.0


def test_values_that_do_not_fit_are_named():
    t = tensor(np.zeros((2, 4)))
    with pytest.raises(ShapeError, match=r"can't write values of shape \(3,\) into \(2, 4\)"):
        t[0] = np.zeros(3)
    with pytest.raises(ShapeError, match=r"add_at: values of shape \(3,\) for x\[index\] of shape \(4,\)"):
        add_at(t, np.zeros(3), index=0)


# ------------------------------------------------------------------------------------------------ along an axis
@st.composite
def rows(draw):
    """x, an axis, and an index for every element along it."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[axis]
    sides = list(shape)
    sides[axis] = draw(st.integers(0, 5))
    return numbers(shape), axis, draw(hnp.arrays(np.int64, sides, elements=st.integers(-n, n - 1)))


@given(rows())
def test_take_along_axis_and_scatter_add_are_adjoint(case):
    x, axis, indices = case
    v = numbers(indices.shape, 1)
    read = take_along_axis(x, indices, axis=axis).numpy()
    added = scatter_add(np.zeros(x.shape), indices, v, axis=axis).numpy()
    assert np.isclose((read * v).sum(), (x * added).sum(), rtol=1e-12, atol=1e-12)


@given(rows())
def test_take_and_index_add_are_adjoint(case):
    x, axis, indices = case
    flat = indices.ravel()[:5]
    read = take(x, flat, axis=axis).numpy()
    v = numbers(read.shape, 1)
    added = index_add(np.zeros(x.shape), flat, v, axis=axis).numpy()
    assert np.isclose((read * v).sum(), (x * added).sum(), rtol=1e-12, atol=1e-12)


@given(rows(), st.booleans())
def test_sort_argsort_and_topk_agree(case, descending):
    x, axis, _ = case
    x = np.round(x)  # with ties
    order = argsort(x, axis=axis, descending=descending)
    ordered = sort(x, axis=axis, descending=descending)
    np.testing.assert_array_equal(take_along_axis(x, order, axis=axis).numpy(), ordered.numpy())
    k = (x.shape[axis] + 1) // 2
    values, indices = topk(x, k=k, axis=axis, largest=descending)
    np.testing.assert_array_equal(values.numpy(), np.take(ordered.numpy(), np.arange(k), axis))
    np.testing.assert_array_equal(indices.numpy(), np.take(order.numpy(), np.arange(k), axis))
    rising = np.moveaxis(ordered.numpy(), axis, -1)
    steps = np.diff(rising, axis=-1) * (-1 if descending else 1)
    assert (steps >= 0).all()
    ties = steps == 0
    assert (np.diff(np.moveaxis(order.numpy(), axis, -1), axis=-1)[ties] > 0).all()  # equal elements keep their order


def test_nan_sorts_as_the_largest():
    x = np.array([2.0, np.nan, -np.inf, np.inf])
    np.testing.assert_array_equal(sort(x).numpy(), [-np.inf, 2, np.inf, np.nan])
    np.testing.assert_array_equal(sort(x, descending=True).numpy(), [np.nan, np.inf, 2, -np.inf])
    np.testing.assert_array_equal(topk(x, k=1)[1].numpy(), [1])


@given(st.lists(st.integers(0, 5), max_size=10))
def test_one_hot_rows_sum_to_one_and_count(labels):
    labels = np.array(labels, np.int64)
    encoded = one_hot(labels, num_classes=6).numpy()
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded.argmax(1) if len(labels) else labels, labels)
    np.testing.assert_array_equal(encoded.sum(0), np.bincount(labels, minlength=6))
    values, counts = unique_counts(labels)
    np.testing.assert_array_equal(encoded.sum(0)[values.numpy()], counts.numpy())


@pytest.mark.parametrize(
    "call",
    [
        lambda i: take(np.zeros(3), i, axis=0),
        lambda i: take_along_axis(np.zeros(3), i, axis=0),
        lambda i: index_add(np.zeros(3), i, np.zeros(2), axis=0),
        lambda i: scatter_add(np.zeros(3), i, np.zeros(2), axis=0),
        lambda i: one_hot(i, num_classes=3),
    ],
)
def test_indices_out_of_range_never_wrap(call):
    with pytest.raises(IndexRangeError, match=r"index 3 \(at \(1,\) of the indices\) is out of range"):
        call(np.array([0, 3]))
    with pytest.raises(IndexRangeError, match=r"index -4 \(at \(0,\) of the indices\) is out of range"):
        call(np.array([-4, 0]))
    with pytest.raises(DTypeError, match="indices must be integers, got float64"):
        call(np.array([0.0, 1.0]))
    with pytest.raises(DTypeError, match="indices must be integers, got bool"):
        call(np.array([True, False]))
