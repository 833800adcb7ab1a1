"""A child forked at any moment goes on: whatever other threads of its parent were doing, no lock of theirs stops it."""

import contextlib
import gc
import importlib
import os
import pkgutil
import signal
import sys
import threading
import time

import numpy as np
import pytest

from engine import forks
from engine.formula import Formula
from engine.kernels.cpu import jit, lane_cache
from engine.kernels.cpu.threads import launch

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
ROOMS = "engine", "layers", "optim", "models", "data"
LOCKS = type(threading.Lock()), type(threading.RLock())


def in_a_child(work):
    """What the child says: True for work that came to its end; one that hangs is ended after a minute."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    for _ in range(6000):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@contextlib.contextmanager
def meanwhile(work):
    """Another thread does this over and over; it has begun."""
    begun, enough = threading.Event(), threading.Event()

    def run():
        while not enough.is_set():
            work(begun)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def kept_locks():
    """Every lock that a module of ours keeps, under its name."""
    for room in ROOMS:
        folder = importlib.import_module(room).__path__
        for module in pkgutil.walk_packages(folder, f"{room}."):
            if "cuda" not in module.name and "__main__" not in module.name:
                importlib.import_module(module.name)
    modules = [(name, m) for name, m in sys.modules.items() if name.partition(".")[0] in ROOMS]
    return {f"{name}.{key}": a for name, m in modules for key, a in vars(m).items() if isinstance(a, LOCKS)}


def test_a_lock_that_another_thread_holds_is_free_in_the_child():
    locks = kept_locks()
    assert "engine.kernels.cpu.jit._lock" in locks and "engine.random._reserving" in locks

    def hold(begun):
        with contextlib.ExitStack() as held:
            for lock in locks.values():
                held.enter_context(lock)
            begun.set()
            time.sleep(0.2)

    def take():
        for lock in locks.values():
            assert lock.acquire(timeout=0.2)

    with meanwhile(hold):
        assert in_a_child(take)


def affine(block, part):
    x, y = jit.array_at(block, 0, np.float64), jit.array_at(block, 2, np.float64)
    y[part] = 2 * x[part] + 1


def compute(name):
    """With a kernel of each kind that nobody has compiled before."""
    x, y = np.arange(20.0), np.zeros(20)
    launch(jit.Kernel(affine, name), 20, x, y)
    a = np.full(20, 0.5, np.float32)
    z = lane_cache.function(Formula.trace(lambda x: x + len(name)), "f")(a)
    assert (y == 2 * x + 1).all() and (z == 0.5 + len(name)).all()


@pytest.mark.skipif(not jit.ENABLED, reason="nothing is compiled")
def test_a_child_forked_while_another_thread_compiles_can_compile(tmp_path, monkeypatch):
    for module, folder in ((jit, tmp_path / "kernels"), (lane_cache, tmp_path / "lanes")):
        monkeypatch.setattr(module, "cache_folder", lambda folder=folder: folder)
    monkeypatch.setattr(jit, "_announce", lambda: None)
    made = iter(range(1000))

    def compile_another(begun):
        begun.set()
        compute("a" * next(made))

    with meanwhile(compile_another):
        for n in range(2):
            time.sleep(0.1 * n)
            assert in_a_child(lambda n=n: compute("b" * (2000 + n)))


def test_a_property_that_another_thread_computes_can_be_computed_in_the_child():
    class Slow:
        @forks.cached_property
        def value(self):
            begun.set()
            time.sleep(0.3)
            return 3

    begun = threading.Event()
    thread = threading.Thread(target=lambda: Slow().value)
    thread.start()
    begun.wait()
    assert in_a_child(lambda: Slow().value)
    thread.join()
    assert isinstance(vars(Formula)["key"], forks.cached_property)


def test_locks_are_taken_in_any_order():
    a, b = forks.lock(), forks.lock()

    def nested(begun):
        for outer, inner in ((a, b), (b, a)):
            with outer:
                begun.set()
                time.sleep(0.002)
                with inner:
                    pass
        time.sleep(0.002)

    with meanwhile(nested):
        assert all(in_a_child(lambda: None) for _ in range(10))
    assert a.acquire(blocking=False) and b.acquire(blocking=False)


def test_whoever_forks_keeps_the_locks_that_it_holds():
    a = forks.lock()

    def give_back():
        a.release()
        with pytest.raises(RuntimeError):
            a.release()

    with a:
        assert in_a_child(give_back)
    with pytest.raises(RuntimeError):
        a.release()


def test_a_lock_that_nobody_has_is_forgotten():
    before = len(forks._known)
    mine = forks.lock()
    assert len(forks._known) == before + 1
    del mine
    gc.collect()
    assert len(forks._known) == before
