"""The short way into a formula's machine code: what it takes it computes as the ufunc does, all else it declines."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from engine import Tensor
from engine.backends.cpu import Elementwise, declined, using
from engine.backends.protocol import SMALL
from engine.expr import var
from engine.formula import Formula
from engine.kernels.cpu.threads import MAX_THREADS, set_num_threads
from engine.record import OPS

pytest.importorskip("llvmlite")
from numpy._core.multiarray import get_handler_name  # noqa: E402

from engine.kernels.cpu import lane_cache, lane_entry, lane_ufunc, objects  # noqa: E402

pytestmark = pytest.mark.skipif(not lane_cache.enabled(), reason="no machine code in this process")

rng = np.random.default_rng(0)
POINT = np.array(0.3, np.float32)
LARGEST = float(np.finfo(np.float32).max)


def values(*shape):
    return rng.uniform(-3, 3, shape).astype(np.float32)


def met(op, *inputs):
    """The kernel of an op, once it has met these inputs."""
    kernel = Elementwise(OPS[op].forward)
    kernel(*inputs)
    assert kernel.short is not declined
    return kernel


@pytest.fixture
def two():
    return met("multiply", values(3), values(3))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (8,), (100,), (SMALL - 1,), (3, 0, 2), (2, 3, 5), (1,) * 32])
@pytest.mark.parametrize(
    "op, inputs", [("exp", "f"), ("atan2", "ff"), ("lerp", "fff"), ("where", "?ff"), ("less", "ff"), ("isfinite", "f")]
)
def test_it_computes_what_the_ufunc_does(op, inputs, shape):
    xs = [np.asarray(values(*shape) > 0) if kind == "?" else values(*shape) for kind in inputs]
    kernel = met(op, *xs)
    y, wanted = kernel.short(*xs), np.asarray(kernel.lanes(xs)(*xs))
    assert type(y) is np.ndarray and (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
    assert y.flags.owndata and y.flags.c_contiguous and y.flags.writeable
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    "number",
    [0.1, -0.0, 2, -7, 1 << 24, -(1 << 24), LARGEST, -LARGEST, 1e-40, 1e-46, np.inf, -np.inf, np.nan, POINT],
)
def test_numbers_beside_an_array_are_rounded_as_numpy_does(two, number):
    x = values(9)
    for xs in ((x, number), (number, x)):
        y = two.short(*xs)
        np.testing.assert_array_equal(y, two.lanes((x, x))(*xs))
        assert y.dtype == np.float32


def unaligned():
    return np.zeros(33, np.int8)[1:].view(np.float32)


class Own(np.ndarray):
    pass


@pytest.mark.parametrize(
    "other",
    [
        values(3).astype("float64"), np.arange(3),
        values(3).astype(">f4"), values(3).view(Own), values(3) > 0, [1.0, 2.0, 3.0], None, "x", 1j, True,
        np.float32(2), np.float64(2), (1 << 24) + 1, -(1 << 24) - 1, 10**400, -3.5e38, 3.5e38,
        Tensor(values(3)),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', x)} {getattr(x, 'shape', '')}",
)  # fmt: skip
def test_it_declines_what_it_does_not_know(two, other):
    assert two.short(values(3), other) is NotImplemented
    assert two.short(other, values(3)) is NotImplemented


@pytest.mark.parametrize(
    "shapes",
    [((4,), (1,)), ((3,), (1, 3)), ((3, 1), (4,)), ((2, 3), (3, 1, 1)), ((0, 3), (1,)), ((5,), (1, 1, 1))],
    ids=str,
)
def test_shapes_broadcast_by_way_of_the_ufunc(two, shapes):
    a, b = (values(*shape) for shape in shapes)
    for x, y in ((a, b), (b, a), (a.T, b.T[..., ::-1]) if a.ndim == b.ndim else (a, b)):
        np.testing.assert_array_equal(two.short(x, y), x * y)


def test_any_layout_by_way_of_the_ufunc(two):
    x = values(4, 4)
    for other in (
        x.T, x[:, ::-1], np.asfortranarray(x), values(4, 8)[:, :4], np.broadcast_to(values(4), (4, 4)),
        values(8, 8)[::2, 1::2],
    ):  # fmt: skip
        np.testing.assert_array_equal(two.short(x, other), x * other)
        np.testing.assert_array_equal(two.short(other, 2.0), other * np.float32(2))
    np.testing.assert_array_equal(two.short(unaligned(), values(8)), np.zeros(8))
    with pytest.raises(ValueError, match="broadcast"):
        two.short(values(3), values(4))


def with_all(kernel, *xs):
    """The short way, when all that it asks for is there."""
    lane_entry.prepare_large()
    lane_ufunc.gather_team()
    return kernel.short(*xs)


@pytest.fixture
def all_threads_after():
    yield
    set_num_threads(MAX_THREADS)


SEVERAL = {
    "row": lambda: (values(300, 200), values(200)),
    "column": lambda: (values(300, 200), values(300, 1)),
    "outer": lambda: (values(3000, 1), values(700)),
    "point": lambda: (values(300, 200), values(1, 1)),
    "an axis more": lambda: (values(20, 30, 100), values(1, 30, 100)),
    "long rows": lambda: (values(3, 70_001), values(70_001)),
    "short rows": lambda: (values(20_000, 3), values(3)),
    "a slice": lambda: (values(300, 200)[:, 20:], values(300, 180)),
    "every other row": lambda: (values(600, 200)[::2], values(200)),
    "backwards": lambda: (values(300, 200)[::-1], values(200)),
    "two slices": lambda: (values(300, 200)[:, 20:], values(300, 400)[:, :180]),
    "sides of one": lambda: (values(1, 300, 1, 200, 1), values(1, 200, 1)),
    "a number, too": lambda: (values(300, 200)[:, 1:], 2.5),
    "repeated": lambda: (np.broadcast_to(values(200), (300, 200)), values(300, 200)),
}


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("threads", {1, MAX_THREADS})
def test_large_arrays_of_several_shapes_are_rows(two, case, threads, all_threads_after):
    set_num_threads(threads)
    a, b = SEVERAL[case]()
    for x, z in ((a, b), (b, a)):
        y = with_all(two, x, z)
        np.testing.assert_array_equal(y, np.multiply(x, z, dtype=np.float32))
        assert y.flags.c_contiguous and y.flags.owndata and get_handler_name(y) == "chainrule"


@pytest.mark.parametrize(
    "a, b",
    [
        (values(3), values(2, SMALL)[:, ::2]),  # steps of two numbers
        (values(200, 300).T, values(300, 200)),  # steps of a row
        (values(20, 30, 100)[:, 5:, 7:], values(93)),  # three axes
        (values(300, 200), values(201)),  # no broadcasting
        (values(0, SMALL), values(1, SMALL)),  # no result
        (np.zeros(4 * SMALL + 1, np.int8)[1:].view(np.float32), values(2, 1)),  # askew
        (values(SMALL), values(SMALL).astype("f8")),
    ],
)
def test_what_is_large_and_no_rows_is_declined(two, a, b):
    assert with_all(two, a, b) is with_all(two, b, a) is NotImplemented


@pytest.mark.parametrize("side", [6, 200])
@pytest.mark.parametrize(
    "turn", [lambda m: m.T, lambda m: m[::-1], lambda m: m[:, ::-1], lambda m: m[:1], lambda m: m[0]]
)
def test_a_mask_of_any_layout_beside_two_numbers(side, turn):
    where, x = OPS["where"], values(side, side)
    where(x > 0, x, x)
    mask = turn(x > 0)
    for _ in range(2):
        y = where(Tensor(mask), 1.5, 0.5)
        np.testing.assert_array_equal(y.numpy(), np.where(mask, np.float32(1.5), np.float32(0.5)))
        np.testing.assert_array_equal(where(Tensor(mask), Tensor(x), 0.5).numpy(), np.where(mask, x, np.float32(0.5)))


@pytest.mark.parametrize("axes", [33, 64])
def test_as_many_axes_as_numpy_has(axes):
    x = values(*(2,) * 16, *(1,) * (axes - 16))
    y = OPS["multiply"](Tensor(x), Tensor(x))
    np.testing.assert_array_equal(y.numpy(), x * x)
    np.testing.assert_array_equal(OPS["multiply"](Tensor(x), Tensor(x[:1])).numpy(), x * x[:1])


def test_three_inputs_of_several_shapes():
    xs = values(300, 1), values(200), values(300, 200)[:, :]
    lerp = met("lerp", *xs)
    np.testing.assert_array_equal(with_all(lerp, *xs), lerp.lanes(xs)(*xs))
    less = met("less", values(300, 1), values(200))
    np.testing.assert_array_equal(with_all(less, *xs[:2]), xs[0] < xs[1])


@pytest.mark.parametrize("n", [SMALL, lane_ufunc.PARALLEL_FROM + 5, 300_001])
def test_large_arrays_of_one_shape_fill_memory_that_is_used_again(two, n):
    x, z = values(n), values(n)
    for xs in ((x, z), (x, 2.0), (POINT, x), (x.reshape(-1, 1), z.reshape(-1, 1))):
        y = with_all(two, *xs)
        np.testing.assert_array_equal(y, xs[0] * np.float32(xs[1]) if isinstance(xs[1], float) else xs[0] * xs[1])
        assert y.flags.owndata and y.flags.writeable and get_handler_name(y) == "chainrule"
    with pytest.raises(TypeError):
        two.short(x, z, z, out=y)


def test_no_array_or_a_wrong_number_of_inputs(two):
    x = values(3)
    assert two.short(1.0, 2.0) is NotImplemented  # of which dtype?
    assert two.short() is two.short(x) is two.short(x, x, x) is NotImplemented
    with pytest.raises(TypeError):
        two.short(x, x, out=x)


def test_a_pull_reads_some_of_what_it_is_given():
    g, b = var("g"), var("b")
    kernel = Elementwise(Formula(("g", "b"), (g * b,)))
    kernel.given, kernel.read = 4, [0, 2]
    x, z = values(5), values(5)
    kernel(x, z)
    np.testing.assert_array_equal(kernel.short(x, None, z, "unread"), x * z)
    assert kernel.short(x, z) is NotImplemented


def test_floats_come_before_truth_values():
    kernel = Elementwise(OPS["logical_and"].forward)
    x, t = values(5), values(5) > 0
    kernel(t, t)
    np.testing.assert_array_equal(kernel.short(t, t), t)
    kernel(x, x)
    assert kernel.short(t, t) is NotImplemented
    np.testing.assert_array_equal(kernel.short(x, x), x != 0)
    kernel(t, t[::-1])
    assert kernel.short(x, x) is not NotImplemented


def test_inputs_are_read_only_and_results_new(two):
    x = values(5)
    x.flags.writeable = False
    before = x.copy()
    y = two.short(x, x)
    y[:] = 7
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(two.short(x, x), y)


def test_nothing_leaks(two):
    x = values(100)
    dtype, wrong, one = x.dtype, values(3).astype("float64"), values(1)

    def grown() -> tuple[int, int]:
        """By how many bytes, and by how many references, 2,000 calls of each kind grow."""
        counts = sys.getrefcount(dtype), sys.getrefcount(x), sys.getrefcount(NotImplemented)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            two.short(x, x), two.short(x, wrong), two.short(x, 2.0), two.short(x, one), two.short(x, 10**400)
        memory = tracemalloc.get_traced_memory()[0] - before
        after = sys.getrefcount(dtype), sys.getrefcount(x), sys.getrefcount(NotImplemented)
        return memory, max(abs(a - b) for a, b in zip(counts, after, strict=True))

    gc.collect()
    tracemalloc.start()
    try:
        runs = [grown() for _ in range(5)]
    finally:
        tracemalloc.stop()
    # A leak grows in each run; what another thread of the process holds meanwhile, in one or two.
    assert min(memory for memory, _ in runs) < 2000, runs
    assert min(references for _, references in runs) < 5, runs


def test_arithmetic_leaves_no_marks(two):
    x = np.array([np.inf, -np.inf, np.nan, 0, 1e-45, 3e38], np.float32)
    divide = met("divide", x, x)
    with np.errstate(all="raise"):
        divide.short(x, np.zeros_like(x))
        np.add(np.float64(1.5), np.float64(1.5))
    tiny = np.array([1e-40], np.float32)
    np.testing.assert_array_equal(two.short(tiny, 1.0), tiny)  # subnormal numbers count
    np.testing.assert_array_equal(np.multiply(tiny, np.float32(1)), tiny)  # and still do


def test_several_threads_at_once(two):
    xs = [values(50) for _ in range(4)]
    wrong: list[int] = []

    def work(x):
        wanted = x * x
        wrong.extend(1 for _ in range(3000) if not np.array_equal(two.short(x, x), wanted))

    threads = [threading.Thread(target=work, args=(x,)) for x in xs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_where_objects_lie_otherwise_the_general_way_is_taken(monkeypatch):
    monkeypatch.setattr(lane_entry, "as_expected", lambda: False)
    kernel = Elementwise(OPS["add"].forward)
    x = values(5)
    np.testing.assert_array_equal(kernel(x, x), x + x)
    assert kernel.short is declined


def test_the_layout_is_looked_up_and_not_believed(monkeypatch):
    look = objects.as_expected.__wrapped__
    assert look()
    for name in ("AXES", "SHAPE", "DTYPE", "FLAGS", "DATA", "OWNER"):
        with monkeypatch.context() as patch:
            patch.setattr(objects, name, getattr(objects, name) + 8 * (1 if name != "FLAGS" else -1))
            assert not look()


def test_small_formulas_do_without_numba():
    program = """
