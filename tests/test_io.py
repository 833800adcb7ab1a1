"""Files: what was saved comes back bit for bit; what was damaged is refused in words; nothing is ever half-written."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import CheckpointError
from engine.io import atomic
from engine.io.atomic import atomic_write
from engine.io.safetensors import load, load_checkpoint, save, save_checkpoint

ROOT = Path(__file__).parent.parent
W = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(f".*{atomic.SUFFIX}"))


# --- what was saved comes back ---------------------------------------------------------------------------------------

dtypes = st.sampled_from(["bool", "int8", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
any_array = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, shapes))


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "__metadata__"), any_array, max_size=3),
       st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))  # fmt: skip
@settings(deadline=None)  # a disk takes its time
def test_round_trip(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    save(path, arrays, metadata)
    back, texts = load(path)
    assert texts == metadata
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()  # NaN payloads and signed zeros too


@pytest.mark.parametrize(
    "array", [W.T, W[:, ::2], W[::-1], np.asfortranarray(W), W.astype(">f4"), np.broadcast_to(W[0], (4, 3))]
)
def test_layouts_come_back_as_values(path, array):
    save(path, {"w": array})
    back = load(path)[0]["w"]
    np.testing.assert_array_equal(back, array)
    assert back.flags.c_contiguous and back.dtype.isnative


def test_checkpoint_keeps_arrays_and_state(path):
    state = {"epoch": 3, "lr": 0.1, "best": float("inf"), "random": {"seed": 2**64 - 1}, "names": ["a", "é"]}
    save_checkpoint(path, {"w": W}, state)
    arrays, back = load_checkpoint(path, arrays=["w"], state=["epoch", "random"])
    assert back == state
    np.testing.assert_array_equal(arrays["w"], W)


def test_files_of_others_load(path):
    path.write_bytes(safetensors.numpy.save({"w": W}))
    arrays, metadata = load(path)
    np.testing.assert_array_equal(arrays["w"], W)
    assert metadata == {}


def foreign(entries, data):
    """A file as the format describes it, written by hand."""
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_bfloat16_of_others_comes_as_float32_without_the_package(path, monkeypatch):
    """The networks that are published hold bfloat16; every one of its numbers is a float32."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ml_dtypes" else find(name))
    values = np.array([[1.0, -2.5, 3.140625], [0.0, np.inf, 2.0**-130]], np.float32)  # with 7 bits behind the point
    upper = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    first = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    entries = {"a": first, "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]}}
    path.write_bytes(foreign(entries, np.ones(2, "<f4").tobytes() + upper))
    arrays, _ = load(path)
    assert arrays["b"].dtype == np.float32 and arrays["b"].tobytes() == values.tobytes()
    np.testing.assert_array_equal(arrays["a"], [1, 1])
    path.write_bytes(foreign(entries | {"__metadata__": {"sha256": "0"}}, bytes(20)))
    with pytest.raises(CheckpointError, match="'b' is bfloat16, and checking its sum takes the package ml_dtypes"):
        load(path)


def test_a_kind_of_number_that_numpy_has_not_is_named(path):
    path.write_bytes(foreign({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)))
    with pytest.raises(CheckpointError, match="array 'w' is of F8_E4M3, which NumPy can't hold: load a copy with 16"):
        load(path)


def test_others_can_read_ours(path):
    save(path, {"w": W}, {"a": "b"})
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["w"], W)


# --- atomic writing --------------------------------------------------------------------------------------------------


def test_atomic_write_makes_folders_follows_links_and_keeps_permissions(tmp_path):
    target = tmp_path / "new" / "folder" / "result.json"
    atomic_write(target, b"1")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    atomic_write(link, lambda file: file.write(b"2"))
    assert target.read_bytes() == b"2"
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert leftovers(target.parent) == []


def test_a_failing_writer_leaves_the_old_file(path):
    atomic_write(path, b"old")

    def fail(file):
        file.write(b"half of the n")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_leftovers_of_dead_writers_go_and_living_writers_stay(path):
    dead = path.parent / f".0123{atomic.SUFFIX}"
    dead.write_bytes(b"half")
    halfway, finish = threading.Event(), threading.Event()

    def slowly(file):
        file.write(b"slow")
        halfway.set()
        assert finish.wait(10)

    writer = threading.Thread(target=atomic_write, args=(path, slowly))
    writer.start()
    assert halfway.wait(10)
    assert not dead.exists()
    atomic_write(path, b"quick")  # tidies up, but must not sweep the other's file away
    assert len(leftovers(path.parent)) == 1
    finish.set()
    writer.join()
    assert path.read_bytes() == b"slow"
    assert leftovers(path.parent) == []


