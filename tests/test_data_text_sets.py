"""IMDB, SST-2, MR, tiny Shakespeare: their files, whole and damaged, and archives that are not to be trusted.

No test here needs a network. The stand-ins have the real sets' layout and a few rows.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections import Counter

import numpy as np
import pytest

from data import archives, files, imdb, mr, sst2, tinyshakespeare
from data.text import text_to_word_sequence
from engine.errors import ArgumentError, DataError

REAL = os.environ.get("CHAINRULE_DATA", "")


def needs_real(name):
    return pytest.mark.skipif(not os.path.isdir(os.path.join(REAL, name)), reason=f"CHAINRULE_DATA holds no {name}/")


@pytest.fixture(autouse=True)
def empty_home(monkeypatch, tmp_path):
    """No variable, no cache, no host."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setattr(files, "cache_folder", lambda dataset: tmp_path / "cache" / dataset)
    monkeypatch.setattr(files, "answering", lambda hosts, name: [])


def message(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def tar(path, contents, mode="w:gz"):
    """Write an archive; a content that is a TarInfo goes in as it is."""
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            raw = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# --- archives ---------------------------------------------------------------------------------------------------------

PLAIN = {"set/a.txt": b"first", "set/deep/b.txt": b"", "set/c": b"\0" * 5000}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_gives_its_plain_files(tmp_path, mode):
    path = tar(tmp_path / "set.tar", PLAIN | {"set": special("set", tarfile.DIRTYPE)}, mode)
    assert dict(archives.members(path)) == PLAIN
    assert dict(archives.members(path, lambda name: name.endswith(".txt"))).keys() == {"set/a.txt", "set/deep/b.txt"}
    archives.extract(path, tmp_path / "out")
    assert {n: (tmp_path / "out" / n).read_bytes() for n in PLAIN} == PLAIN


def test_a_zip_gives_its_plain_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.mkdir("set")
        for name, content in PLAIN.items():
            archive.writestr(name, content)
    assert dict(archives.members(tmp_path / "set.zip")) == PLAIN


OUTSIDE = [
    "../evil", "set/../../evil", "..", "/etc/evil", "//host/evil",
    "C:/evil", "C:evil", "\\evil", "..\\evil", "set\\..\\..\\e", ".",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name, kind):
    path = tmp_path / f"set.{kind}"
    if kind == "tar":
        tar(path, {"good": b"1", name: b"evil"})
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"evil")
            archive.filelist[-1].filename = name
    text = message(archives.extract, path, tmp_path / "out")
    assert text == (
        f"{path}: the member '{name}' leads out of the folder. "
        "A data set holds plain files below one folder: do not trust this archive, fetch the original."
    )
    assert "leads out" in message(lambda: list(archives.members(path, lambda name: False))), "wanted or not"
    assert not [p for p in tmp_path.rglob("*") if p.name in ("evil", "e")]


