"""SST-2: phrases of film reviews, positive or negative [Socher et al. 2013; the form of GLUE, Wang et al. 2019].

    (x_train, y_train), (x_dev, y_dev) = sst2.load_data()     # 67,349 phrases; 872 sentences
    x_test = sst2.load_test()                                 # 1,821 sentences, whose labels are not public

The labels of the test part are kept by GLUE, so figures are of the 872 sentences.
"""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from data import files
from data.sources import Corpus
from engine.errors import DataError

CORPUS = Corpus(
    "sst2",
    re.compile(r"(?<![^/])(train|dev|test)\.tsv$"),
    files.File("SST-2.zip", 7_439_277, "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa", False),
    ("https://dl.fbaipublicfiles.com/glue/data/",),
)
COUNTS = {"train": 67_349, "dev": 872, "test": 1_821}
HEADERS = {"train": "sentence\tlabel", "dev": "sentence\tlabel", "test": "index\tsentence"}
Split = tuple[list[str], NDArray[np.int64]]


def load_data(data: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Return ((x_train, y_train), (x_dev, y_dev)): lists of strings, and labels (N,), 0 negative and 1 positive.

    Raises DataError when a file is missing, truncated, or holds another label.
    """
    raws, source = CORPUS.read(data)
    train, dev = (_labelled(part, rows(part, raws, source), source) for part in ("train", "dev"))
    return train, dev


def load_test(data: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the sentences of the test part."""
    return [sentence for _, sentence in rows("test", *CORPUS.read(data))]


def rows(part: str, raws: dict[str, bytes], source: str) -> list[list[str]]:
    """The two columns of a part, line by line, checked."""
    where = f"{source}: {part}.tsv"
    if f"{part}.tsv" not in raws:
        raise DataError(f"{where} is missing. SST-2 is three files: train.tsv, dev.tsv, test.tsv.")
    try:
        header, *lines = raws[f"{part}.tsv"].decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8 ({error}). Fetch it again.") from None
    if header != HEADERS[part]:
        raise DataError(f"{where} begins with {header[:40]!r}, not with the header {HEADERS[part]!r}. Fetch it again.")
    table = [line.split("\t") for line in lines]
    for number, row in enumerate(table, start=2):
        if len(row) != 2 or not all(row):
            raise DataError(f"{where}, line {number}: two columns with a tab between them are expected, met {row}.")
    if len(table) != COUNTS[part]:
        raise DataError(
            f"{where} has {len(table):,} lines, the original {COUNTS[part]:,}: it is truncated or not the original. "
            "Fetch it again."
        )
    return table


def _labelled(part: str, table: list[list[str]], source: str) -> Split:
    for number, (_, label) in enumerate(table, start=2):
        if label not in ("0", "1"):
            raise DataError(
                f"{source}: {part}.tsv, line {number}: label '{label}' is neither 0 (negative) nor 1 (positive)."
            )
    return [sentence for sentence, _ in table], np.array([int(label) for _, label in table])
