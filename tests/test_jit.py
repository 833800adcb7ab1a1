"""Kernels: compiled once, never stale, run on any number of threads with one result."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ArgumentError
from engine.kernels.cpu import jit, threads
from engine.kernels.cpu.jit import array_at, kernel, number_at, real_at, stack, view
from engine.kernels.cpu.threads import get_num_threads, launch, set_num_threads

pytestmark = pytest.mark.skipif(not jit.ENABLED, reason="NUMBA_DISABLE_JIT is set")
SOURCES = Path(jit.__file__).parent
ROOT = Path(__file__).parents[1]


@pytest.fixture(params=[1, 2])
def thread_count(request):
    if request.param > threads.MAX_THREADS:
        pytest.skip("one core")
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


@kernel
def affine(block, part):
    """y[part] = scale * x[part] + shift, once more each time."""
    x, y = array_at(block, 0, np.float64), array_at(block, 2, np.float64)
    y[part] += real_at(block, 4) * x[part] + number_at(block, 5)


def test_every_part_runs_exactly_once(thread_count):
    x, y = np.random.default_rng(0).normal(size=1000), np.zeros(1000)
    for _ in range(20):
        y[:] = 0
        launch(affine, x.size, x, y, 0.5, -3)
        np.testing.assert_array_equal(y, 0.5 * x - 3)


def test_no_parts_is_no_work(thread_count):
    y = np.ones(2)
    launch(affine, 0, y, y, 2.0, 0)
    np.testing.assert_array_equal(y, 1)


def test_read_only_arrays_can_be_read(thread_count):
    x, y = np.arange(8.0), np.zeros(8)
    x.flags.writeable = False
    launch(affine, 8, x, y, 1.0, 1)
    np.testing.assert_array_equal(y, x + 1)


def test_spans_slice_and_know_their_size():
    @kernel
    def slices(block, part):
        x, out = array_at(block, 0, np.int64), array_at(block, 2, np.int64)
        middle, rest = x[2:5], x[6:100]  # a slice stops at the end
        out[0], out[1], out[2], out[3] = middle.size, middle[0], rest.size, rest[0]

    out = np.zeros(4, np.int64)
    launch(slices, 1, np.arange(10), out)
    assert out.tolist() == [3, 2, 4, 6]


def test_stack_memory_is_each_parts_own(thread_count):
    memory = stack(64 * 8)

    @kernel
    def sums(block, part):
        out, scratch = array_at(block, 0, np.int64), view(memory(), 64, np.int64)
        for i in range(64):
            scratch[i] = part * i
        for i in range(64):
            out[part] += scratch[i]

    out = np.zeros(500, np.int64)
    launch(sums, 500, out)
    np.testing.assert_array_equal(out, np.arange(500) * 2016)


def test_python_threads_launch_at_the_same_time(thread_count):
    def work(seed, failures):
        x, y = np.random.default_rng(seed).normal(size=500), np.zeros(500)
        for _ in range(100):
            y[:] = 0
            launch(affine, x.size, x, y, 2.0, seed)
            if not np.array_equal(y, 2 * x + seed):
                failures.append(seed)

    failures: list[int] = []
    team = [threading.Thread(target=work, args=(seed, failures)) for seed in range(2)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not failures


def test_two_python_threads_may_compile_the_same_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path)
    fresh = jit.Kernel(affine.function, "affine_in_two_threads")
    addresses = []
    team = [threading.Thread(target=lambda: addresses.append(fresh.address)) for _ in range(2)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert len(set(addresses)) == 1 and len(list(tmp_path.glob("*.kernel"))) == 1


def test_denormals_count_as_zero_inside_and_stay_outside(thread_count):
    @kernel
    def halve(block, part):
        x = array_at(block, 0, np.float32)
        x[part] = x[part] * np.float32(0.5)

    tiny = np.finfo(np.float32).smallest_normal
    x = np.full(100, tiny, np.float32)
    launch(halve, x.size, x)
    if threads.platform.machine() in ("x86_64", "AMD64"):
        np.testing.assert_array_equal(x, 0)
    assert np.float32(tiny) * np.float32(0.5) > 0  # the caller's own arithmetic is as it was


def test_the_number_of_threads_is_checked():
    with pytest.raises(ArgumentError, match=f"n is 0, but this process may use 1 to {threads.MAX_THREADS} threads"):
        set_num_threads(0)
    with pytest.raises(ArgumentError, match="NUMBA_NUM_THREADS, set before the first import, raises that limit"):
        set_num_threads(threads.MAX_THREADS + 1)
    for n in (1.5, "2", None):
        with pytest.raises(ArgumentError, match=f"n is {n!r}, but this process may use 1 to"):
            set_num_threads(n)


@kernel
def who_worked(block, part):
    x, y = array_at(block, 0, np.float64), array_at(block, 2, np.float64)
    for _ in range(2000):
        x[part] += 1.0
    y[part] += 1.0


def test_every_part_is_done_once_however_often_the_team_sleeps_and_wakes():
    x, y = np.zeros(40), np.zeros(40)
    for repeat in range(60):
        launch(who_worked, x.size, x, y)
        time.sleep((0, 0.0003, 0.003)[repeat % 3])  # watching still, about to fall asleep, asleep
    assert (x == 60 * 2000).all() and (y == 60).all()


def test_every_hand_is_played_whether_parts_are_many_or_few():
    team = threads.Team(3)
    for parts in (1, 2, 3, 4, 7, 31):
        x, y = np.zeros(parts), np.zeros(parts)
        slots = [threads.address_of(x), parts, threads.address_of(y), parts]
        work = threads.job(who_worked, parts, slots)
        for repeat in range(20):
            team.wake(3)
            threads.lead.entry(team.board, threads.run_part.address, threads.address_of(work), parts, 3)
            assert (x == 2000 * (repeat + 1)).all() and (y == repeat + 1).all()
    team.dismiss()


def test_threads_may_meet_at_their_first_large_arrays():
    program = """