KILL_LAW = r"""
import os, random, signal, sys, time
import numpy as np
from engine.io.safetensors import load_checkpoint, save_checkpoint
from pathlib import Path

path, seed = Path(sys.argv[1]), int(sys.argv[2])
draw = random.Random(seed)
save_checkpoint(path, {"w": np.zeros(200_000)}, {"step": 0})
last, caught, advanced = 0, 0, 0
for _ in range(100):
    child = os.fork()
    if child == 0:
        step = last
        while True:
            step += 1
            save_checkpoint(path, {"w": np.full(200_000, step, float)}, {"step": step})
    time.sleep(draw.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    caught += any(path.parent.glob(".*.chainrule-tmp"))
    arrays, state = load_checkpoint(path)
    assert (arrays["w"] == state["step"]).all() and state["step"] >= last
    advanced += state["step"] > last
    last = state["step"]
save_checkpoint(path, {}, {"step": last})
print(caught, advanced, len(os.listdir(path.parent)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork, no kill -9")
def test_kill_9_a_hundred_times(path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}  # one thread: free to fork
    run = subprocess.run(
        [sys.executable, "-c", KILL_LAW, str(path), str(random.randrange(2**32))],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    caught, advanced, files = map(int, run.stdout.split())
    assert caught >= 10, "the kills must hit saves halfway, or this test tests nothing"
    assert advanced >= 5, "and some saves must have been completed"
    assert files == 1, "the next save tidies up"


# --- a disk that fails ---------------------------------------------------------------------------------------------


def failing(code: int):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, r"the disk is full \([\d,.]+ MiB free in .*\): free some space, or save elsewhere"),
        (errno.EDQUOT, r"the disk is full .*"),
        (errno.EFBIG, r"larger than the process or file system allows .*ulimit -f.*"),
        (errno.EROFS, r"the folder .* can't be written \(Read-only file system\): change its permissions, or .*"),
        (errno.EIO, r"Input/output error: save elsewhere, or try again"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(path, monkeypatch, code, text, step):
    save(path, {"w": W})
    monkeypatch.setattr(atomic.os, step, failing(code))
    message = rf"cannot save {path}: {text} \(what was there before is untouched\)"
    with pytest.raises(CheckpointError, match=message) as raised:
        save(path, {"w": W + 1})
    assert raised.value.__cause__.errno == code
    monkeypatch.undo()
    np.testing.assert_array_equal(load(path)[0]["w"], W)
    assert os.listdir(path.parent) == [path.name]


FULL_DISK = r"""
import os, sys
import numpy as np
from engine.errors import CheckpointError
from engine.io.safetensors import load, save
if sys.argv[2] == "limit":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
save(sys.argv[1], {"w": np.arange(3)})
try:
    save(sys.argv[1], {"w": np.zeros(100_000)})
except CheckpointError as error:
    assert os.listdir(os.path.dirname(sys.argv[1])) == ["model.safetensors"]
    assert load(sys.argv[1])[0]["w"].tolist() == [0, 1, 2]
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_file_that_is_really_too_large(path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), "limit"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "larger than the process or file system allows" in run.stdout, run.stderr


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_is_really_full(tmp_path):
    if not can_mount():
        pytest.skip("no small disk can be mounted here")
    mount = 'mount -t tmpfs -o size=200k none "$1" && exec "$2" -c "$3" "$1/model.safetensors" disk'
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL_DISK],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "the disk is full" in run.stdout, run.stderr


def test_places_that_cannot_hold_a_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot save .*: this is a folder: name a file in it"):
        atomic_write(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"a part of its path is a file, not a folder .*: name another place"):
        atomic_write(tmp_path / "file" / "model", b"")


# --- files that are not what they should be --------------------------------------------------------------------------


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda data, place: data[:place]], ids=["flipped", "cut"])
def test_any_damage_is_noticed(path, damage):
    save_checkpoint(path, {"w": W, "b": np.zeros(3, np.int8)}, {"epoch": 3})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(damage(whole, place))
        with pytest.raises(CheckpointError, match=f"cannot load {path}.*"):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n" * 9, b"\x89PNG\r\n\x1a\n" * 9, b"PK\x03\x04" * 9, b"\0" * 64])
def test_other_kinds_of_file(path, content):
    path.write_bytes(content)
    message = rf"cannot load {path}: it is no safetensors file, or .* cut short or damaged \({len(content)} bytes; .*"
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_flipped_bit_text(path):
    save(path, {"w": W})
    path.write_bytes(flip(path.read_bytes(), -1 % path.stat().st_size))
    with pytest.raises(CheckpointError, match="it is damaged: its content has not the SHA-256 it names .*load another"):
        load(path)


def test_missing_file_and_folder(path):
    with pytest.raises(CheckpointError, match=f"cannot load {path}: there is no such file: check the path"):
        load(path)
    with pytest.raises(CheckpointError, match="this is a folder: name a file in it"):
        load(path.parent)


def test_missing_keys_are_named(path):
    save_checkpoint(path, {f"{i}.kernel": W for i in range(7)}, {"epoch": 1})
    message = "array 'a', 'b' are missing; it holds '0.kernel', .* and 2 more: load it into the model that wrote it"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, arrays=["0.kernel", "a", "b"])
    with pytest.raises(CheckpointError, match="state 'optimizer' is missing; it holds 'epoch'"):
        load_checkpoint(path, state=["epoch", "optimizer"])
    save(path, {"w": W})
    with pytest.raises(CheckpointError, match="as a checkpoint: it holds arrays but no state of a run: load it"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([1j]), np.array([object()])])
def test_arrays_that_no_file_can_hold(path, value):
    with pytest.raises(CheckpointError, match=r"array 'w' has dtype .*, and a file holds reals: convert it first"):
        save(path, {"w": value})
    assert not path.exists()


def test_states_that_json_cannot_hold(path):
    with pytest.raises(CheckpointError, match="its state must be numbers, texts, lists and dicts .*: pass arrays"):
        save_checkpoint(path, {}, {"w": W})
    assert not path.exists()


def test_loading_runs_no_code(path):
    """A pickle under our name is refused as bytes, not opened."""
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(path.parent / "ran").encode() + b"'\ntR." + b" " * 40)
    with pytest.raises(CheckpointError, match="it is no safetensors file"):
        load(path)
    assert not (path.parent / "ran").exists()
