"""Tiny Shakespeare: 1,115,394 characters of plays in one file [Karpathy 2015, char-rnn].

    text = tinyshakespeare.load()
    (train, validation), characters = tinyshakespeare.load_data()     # numbers of characters, nine to one
    characters.decode(train[:13])                                     # 'First Citizen'

The parts are those of nanoGPT, so losses can be compared.
"""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from data import files
from data.sources import Corpus
from data.text import Characters

FILE = files.File(
    "input.txt", 1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", gzipped=False
)
CORPUS = Corpus(
    "text",
    re.compile(r"(?<![^/])(tinyshakespeare|input)\.txt$"),
    FILE,
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
)


def load(data: str | os.PathLike[str] | None = None) -> str:
    """Return the text. It lies in `$CHAINRULE_DATA/text/tinyshakespeare.txt`, or is fetched.

    Raises DataError when it is missing or not the original, byte for byte.
    """
    raws, source = CORPUS.read(data)
    name, raw = next(iter(raws.items()))
    return files.check(raw, FILE, f"{source}: {name}").decode()


def load_data(
    data: str | os.PathLike[str] | None = None,
) -> tuple[tuple[NDArray[np.int32], NDArray[np.int32]], Characters]:
    """Return ((train, validation), characters): the first 90 % of the text, the rest, and what the numbers mean.

    65 characters, numbered in the order of their code points, as nanoGPT does.
    """
    text = load(data)
    characters = Characters.of(text)
    numbers = characters.encode(text)  # (1115394,)
    cut = int(len(numbers) * 0.9)
    return (numbers[:cut], numbers[cut:]), characters
