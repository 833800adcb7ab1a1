"""From text to numbers, and back: words, vocabularies, characters.

    vectorize = TextVectorization(max_tokens=10_000, output_sequence_length=200)
    vectorize.adapt(reviews)
    x = vectorize(["A fine film!"])                  # (1,200) word numbers; 0 fills up, 1 is a word never met

The words and their defaults are Keras's. For the subwords of a pretrained model see `data.tokenizer`.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sequences import pad_sequences
from engine.errors import ArgumentError, DataError

Standardize = Callable[[str], str]
Split = Callable[[str], list[str]]
SPACED = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))  # the apostrophe is part of a word
STRIPPED = str.maketrans("", "", string.punctuation)

# --- words ------------------------------------------------------------------------------------------------------------


def text_to_word_sequence(text: str) -> list[str]:
    """Return the words in lower case; punctuation separates them, an apostrophe doesn't: "It's me." -> it's, me."""
    return text.lower().translate(SPACED).split()


def lower_and_strip_punctuation(text: str) -> str:
    """Return the text in lower case, without any punctuation: "It's me." -> "its me"."""
    return text.lower().translate(STRIPPED)


def by_frequency(documents: Iterable[Sequence[str]]) -> list[str]:
    """Return all words, the most frequent first; of equally frequent ones, the one met first."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(document)
    return [word for word, _ in counts.most_common()]


STANDARDIZE: dict[Any, Standardize] = {
    None: lambda text: text,
    "lower": str.lower,
    "strip_punctuation": lambda text: text.translate(STRIPPED),
    "lower_and_strip_punctuation": lower_and_strip_punctuation,
}
SPLIT: dict[Any, Split] = {None: lambda text: [text], "whitespace": str.split, "character": list}


class TextVectorization:
    """Word numbers of texts, by a vocabulary that `adapt` takes from texts, the most frequent word first.

    max_tokens: length of the vocabulary, with its two first entries: "" (0, fills up) and "[UNK]" (1, any other word).
    standardize: None, "lower", "strip_punctuation", "lower_and_strip_punctuation", or a function of a string.
    split: None, "whitespace", "character", or a function from a string to a list.
    output_mode: "int" gives word numbers (N,T); "count" how often, and "multi_hot" whether, each entry of the
    vocabulary is in the text (N,V), without the filling.
    output_sequence_length: T; longer texts are cut at the end, shorter ones filled up. None: the longest of
    the batch, at least 1.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Standardize | None = "lower_and_strip_punctuation",
        split: str | Split | None = "whitespace",
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        if max_tokens is not None and max_tokens < 3:
            raise ArgumentError(
                f"TextVectorization: max_tokens={max_tokens} leaves no word beside '' and '[UNK]': 3 up."
            )
        if output_mode not in ("int", "count", "multi_hot"):
            raise ArgumentError(
                f'TextVectorization: output_mode={output_mode!r} is none of "int", "count", "multi_hot".'
            )
        if output_sequence_length is not None and output_sequence_length < 1:
            raise ArgumentError(
                f"TextVectorization: output_sequence_length={output_sequence_length} must be 1 or more."
            )
        self.max_tokens, self.output_mode, self.output_sequence_length = max_tokens, output_mode, output_sequence_length
        self.standardize = _chosen("standardize", standardize, STANDARDIZE)
        self.split = _chosen("split", split, SPLIT)
        self.index: dict[str, int] = {}
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    def adapt(self, texts: Iterable[str]) -> None:
        """Take the vocabulary from texts."""
        self.set_vocabulary(by_frequency(self.words(text) for text in _texts("adapt", texts)))

    def set_vocabulary(self, words: Sequence[str]) -> None:
        """Number the words from 2 on; "" and "[UNK]" may lead the list or not."""
        words = [word for word in words if word not in ("", "[UNK]")]
        if len(set(words)) != len(words):
            twice = Counter(words).most_common(1)[0][0]
            raise ArgumentError(f"TextVectorization: the vocabulary holds '{twice}' more than once. Drop one.")
        if self.max_tokens is not None:
            words = words[: self.max_tokens - 2]
        self.index = {word: number for number, word in enumerate(words, start=2)}

    def get_vocabulary(self) -> list[str]:
        """Return "", "[UNK]", and the words by their numbers."""
        return ["", "[UNK]", *self.index]

    def vocabulary_size(self) -> int:
        return len(self.index) + 2

    def words(self, text: str) -> list[str]:
        """What `standardize` and `split` make of a text."""
        parts: list[str] = self.split(self.standardize(text))
        return parts

    def __call__(self, texts: str | Iterable[str]) -> NDArray[Any]:
        """Return (N,T) int64, or (N,V) float32 of the other modes; of one string, (T,) or (V,)."""
        if isinstance(texts, str):
            row: NDArray[Any] = self([texts])[0]
            return row
        if not self.index:
            raise ArgumentError("TextVectorization: there is no vocabulary yet. Call adapt(texts) first.")
        numbers = [[self.index.get(word, 1) for word in self.words(text)] for text in _texts("call", texts)]
        if self.output_mode == "int":
            longest = self.output_sequence_length or max(1, *map(len, numbers))
            return pad_sequences(numbers, longest, "int64", padding="post", truncating="post")
        counts = np.stack([np.bincount(row, minlength=self.vocabulary_size()) for row in numbers])[:, 1:]
        return (counts if self.output_mode == "count" else counts > 0).astype(np.float32)


def _chosen(name: str, value: Any, known: dict[Any, Any]) -> Any:
    if callable(value):
        return value
    if value not in known:
        names = ", ".join(map(repr, known))
        raise ArgumentError(f"TextVectorization: {name}={value!r} is none of {names}, and no function.")
    return known[value]


def _texts(where: str, texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise ArgumentError(f"TextVectorization: {where} takes a list of texts, met one string. Put it in a list.")
    listed = list(texts)
    for place, text in enumerate(listed):
        if not isinstance(text, str):
            raise DataError(f"TextVectorization: texts[{place}] is a {type(text).__name__}, not a string.")
    if not listed:
        raise DataError(f"TextVectorization: {where} was given no text. Check the filter or the path that made it.")
    return listed


# --- characters -------------------------------------------------------------------------------------------------------


class Characters:
    """A vocabulary of single characters, numbered in the order given."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.index = {character: number for number, character in enumerate(characters)}
        if len(self.index) != len(characters) or not characters:
            raise ArgumentError("Characters: the characters must be given, each of them once.")

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of a text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the numbers (T,) of a text. Raises DataError for a character that has none."""
        unknown = sorted(set(text) - self.index.keys())
        if unknown:
            raise DataError(
                f"Characters: {', '.join(map(repr, unknown[:5]))} of the text not among the {len(self)} known ones. "
                "Leave them out, or train with a text that has them."
            )
        return np.fromiter(map(self.index.__getitem__, text), np.int32, len(text))

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the text of numbers."""
        return "".join(self.characters[int(number)] for number in numbers)
