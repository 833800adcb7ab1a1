"""Memory for large results is used again, and never while somebody still looks at it."""

from __future__ import annotations

import gc
import os
import pickle
import threading

import numpy as np
import pytest

import engine
from engine.kernels.cpu import buffers
from engine.kernels.cpu.buffers import LEAST, cached_bytes, empty, empty_cache

BIG = (LEAST // 4, 3)


@pytest.fixture(autouse=True)
def fresh_shelves():
    gc.collect()
    empty_cache()
    yield
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


def test_large_memory_starts_at_a_cache_line():
    assert all(empty(BIG, np.float32).ctypes.data % 64 == 0 for _ in range(5))


def test_memory_comes_back_when_the_last_view_is_gone():
    x = empty(BIG, np.float32)
    place, view = x.ctypes.data, x[1:].T
    del x
    assert cached_bytes() == 0
    assert empty(BIG, np.float32).ctypes.data != place  # somebody still looks
    del view
    assert cached_bytes() > 0
    assert empty(BIG, np.float32).ctypes.data == place


def test_what_is_made_of_a_loan_is_no_loan():
    x = empty(BIG, np.float32)
    loan = x.base
    made = loan[:], loan + np.uint8(1), loan.view(np.uint8)
    del made
    assert cached_bytes() == 0 and not np.shares_memory(empty(BIG, np.float32), x)


def test_sums_and_copies_of_large_gradients_are_lent():
    a, b = (engine.tensor(np.ones((200, 200), np.float32), requires_grad=True) for _ in range(2))
    g = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    (a + b).backward(g)  # one cotangent for both
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert type(b.grad.data.base) is buffers.Loan
    (a + a * 2.0).backward(g)  # two cotangents for one, and a gradient that is there
    assert type(a.grad.data.base) is buffers.Loan
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


def test_what_waited_longest_is_freed_when_there_is_too_much(monkeypatch):
    monkeypatch.setattr(buffers, "KEPT", 4 * LEAST)
    arrays = [empty(LEAST, np.uint8) for _ in range(10)]
    del arrays
    assert 0 < cached_bytes() <= 4 * LEAST
    big = empty(8 * LEAST, np.uint8)
    del big
    assert cached_bytes() == 0  # larger than all that may wait
    assert empty(LEAST, np.uint8).size == LEAST


@pytest.mark.parametrize("kept", [buffers.KEPT, 2 * LEAST])  # with the second, threads clear while others borrow
def test_threads_share_the_shelves(monkeypatch, kept):
    monkeypatch.setattr(buffers, "KEPT", kept)
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
