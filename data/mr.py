"""MR: 10,662 sentences of film reviews, half of them positive [Pang and Lee 2005, sentence polarity data v1.0].

    (x_train, y_train), (x_test, y_test) = mr.load_data()     # 9,596 and 1,066 sentences

The authors set no test part aside. Here it is the last tenth of each file, the same for everybody. The phrases of
SST-2 were cut out of these sentences: a model that has seen SST-2 has seen most of MR's test part.
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
    "mr",
    re.compile(r"(?<![^/])rt-polarity\.(neg|pos)$"),
    files.File(
        "rt-polaritydata.tar.gz", 487_770, "a05befe52aafda71d458d188a1c54506a998b1308613ba76bbda2e5029409ce9", False
    ),
    (
        "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        "https://storage.googleapis.com/seldon-datasets/sentence_polarity_v1/",
    ),
)
COUNT = 5_331  # of each class
HELD_BACK = 533
Split = tuple[list[str], NDArray[np.int64]]


def load_data(data: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Return ((x_train, y_train), (x_test, y_test)): lists of strings, and labels (N,), 0 negative and 1 positive.

    The classes alternate. Raises DataError when a file is missing or truncated.
    """
    raws, source = CORPUS.read(data)
    negative, positive = (sentences(f"rt-polarity.{side}", raws, source) for side in ("neg", "pos"))
    parts = slice(None, -HELD_BACK), slice(-HELD_BACK, None)
    train, test = (_alternating(negative[part], positive[part]) for part in parts)
    return train, test


def sentences(name: str, raws: dict[str, bytes], source: str) -> list[str]:
    """The lines of one file, checked."""
    if name not in raws:
        raise DataError(f"{source}: {name} is missing. MR is two files: rt-polarity.neg, rt-polarity.pos.")
    lines = [line.strip() for line in raws[name].decode("latin-1").split("\n")][:-1]  # the last line ends, too
    if len(lines) != COUNT or not all(lines):
        raise DataError(
            f"{source}: {name} has {sum(map(bool, lines)):,} complete sentences, the original {COUNT:,}: it is "
            "truncated or not the original. Fetch it again."
        )
    return lines


def _alternating(negative: list[str], positive: list[str]) -> Split:
    texts = [text for pair in zip(negative, positive, strict=True) for text in pair]
    return texts, np.tile([0, 1], len(negative))