import sys, threading, time
import numpy as np, engine
from engine.kernels.cpu import objects
class Slow(objects.Method):
    def __init__(self, *args):
        time.sleep(0.02)
        super().__init__(*args)
objects.Method = Slow
x = np.ones((300, 300), np.float32)
wrong = []
def work():
    for _ in range(5):
        t = engine.tensor(x, requires_grad=True)
        ((t * t + x[0]) @ x).sum().backward()
        if not (t.grad.numpy() == 600).all():
            wrong.append(t)
threads = [threading.Thread(target=work) for _ in range(6)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(len(wrong))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@kernel
def given(block, part):
    y = array_at(block, 0, np.float64)
    for k in range(y.size):
        y[k] = number_at(block, k + 2)


BITS = struct.unpack("q", struct.pack("d", -0.1))[0]


@pytest.mark.parametrize(
    "arg, wanted",
    [(7, 7), (-1, -1), (True, 1), (1 << 62, 1 << 62), (np.int64(5), 5), (-0.1, BITS), (np.float64(-0.1), BITS)],
)
@pytest.mark.parametrize("others", [0, 100])  # more slots than the short way has
def test_numbers_reach_a_kernel_as_they_are(arg, wanted, others):
    y = np.zeros(1 + others)
    launch(given, 1, y, arg, *range(others))
    np.testing.assert_array_equal(y, [float(wanted), *range(others)])


def test_arrays_reach_a_kernel_by_address_and_size():
    x, y = np.zeros((3, 0, 5)), np.zeros((2, 2))
    launch(given, 1, y, x, 1)
    assert y.ravel()[:3].tolist() == [x.ctypes.data, 0, 1]
    work = threads.job(given, 1, [0, 4, 0, 0, 8, 9])
    for _ in range(2):
        threads.run(work, y, 4, None, True)
        np.testing.assert_array_equal(y.ravel(), [0, 1, 8, 9])
    threads.run(work, y, np.int64(4), x)
    assert y.ravel().tolist() == [x.ctypes.data, 0, 8, 9] and work.tolist()[2:] == [0, 4, 0, 0, 8, 9]


def test_what_is_no_argument_is_refused():
    for arg in (None, "x", [1.0], 1 << 64):
        with pytest.raises((TypeError, OverflowError)):
            launch(given, 1, np.zeros(1), arg)
    with pytest.raises(TypeError):
        launch(given, 2.0, np.zeros(1), 3)
    y = np.zeros(1)
    launch(given, 1, y, 3)
    assert y[0] == 3


def test_members_sleep_when_nothing_is_to_be_done():
    launch(who_worked, 40, np.zeros(40), np.zeros(40))
    time.sleep(0.3)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.skipif(threads.MAX_THREADS < 2 or not hasattr(os, "sched_getaffinity"), reason="one core, or no Linux")
def test_who_is_woken_keeps_off_the_core_of_whoever_rang():
    here = os.sched_getaffinity(0)
    if len(here) < 2:
        pytest.skip("this process may use one core")
    launch(who_worked, 40, np.zeros(40), np.zeros(40))
    for _ in range(5):
        time.sleep(0.02)  # asleep
        launch(who_worked, 40, np.zeros(40), np.zeros(40))
        for thread in threads.team()._threads:
            assert len(here - os.sched_getaffinity(thread.native_id)) == 1
    assert os.sched_getaffinity(0) == here


@pytest.mark.skipif(threads.MAX_THREADS < 2, reason="one core")
def test_a_leader_who_meets_another_works_alone(thread_count):
    set_num_threads(2)
    failures = []

    def lead():
        for _ in range(300):
            x, y = np.zeros(8), np.zeros(8)
            launch(who_worked, x.size, x, y)
            if (y != 1).any() or (x != 2000).any():
                failures.append((x, y))

    leaders = [threading.Thread(target=lead) for _ in range(4)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join()
    assert not failures


@pytest.mark.skipif(threads.MAX_THREADS < 2, reason="one core")
def test_where_the_system_gives_no_more_threads_the_leader_works_alone(thread_count, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_team", threads.Team(threads.MAX_THREADS - 1))
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refused)
        for _ in range(2):
            y = np.zeros(8)
            launch(who_worked, y.size, np.zeros(8), y)
            assert (y == 1).all() and not threads.team()._threads
    launch(who_worked, 8, np.zeros(8), np.zeros(8))
    assert len(threads.team()._threads) == thread_count - 1
    threads.team().dismiss()


def test_a_process_with_a_team_ends_at_once():
    program = "import engine; x = engine.ones((512, 512)); print((x @ x).sum().item())"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0 and float(done.stdout) == 512**3, done.stderr
    assert time.perf_counter() - began < 50  # not for the members to wake by themselves


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_too(thread_count):
    x, y = np.arange(100.0), np.zeros(100)
    launch(affine, 100, x, y, 1.0, 0)
    child = os.fork()
    if child == 0:
        y[:] = 0
        launch(affine, 100, x, y, 1.0, 0)
        os._exit(0 if np.array_equal(x, y) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- the cache: each run is a fresh process on a small copy of the package --------------------------------------------

CALLEE = """
from .jit import device

@device
def amount():
    return {amount}
"""

CALLER = """
import numpy as np
from .callee import amount
from .jit import array_at, kernel

@kernel
def raise_by_amount(block, part):
    x = array_at(block, 0, np.float64)
    x[part] += amount()
"""

MAIN = """
import sys
from pathlib import Path
import numpy as np
from engine.kernels.cpu import jit, threads
jit.cache_folder = lambda: Path(sys.argv[1])
from engine.kernels.cpu.caller import raise_by_amount
x = np.zeros(3)
threads.launch(raise_by_amount, 3, x)
print(x[0])
"""


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package" / "engine" / "kernels" / "cpu"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent, folder.parent.parent):
        (place / "__init__.py").touch()
    shutil.copy(SOURCES.parent.parent / "errors.py", folder.parent.parent)
    for name in ("jit.py", "team.py", "threads.py", "lane_ufunc.py", "objects.py", "launching.py"):
        shutil.copy(SOURCES / name, folder)
    (folder / "callee.py").write_text(CALLEE.format(amount=1))
    (folder / "caller.py").write_text(CALLER)
    return folder


def run(package, cache, script=MAIN, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script, str(cache)],
        cwd=package.parents[2], env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout), done.stderr


def test_the_first_process_compiles_and_says_so_the_second_loads(package, tmp_path):
    cache = tmp_path / "cache"
    answer, said = run(package, cache)
    assert answer == 1
    assert said == f"chainrule: compiling CPU kernels once for this machine (about 10 s), cached in {cache}\n"
    assert run(package, cache) == (1, "")


def test_an_edited_callee_is_compiled_again(package, tmp_path):
    cache = tmp_path / "cache"
    run(package, cache)
    (package / "callee.py").write_text(CALLEE.format(amount=7))
    answer, said = run(package, cache)
    assert answer == 7 and "compiling" in said
    (package / "callee.py").write_text(CALLEE.format(amount=1))
    (package / "stranger.py").write_text("x = 1\n")  # a source that the kernel can't reach
    assert run(package, cache) == (1, "")  # the first version is still there


@pytest.fixture
def compile_again(monkeypatch, capsys):
    """A function: load or compile `affine` as a new process would, with a cache in `folder`; what it said."""

    def load(folder):
        monkeypatch.setattr(jit, "cache_folder", lambda: folder)
        jit._announce.cache_clear()
        x, y = np.arange(3.0), np.zeros(3)
        launch(jit.Kernel(affine.function, "affine_again"), 3, x, y, 1.0, 4)
        np.testing.assert_array_equal(y, x + 4)
        return capsys.readouterr().err

    return load


def test_a_damaged_cache_costs_time_only(compile_again, tmp_path):
    assert "compiling" in compile_again(tmp_path)
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"nonsense", file.read_bytes()[:-100]):
        file.write_bytes(damage)
        assert "compiling" in compile_again(tmp_path)
        assert compile_again(tmp_path) == ""


def test_a_cache_that_cannot_be_written_costs_time_only(compile_again, tmp_path):
    (tmp_path / "a file").touch()
    folder = tmp_path / "a file" / "cache"
    assert compile_again(folder).endswith(f"not cached: {folder} can't be written\n")


def test_old_versions_leave_the_cache(tmp_path):
    for version in range(jit.KEPT + 3):
        path = tmp_path / f"some_kernel-{version:024}.kernel"
        jit._write(path, b"code")
        os.utime(path, (version, version))
    jit._write(tmp_path / "other-0.kernel", b"code")
    assert len(list(tmp_path.glob("some_kernel-*"))) == jit.KEPT
    assert jit._read(path) == b"code" and not list(tmp_path.glob("*.part"))


def test_the_callers_numba_and_environment_stay_as_they_were(package, tmp_path):
    script = """
import os
import numba
settings = lambda: ({k: v for k, v in vars(numba.config).items() if k.isupper()}, dict(os.environ))
before = settings()
""" + MAIN.replace("x[0]", "float(before == settings() and numba.get_num_threads() == threads.MAX_THREADS)")
    assert run(package, tmp_path / "cache", script)[0] == 1


def test_without_numbas_compiler_the_references_answer(tmp_path):
    script = """
import numpy as np
from engine.kernels.cpu.conv import conv2d
from engine.kernels.cpu.matmul import matmul
x = np.ones((2, 3)), np.ones((3, 4))
y = conv2d(np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1)), None, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
print(float((matmul(*x) == 3).all() and (y == 4).all()))
"""
    assert run(SOURCES, tmp_path, script, NUMBA_DISABLE_JIT="1") == (1, "")
