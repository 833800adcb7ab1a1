"""Memory for large results is used again, and never while somebody still looks at it."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

import engine
from engine.kernels.cpu import buffers
from engine.kernels.cpu.buffers import LEAST, cached_bytes, empty, empty_cache
from engine.kernels.cpu.jit import ENABLED

BIG = (LEAST // 4, 3)
lends = pytest.mark.skipif(not ENABLED, reason="no machine code: np.empty makes all arrays")


@pytest.fixture(autouse=True)
def fresh_shelves():
    gc.collect()
    empty_cache()
    yield
    buffers.stock[buffers.MOST_HELD] = buffers.KEPT
    empty_cache()


@pytest.mark.parametrize("shape", [BIG, LEAST, (0, 5), (), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_it_is_an_array_as_np_empty_makes_it(shape, dtype):
    x = empty(shape, dtype)
    like = np.empty(shape, dtype)
    assert (x.shape, x.dtype, x.strides) == (like.shape, like.dtype, like.strides)
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned
    x[...] = 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x)), x)


@lends
def test_large_memory_starts_at_a_cache_line():
    assert all(empty(BIG, np.float32).ctypes.data % 64 == 0 for _ in range(5))


@lends
def test_memory_comes_back_when_the_last_view_is_gone():
    x = empty(BIG, np.float32)
    place, view = x.ctypes.data, x[1:].T
    del x
    assert cached_bytes() == 0
    assert empty(BIG, np.float32).ctypes.data != place  # somebody still looks
    del view
    assert cached_bytes() > 0
    assert empty(BIG, np.float32).ctypes.data == place


@lends
def test_numpy_names_who_frees_it():
    x = empty(BIG, np.float32)
    assert get_handler_name(x) == "chainrule" and x.base is None and x.flags.owndata
    assert get_handler_name(x + 1) == get_handler_name(x.copy()) == get_handler_name(np.empty(BIG)) != "chainrule"


@lends
@pytest.mark.parametrize("rows", [1, LEAST // 4 + 1, LEAST])
def test_it_can_be_resized(rows):
    x = empty(BIG, np.float32)
    x[...] = np.arange(x.size).reshape(BIG)
    kept = x.ravel()[: 3 * rows].copy()
    x.resize((rows, 3))
    np.testing.assert_array_equal(x.ravel()[: kept.size], kept)
    assert x.shape == (rows, 3) and cached_bytes() > 0


@pytest.mark.parametrize("shape", [(-LEAST, -1), (1 << 62, 4), (LEAST,) + (1,) * 70, 1 << 60, (1 << 20, 1 << 24)])
def test_what_is_no_shape_is_refused_as_numpy_does(shape):
    with pytest.raises((ValueError, MemoryError)) as theirs:
        np.empty(shape, np.uint8)
    with pytest.raises((ValueError, MemoryError)) as ours:
        empty(shape, np.uint8)
    assert type(ours.value) is type(theirs.value)
    assert type(ours.value) is ValueError or str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("shape", [(np.int32(70000),) * 2, (np.int64(300), 300)])
def test_sides_of_numpys_are_sides(shape):
    x = empty(shape, np.uint8)
    assert x.shape == shape and x.nbytes == int(shape[0]) * int(shape[1])


def test_what_is_no_side_is_refused():
    with pytest.raises(TypeError):
        empty((300.0, 300), np.float32)


@pytest.mark.parametrize("size", [1 << 47, 1 << 55, 1 << 60])
def test_a_size_beyond_all_memory_is_refused(size):
    x = empty(BIG, np.float32)
    x[...] = 3
    with pytest.raises(MemoryError):
        x.resize((size,), refcheck=False)
    assert (x == 3).all() and x.shape == BIG


@pytest.mark.parametrize("dtype", [object, [("a", object)], "S5", "datetime64[s]"])
def test_other_dtypes(dtype):
    x = empty(3 * LEAST, np.dtype(dtype))
    assert x.dtype == dtype and (not x.dtype.hasobject or x.tolist()[0] in (None, (None,)))


@lends
@pytest.mark.skipif(sys.platform != "linux", reason="no limit of this kind")
def test_memory_that_waits_is_given_before_anything_is_refused():
    program = """
import resource, numpy as np
from engine.kernels.cpu.buffers import empty, cached_bytes
arrays = [empty(30_000_000, np.uint8) for _ in range(20)]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, -1))
del arrays
assert cached_bytes() > 500_000_000
x = empty(400_000_000, np.uint8)
assert x.size and cached_bytes() == 0
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_arrays_may_outlive_the_modules():
    program = """
import numpy, engine, sys
from engine.kernels.cpu.buffers import empty
numpy.kept = sys.kept = [empty((300, 300), numpy.float32) for _ in range(3)]
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_references_are_counted_right():
    dtype = np.dtype(np.float32)
    before = sys.getrefcount(dtype), sys.getrefcount(None)
    for _ in range(2000):
        empty(BIG, dtype)
        empty_cache()
    assert abs(sys.getrefcount(dtype) - before[0]) < 5 and abs(sys.getrefcount(None) - before[1]) < 500


@lends
def test_sums_and_copies_of_large_gradients_are_lent():
    a, b = (engine.tensor(np.ones((200, 200), np.float32), requires_grad=True) for _ in range(2))
    g = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    (a + b).backward(g)  # one cotangent for both
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert get_handler_name(b.grad.data) == "chainrule"
    (a + a * 2.0).backward(g)  # two cotangents for one, and a gradient that is there
    assert get_handler_name(a.grad.data) == "chainrule"
    np.testing.assert_array_equal(a.grad.numpy(), g + (g + g * 2))


def test_arrays_in_use_never_share_memory():
    rng = np.random.default_rng(0)
    alive: list[tuple[int, np.ndarray]] = []
    for number in range(300):
        x = empty(int(rng.integers(LEAST, 2 * LEAST)), np.uint8)
        x[...] = number % 251
        alive.append((number % 251, x))
        if len(alive) > 20:
            alive.pop(int(rng.integers(len(alive))))
        assert all((y == value).all() for value, y in alive)


@lends
def test_what_waited_longest_is_freed_when_there_is_too_much():
    buffers.stock[buffers.MOST_HELD] = 4 * LEAST
    arrays = [empty(LEAST, np.uint8) for _ in range(10)]
    del arrays
    assert 0 < cached_bytes() <= 4 * LEAST
    big = empty(8 * LEAST, np.uint8)
    del big
    assert cached_bytes() == 0  # larger than all that may wait
    assert empty(LEAST, np.uint8).size == LEAST


@pytest.mark.parametrize("kept", [buffers.KEPT, 2 * LEAST])  # with the second, threads clear while others borrow
def test_threads_share_the_shelves(kept):
    buffers.stock[buffers.MOST_HELD] = kept
    wrong = []

    def work(value: int) -> None:
        for i in range(300):
            x = empty(LEAST + i % 3 * LEAST // 4, np.uint8)
            x[...] = value
            if not (x == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_shelves_of_its_own():
    x = empty(BIG, np.float32)
    x[...] = 1
    child = os.fork()
    if child == 0:
        y = empty(BIG, np.float32)
        y[...] = 2
        os._exit(0 if (x == 1).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (x == 1).all()
