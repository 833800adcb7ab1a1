"""IMDB: 25,000 + 25,000 film reviews, half of them positive [Maas et al. 2011].

    (x_train, y_train), (x_test, y_test) = imdb.load_data(num_words=10_000)     # word numbers, as in Keras
    (texts, y), (texts_test, y_test) = imdb.load_reviews()                      # the reviews themselves

Looked for in `data=`, else in $CHAINRULE_DATA/imdb (a folder aclImdb/, or an archive of it), then in the user's cache,
then on the network. Row n of the numbers is row n of the reviews.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import chain, compress, repeat

import numpy as np
from numpy.typing import NDArray

from data import files
from data.sources import Corpus
from data.text import by_frequency, text_to_word_sequence
from engine.errors import ArgumentError, DataError

CORPUS = Corpus(
    "imdb",
    re.compile(r"(?<![^/])(train|test)/(neg|pos)/[^/]*\.txt$"),
    files.File(
        "aclImdb_v1.tar.gz", 84_125_825, "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe", False
    ),
    ("https://ai.stanford.edu/~amaas/data/sentiment/",),
)
COUNT = 12_500  # of each class in each part
NAME = re.compile(r"(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")  # id and rating, 1 to 10
RATINGS = {"neg": range(1, 5), "pos": range(7, 11)}
Reviews = tuple[list[str], NDArray[np.int64]]
Numbers = tuple[NDArray[np.object_], NDArray[np.int64]]


# --- the reviews ------------------------------------------------------------------------------------------------------


def load_reviews(data: str | os.PathLike[str] | None = None, seed: int = 113) -> tuple[Reviews, Reviews]:
    """Return ((texts, labels), (texts, labels)) of the training and the test part: strings, and 0 or 1 (N,).

    The order is shuffled by the seed. Raises DataError when the files are missing, truncated, or wrongly labelled.
    """
    raws, source = CORPUS.read(data)
    train, test = (_part(part, raws, source, seed) for part in ("train", "test"))
    return train, test


def _part(part: str, raws: dict[str, bytes], source: str, seed: int) -> Reviews:
    places = []
    for name in raws:
        match = NAME.fullmatch(name)
        if match is None or int(match[4]) not in RATINGS[match[2]]:
            raise DataError(
                f"{source}: '{name}' is no review's name: pos/<id>_<7 to 10>.txt or neg/<id>_<1 to 4>.txt are, "
                "so its label cannot be trusted. Fetch the original."
            )
        if match[1] == part:
            places.append((match[2] == "pos", int(match[3]), name))
    for side in (False, True):
        met = sum(positive == side for positive, _, _ in places)
        if met != COUNT:
            raise DataError(
                f"{source}: {part}/{'pos' if side else 'neg'} holds {met:,} reviews, the original {COUNT:,}: it is "
                "truncated or not the original. Fetch it again."
            )
    places.sort()
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(places))
    texts = [_review(raws[places[i][2]], f"{source}: {places[i][2]}") for i in order]
    return texts, np.array([int(places[i][0]) for i in order])


def _review(raw: bytes, where: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8 ({error}). Fetch it again.") from None
    if not text.strip():
        raise DataError(f"{where} is empty. It is truncated: fetch it again.")
    return text


# --- as numbers -------------------------------------------------------------------------------------------------------


def load_data(
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
    data: str | os.PathLike[str] | None = None,
) -> tuple[Numbers, Numbers]:
    """Return ((x_train, y_train), (x_test, y_test)): x an array (N,) of arrays (T_n,) of word numbers, int32.

    Word w of `get_word_index()` has the number w + index_from; each review begins with start_char, and a number that
    is not in skip_top..num_words - 1, or a word that no training review has, is oov_char. None leaves these out. maxlen
    drops the reviews that have so many numbers or more.

    Arguments and defaults are Keras's; the words are counted here, in the training reviews, so the numbers are not
    those of Keras's file.
    """
    (texts, y), (texts_test, y_test) = load_reviews(data, seed)
    words, words_test = (list(map(text_to_word_sequence, part)) for part in (texts, texts_test))
    numbers = Numbering(word_index(words), num_words, skip_top, start_char, oov_char, index_from)
    train, test = ([numbers(review) for review in part] for part in (words, words_test))
    return _kept(train, y, maxlen), _kept(test, y_test, maxlen)


def get_word_index(data: str | os.PathLike[str] | None = None) -> dict[str, int]:
    """Return {word: its place by frequency in the training reviews}, 1 the most frequent."""
    (texts, _), _ = load_reviews(data)
    return word_index(map(text_to_word_sequence, texts))


def word_index(documents: Iterable[list[str]]) -> dict[str, int]:
    return {word: place for place, word in enumerate(by_frequency(documents), start=1)}


class Numbering:
    """The rule from words to numbers, as `load_data` describes it: for reviews of your own.

    number = Numbering(imdb.get_word_index(), num_words=10_000);  number(text_to_word_sequence("A fine film!"))
    """

    def __init__(
        self,
        index: dict[str, int],
        num_words: int | None = None,
        skip_top: int = 0,
        start_char: int | None = 1,
        oov_char: int | None = 2,
        index_from: int = 3,
    ) -> None:
        end = len(index) + 1 + index_from if num_words is None else num_words
        if not 0 <= skip_top < end:
            raise ArgumentError(f"imdb: no number lies in skip_top={skip_top} .. num_words - 1 = {end - 1}.")
        self.start, self.oov = start_char, oov_char
        self.known = {w: place + index_from for w, place in index.items() if skip_top <= place + index_from < end}

    def __call__(self, words: list[str]) -> NDArray[np.int32]:
        """Return (T,): no words are only the start."""
        numbers = chain((self.start,), map(self.known.get, words, repeat(self.oov)))
        return np.fromiter((number for number in numbers if number is not None), np.int32)


def _kept(rows: list[NDArray[np.int32]], y: NDArray[np.int64], maxlen: int | None) -> Numbers:
    short = [maxlen is None or len(row) < maxlen for row in rows]
    if not any(short):
        raise ArgumentError(f"imdb: every review has maxlen={maxlen} words or more, so none is left. Raise maxlen.")
    return np.fromiter(compress(rows, short), object, sum(short)), y[np.array(short)]