@pytest.mark.parametrize(
    "kind, word",
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, word):
    path = tar(tmp_path / "set.tar", {"x": special("set/x", kind, "/etc"), "set/x/passwd": b"evil"})
    assert f"the member 'set/x' is {word}. A data set holds plain files" in message(archives.extract, path, tmp_path)
    assert not (tmp_path / "set").exists()


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("set/x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(info, "/etc")
    assert "the member 'set/x' is a link" in message(archives.extract, tmp_path / "set.zip", tmp_path / "out")


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path):
    path = tar(tmp_path / "set.tar.xz", {"a": bytes(600_000), "b": bytes(600_000)}, "w:xz")
    assert path.stat().st_size < 2000
    assert f"{path}: unpacks to more than 1,000,000 bytes." in message(archives.extract, path, tmp_path, 1_000_000)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_that_would_fill_the_memory_is_not_read(tmp_path, kind):
    """64 MiB of a name in 64 KiB; the limit is of what comes out, and a name comes before."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 1 << 26
    with gzip.open(tmp_path / "set.tar.gz", "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1 << 26))
    tracemalloc.start()
    text = message(lambda: list(archives.members(tmp_path / "set.tar.gz")))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "the archive is truncated or damaged (a header says 67,108,864 bytes)" in text
    assert most < 1 << 22


def test_a_size_below_zero_is_no_size(tmp_path):
    """-1 as the format writes it; taken at its word it would make room for more than the limit."""
    header = bytearray(tarfile.TarInfo("x").tobuf())
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
    (tmp_path / "set.tar").write_bytes(bytes(header) + bytes(1024))
    assert "(a header says -1 bytes)" in message(lambda: list(archives.members(tmp_path / "set.tar")))


@pytest.mark.parametrize("names", [["x" * 300], ["set", "set/a"]])
def test_names_that_a_folder_cannot_hold_are_told(tmp_path, names):
    path = tar(tmp_path / "set.tar", dict.fromkeys(names, b"1"))
    text = message(archives.extract, path, tmp_path / "out")
    assert text.startswith(f"{path}: the member '{names[-1][:80]}' can't be written to {tmp_path / 'out'} (")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_archive_is_told(tmp_path, mode, share):
    noise = np.random.default_rng(0).bytes(50_000)
    path = tar(tmp_path / "set.tar", {"a": noise, "b": noise[::-1]}, mode)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    text = message(lambda: list(archives.members(path)))
    assert text.startswith(f"{path}: the archive is truncated or damaged (") and text.endswith("fetch it anew.")


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"<html>please log in</html>")
    assert "the archive is truncated or damaged" in message(lambda: list(archives.members(tmp_path / "set.zip")))
    assert "there is no such archive" in message(lambda: list(archives.members(tmp_path / "no.zip")))


@pytest.mark.parametrize("place, value, word", [(6, 1, "password"), (8, 99, "compression method")])
def test_a_zip_that_is_locked_or_packed_otherwise_is_told(tmp_path, place, value, word):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/x", b"x" * 20)
    raw = bytearray(path.read_bytes())
    for header in (0, raw.index(b"PK\1\2") + 2):  # both headers hold flags and packing, the second two bytes further on
        raw[header + place] = value
    path.write_bytes(raw)
    text = message(lambda: list(archives.members(path)))
    assert text.startswith(f"{path}: the archive can't be read (") and word in text


# --- IMDB -------------------------------------------------------------------------------------------------------------

GOOD, BAD = "A fine, fine film!<br />It's the best of films.", "Not a good film; the worst."


@pytest.fixture
def reviews(monkeypatch):
    """Four reviews of each class in each part, in the original's layout."""
    monkeypatch.setattr(imdb, "COUNT", 4)
    words = ["one", "two", "three", "four"]
    return {
        f"aclImdb/{part}/{side}/{i}_{9 if side == 'pos' else 2}.txt": f"{text} {words[i]} {part}".encode()
        for part in ("train", "test")
        for side, text in (("pos", GOOD), ("neg", BAD))
        for i in range(4)
    } | {"aclImdb/train/unsup/0_0.txt": b"unlabelled", "aclImdb/README": b"about"}


@pytest.mark.parametrize("packed", ["", "w:gz", "w:xz"])
def test_imdb_reads_folders_and_archives_alike(reviews, tmp_path, packed, monkeypatch):
    folder = tmp_path / "sets" / "imdb"
    folder.mkdir(parents=True)
    if packed:
        tar(folder / f"aclImdb.tar.{packed[2:]}", dict(reversed(reviews.items())), packed)
    else:
        write(folder, reviews)
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "sets"))
    (texts, y), (texts_test, y_test) = imdb.load_reviews()
    expected = {(content.decode(), name.split("/")[1:3][0]): "pos" in name for name, content in reviews.items()}
    for part, some, labels in (("train", texts, y), ("test", texts_test, y_test)):
        assert len(some) == 8 and labels.dtype == np.int64 and labels.sum() == 4
        assert all(expected[text, part] == label for text, label in zip(some, labels, strict=True))
    assert (texts, texts_test) == tuple(part[0] for part in imdb.load_reviews(folder)), "the order never changes"
    assert texts != imdb.load_reviews(seed=1)[0][0]