import sys, engine
x = engine.ones(3, requires_grad=True)
(x * x + 1).backward(engine.ones(3))
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_an_op_is_the_same_with_and_without():
    op, x = OPS["lerp"], values(6)
    leaves = [Tensor(x * k, True) for k in (1, 2, 3)]
    for _ in range(2):
        y = op(*leaves)
        y.backward(Tensor(x))
    first = [t.grad.numpy() for t in leaves]
    with using("numpy"):
        other = [Tensor(x * k, True) for k in (1, 2, 3)]
        for _ in range(2):
            op(*other).backward(Tensor(x))
    for a, b in zip(first, (t.grad.numpy() for t in other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_an_entry_is_made_once():
    kernel = met("add", values(3), values(3))
    before = kernel.short
    for _ in range(3):
        with using("numpy"):
            assert kernel.short is declined
        kernel(values(3), values(3))
        assert kernel.short is before


def test_large_arrays_are_declined_until_all_is_there(two, monkeypatch):
    x = values(lane_ufunc.PARALLEL_FROM * 20)
    wanted = x * x
    assert with_all(two, x, x) is not NotImplemented
    lane_ufunc.forget_team()
    assert two.short(x, x) is NotImplemented or MAX_THREADS == 1
    np.testing.assert_array_equal(two(x, x), wanted)  # the general way wakes whom it needs
    with monkeypatch.context() as patch:
        patch.setattr(lane_entry._large, "value", 0)
        assert two.short(x, x) is NotImplemented
        np.testing.assert_array_equal(two(x, x), wanted)


def test_a_result_too_large_for_any_memory_is_refused(two):
    x, z = np.broadcast_to(values(1), (1 << 22, 1)), values(1 << 22)
    with pytest.raises((MemoryError, ValueError)):
        with_all(two, np.broadcast_to(x, (1 << 30, 1)), np.broadcast_to(values(1), (1 << 30,)))
    assert with_all(two, z, z).size == 1 << 22 and x.size == z.size


def test_five_and_more_inputs():
    names = tuple("abcdefg")
    kernel = Elementwise(Formula(names, (sum(map(var, names), start=var("a")),)))
    xs = [values(5) for _ in names]
    wanted = kernel(*xs)
    np.testing.assert_array_equal(kernel.short(*xs), wanted)
    wide = [values(*[8 if i == k else 1 for i in range(7)]) for k in range(7)]  # together 8^7 elements
    assert with_all(kernel, *wide) is NotImplemented