def test_imdb_numbers_are_keras_own_rule(reviews, tmp_path):
    folder = write(tmp_path / "imdb", reviews)
    index = imdb.get_word_index(folder)
    (texts, y), (texts_test, _) = imdb.load_reviews(folder)
    counts = Counter(word for text in texts for word in text_to_word_sequence(text))
    assert list(index.values()) == list(range(1, len(index) + 1)) and index.keys() == counts.keys()
    assert [counts[word] for word in index] == sorted(counts.values(), reverse=True)
    assert "it's" in index and "br" in index and "test" not in index, "only the training part is counted"
    back = {number + 3: word for word, number in index.items()}
    (x, labels), (x_test, _) = imdb.load_data(data=folder)
    np.testing.assert_array_equal(labels, y)
    for row, text in zip(x, texts, strict=True):
        assert row[0] == 1 and [back[i] for i in row[1:]] == text_to_word_sequence(text) and row.dtype == np.int32
    for row, text in zip(x_test, texts_test, strict=True):  # its last word is never met in training
        assert row[-1] == 2 and [back[i] for i in row[1:-1]] == text_to_word_sequence(text)[:-1]
    plain = x[0][1:] - 3
    common = imdb.load_data(num_words=8, skip_top=5, data=folder)[0][0][0]
    np.testing.assert_array_equal(common, [1, *(w + 3 if 5 <= w + 3 < 8 else 2 for w in plain)])
    left_out = imdb.load_data(8, 5, start_char=None, oov_char=None, index_from=0, data=folder)[0][0][0]
    np.testing.assert_array_equal(left_out, [w for w in plain if 5 <= w < 8])
    lengths = [len(row) for row in x]
    (short, some), (short_test, _) = imdb.load_data(maxlen=max(lengths), data=folder)
    assert [len(row) for row in short] == [n for n in lengths if n < max(lengths)] and len(some) == len(short)


def test_a_review_of_ones_own(reviews, tmp_path):
    """An empty one, one of 10,000 words, one of unknown words: each has its numbers."""
    number = imdb.Numbering(imdb.get_word_index(write(tmp_path, reviews)), num_words=20)
    assert number(text_to_word_sequence("")).tolist() == [1]
    assert number(text_to_word_sequence("?! ...")).tolist() == [1]
    assert number(text_to_word_sequence("xyzzy plugh")).tolist() == [1, 2, 2]
    long = number(["film"] * 10_000)
    assert long.shape == (10_001,) and len(set(long[1:])) == 1 and long[1] > 3


def test_imdb_arguments_that_leave_nothing(reviews, tmp_path):
    write(tmp_path, reviews)
    with pytest.raises(
        ArgumentError, match="imdb: every review has maxlen=2 words or more, so none is left. Raise maxl"
    ):
        imdb.load_data(maxlen=2, data=tmp_path)
    with pytest.raises(ArgumentError, match=r"imdb: no number lies in skip_top=9 \.\. num_words - 1 = 8"):
        imdb.load_data(num_words=9, skip_top=9, data=tmp_path)


@pytest.mark.parametrize(
    "change, text",
    [
        (
            lambda r: r.pop("aclImdb/test/neg/2_2.txt"),
            "test/neg holds 3 reviews, the original 4: it is truncated or not",
        ),
        (
            lambda r: r.update({"aclImdb/test/neg/9_9.txt": b"x"}),
            "'test/neg/9_9.txt' is no review's name: pos/<id>_<7 to",
        ),
        (
            lambda r: r.update({"aclImdb/train/pos/notes.txt": b"x"}),
            "so its label cannot be trusted. Fetch the original.",
        ),
        (lambda r: r.update({"aclImdb/train/pos/1_9.txt": b" \n"}), "train/pos/1_9.txt is empty. It is truncated"),
        (lambda r: r.update({"aclImdb/train/pos/1_9.txt": b"caf\xe9"}), "train/pos/1_9.txt is no text in UTF-8"),
    ],
)
def test_imdb_that_is_not_the_original(reviews, tmp_path, change, text):
    change(reviews)
    folder = write(tmp_path / "given", reviews)
    met = message(imdb.load_data, data=folder)
    assert text in met and met.startswith(f"{folder}: ")


# --- SST-2 and MR -----------------------------------------------------------------------------------------------------


@pytest.fixture
def phrases(monkeypatch):
    monkeypatch.setattr(sst2, "COUNTS", {"train": 3, "dev": 2, "test": 1})
    return {
        "train.tsv": 'sentence\tlabel\nhides "nothing \t0\nfine work\x85 \t1\nso-so \t0\n'.encode(),
        "dev.tsv": b"sentence\tlabel\na charm . \t1\nbleak\t0\n",
        "test.tsv": b"index\tsentence\n0\tuneasy mishmash .\n",
    }


def test_sst2_reads_glue_files(phrases, tmp_path):
    (x, y), (x_dev, y_dev) = sst2.load_data(write(tmp_path / "a", phrases))
    assert x == ['hides "nothing ', "fine work\x85 ", "so-so "] and y.tolist() == [0, 1, 0] and y.dtype == np.int64
    assert x_dev == ["a charm . ", "bleak"] and y_dev.tolist() == [1, 0]
    assert sst2.load_test(tmp_path / "a") == ["uneasy mishmash ."]
    with zipfile.ZipFile(write(tmp_path / "b", {"x": b""}) / "SST-2.zip", "w") as archive:
        for name, content in phrases.items():
            archive.writestr(f"SST-2/{name}", content)
    assert sst2.load_data(tmp_path / "b")[0][0] == x


@pytest.mark.parametrize(
    "part, content, text",
    [
        (
            "dev",
            b"sentence\tlabel\na\t1\nb\t2\n",
            "dev.tsv, line 3: label '2' is neither 0 (negative) nor 1 (positive).",
        ),
        (
            "dev",
            b"sentence\tlabel\na\t1\nb\n",
            "dev.tsv, line 3: two columns with a tab between them are expected, met ['b']",
        ),
        ("dev", b"sentence\tlabel\na\t1\n\t0\n", "dev.tsv, line 3: two columns with a tab between them are expected"),
        (
            "dev",
            b"sentence\tlabel\na\t1\n",
            "dev.tsv has 1 lines, the original 2: it is truncated or not the original.",
        ),
        ("train", b"a\t1\nb\t0\n", "train.tsv begins with 'a\\t1', not with the header 'sentence\\tlabel'."),
        ("train", b"sentence\tlabel\ncaf\xe9\t1\n", "train.tsv is no text in UTF-8"),
        ("train", b"", "train.tsv begins with ''"),
    ],
)
def test_sst2_that_is_not_the_original(phrases, tmp_path, part, content, text):
    folder = write(tmp_path / "given", phrases | {f"{part}.tsv": content})
    met = message(sst2.load_data, folder)
    assert f"{folder}: {text}" in met


def test_a_missing_file_is_named(phrases, tmp_path):
    del phrases["dev.tsv"]
    folder = write(tmp_path / "given", phrases)
    assert message(sst2.load_data, folder) == (
        f"{folder}: dev.tsv is missing. SST-2 is three files: train.tsv, dev.tsv, test.tsv."
    )


@pytest.fixture
def sentences(monkeypatch):
    monkeypatch.setattr(mr, "COUNT", 4)
    monkeypatch.setattr(mr, "HELD_BACK", 1)
    return {
        "rt-polarity.neg": b"bad one \nbad two \nbad three \nbad four \n",
        "rt-polarity.pos": b"good one \ngood two \ngood caf\xe9 \ngood\x85four \n",
    }


def test_mr_reads_latin1_and_holds_the_ends_back(sentences, tmp_path):
    (x, y), (x_test, y_test) = mr.load_data(write(tmp_path / "a", sentences))
    assert x == ["bad one", "good one", "bad two", "good two", "bad three", "good café"] and y.tolist() == [0, 1] * 3
    assert x_test == ["bad four", "good\x85four"] and y_test.tolist() == [0, 1]
    tar(write(tmp_path / "b", {"x": b""}) / "rt.tar.gz", {f"rt-polaritydata/{n}": c for n, c in sentences.items()})
    assert mr.load_data(tmp_path / "b")[0][0] == x


def test_mr_that_is_not_the_original(sentences, tmp_path):
    folder = write(tmp_path / "a", sentences | {"rt-polarity.neg": b"bad one \nbad two \nbad three \nbad fo"})
    assert f"{folder}: rt-polarity.neg has 3 complete sentences, the original 4: it is truncated" in message(
        mr.load_data, folder
    )
    (folder / "rt-polarity.pos").unlink()
    write(folder, {"rt-polarity.neg": sentences["rt-polarity.neg"]})
    assert "rt-polarity.pos is missing. MR is two files" in message(mr.load_data, folder)


# --- tiny Shakespeare, and where all of them are looked for -----------------------------------------------------------


@pytest.fixture
def play(monkeypatch):
    raw = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
    file = files.File("input.txt", len(raw), hashlib.sha256(raw).hexdigest(), gzipped=False)
    monkeypatch.setattr(tinyshakespeare, "FILE", file)
    corpus = dataclasses.replace(tinyshakespeare.CORPUS, published=file, hosts=("http://host/",))
    monkeypatch.setattr(tinyshakespeare, "CORPUS", corpus)
    return raw


def test_tinyshakespeare_is_two_parts_and_its_characters(play, tmp_path):
    folder = write(tmp_path / "text", {"tinyshakespeare.txt": play})
    (train, validation), characters = tinyshakespeare.load_data(folder)
    assert len(train) == int(0.9 * len(play)) and len(train) + len(validation) == len(play)
    assert (
        characters.decode(np.concatenate([train, validation])).encode() == play == tinyshakespeare.load(folder).encode()
    )
    assert characters.characters == "".join(sorted(set(play.decode())))
    (folder / "tinyshakespeare.txt").write_bytes(play[:-1])
    assert f"{folder}: tinyshakespeare.txt: expected the {len(play)} bytes with SHA-256" in message(
        tinyshakespeare.load, folder
    )


@pytest.mark.parametrize(
    "load", [imdb.load_data, imdb.load_reviews, sst2.load_data, mr.load_data, tinyshakespeare.load]
)
def test_a_folder_that_is_missing_or_holds_nothing(load, tmp_path, monkeypatch):
    assert f"data={str(tmp_path / 'no')!r} is not a folder" in message(load, data=tmp_path / "no")
    (tmp_path / "empty").mkdir()
    text = message(load, data=tmp_path / "empty")
    assert text.startswith(f"{tmp_path / 'empty'}: holds none of the ") and "unset to have it downloaded" in text
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "typo"))
    assert "which is not a folder. Correct the variable, or unset it." in message(load)


@pytest.mark.parametrize("load", [imdb.load_data, sst2.load_data, mr.load_data, tinyshakespeare.load])
def test_without_a_network_the_remedy_is_told(load):
    text = message(load)
    assert "no data host answers. Connect, or put the files in <folder>/<data set> and set $CHAINRULE_DATA" in text


def test_a_download_is_checked_and_kept(play, tmp_path, monkeypatch):
    asked, served = [], [b"<html>please log in</html>", play]

    def transfer(url, target):
        asked.append(url)
        target.write_bytes(served.pop(0))

    monkeypatch.setattr(files, "answering", lambda hosts, name: list(hosts))
    monkeypatch.setattr(files, "transfer", transfer)
    text = message(tinyshakespeare.load)
    assert (
        text.startswith(f"http://host/input.txt: expected the {len(play)} bytes with SHA-256")
        and "met 26 bytes" in text
    )
    assert tinyshakespeare.load().encode() == play == tinyshakespeare.load().encode()
    assert asked == ["http://host/input.txt"] * 2, "the third call read the cache"
    assert [p.name for p in (tmp_path / "cache" / "text").iterdir()] == ["input.txt"]


def test_an_archive_is_downloaded_as_it_is(sentences, tmp_path, monkeypatch):
    raw = tar(tmp_path / "rt.tar.gz", {f"rt-polaritydata/{n}": c for n, c in sentences.items()}).read_bytes()
    file = files.File("rt-polaritydata.tar.gz", len(raw), hashlib.sha256(raw).hexdigest(), gzipped=False)
    monkeypatch.setattr(mr, "CORPUS", dataclasses.replace(mr.CORPUS, published=file))
    monkeypatch.setattr(files, "answering", lambda hosts, name: [h for h in hosts if name == "rt-polaritydata.tar.gz"])
    monkeypatch.setattr(files, "transfer", lambda url, target: target.write_bytes(raw))
    (x, _), _ = mr.load_data()
    assert len(x) == 6 and (tmp_path / "cache" / "mr" / "rt-polaritydata.tar.gz").read_bytes() == raw


# --- the real files ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_real("imdb")
def test_the_real_imdb():
    (x, y), (x_test, y_test) = imdb.load_data(num_words=10_000, data=REAL)
    assert len(x) == len(x_test) == 25_000 and y.mean() == y_test.mean() == 0.5
    assert max(row.max() for row in x) == 9_999 and min(len(row) for row in x) > 5
    assert np.mean([len(row) for row in x]) == pytest.approx(238.7, abs=0.1)


@needs_real("sst2")
def test_the_real_sst2():
    (x, y), (x_dev, y_dev) = sst2.load_data(REAL)
    assert (len(x), len(x_dev), len(sst2.load_test(REAL))) == (67_349, 872, 1_821)
    assert y.mean() == pytest.approx(0.5578, abs=1e-4) and y_dev.sum() == 444
    assert x_dev[0] == "it 's a charming and often affecting journey . "


@needs_real("mr")
def test_the_real_mr():
    (x, y), (x_test, y_test) = mr.load_data(REAL)
    assert (len(x), len(x_test)) == (9_596, 1_066) and y.mean() == y_test.mean() == 0.5
    assert x[0] == "simplistic , silly and tedious ." and x[1].startswith(
        "the rock is destined to be the 21st century's"
    )


@needs_real("text")
def test_the_real_tinyshakespeare():
    (train, validation), characters = tinyshakespeare.load_data(REAL)
    assert (len(train), len(validation), len(characters)) == (1_003_854, 111_540, 65)
    assert characters.decode(train[:14]) == "First Citizen:"
