"""Subwords of a pretrained model, through the library `tokenizers` (extra `text`).

    tokenizer = Tokenizer.from_pretrained("folder/of/the/model")     # tokenizer.json, else vocab.txt
    batch = tokenizer(["A fine film!", "no"])                        # input_ids, attention_mask (N,T)

Texts go to `tokenizers`; padding, cutting and arrays are made here, so both sides of a batch are plain to see.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sequences import pad_sequences
from engine.errors import ArgumentError, DataError


class Tokenizer:
    """Texts to token numbers and back; `inner` is a `tokenizers.Tokenizer`.

    Attributes: pad_token_id, vocabulary size as `len(tokenizer)`.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        inner.no_padding()
        inner.no_truncation()
        pad = next((n for t in ("[PAD]", "<pad>") if (n := inner.token_to_id(t)) is not None), None)
        self.pad_token_id: int = 0 if pad is None else pad

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Tokenizer:
        """Read tokenizer.json, or vocab.txt (BERT's word pieces), from a model's folder."""
        tokenizers = _library()
        root = Path(folder)
        if (root / "tokenizer.json").is_file():
            return cls(_read(root / "tokenizer.json", tokenizers.Tokenizer.from_file))
        if (root / "vocab.txt").is_file():
            make, lower = tokenizers.BertWordPieceTokenizer, _lowers(root / "tokenizer_config.json")
            return cls(_read(root / "vocab.txt", lambda path: make(path, lowercase=lower)._tokenizer))
        raise DataError(
            f"{root}: neither tokenizer.json nor vocab.txt is there. Name the folder of a pretrained model."
        )

    def __len__(self) -> int:
        """All token numbers are below it."""
        return 1 + max(self.inner.get_vocab().values(), default=-1)

    def encode(self, text: str, max_length: int | None = None, add_special_tokens: bool = True) -> list[int]:
        """Return the token numbers of one text; one longer than max_length is cut, its last token stays the last."""
        return self._encoded([text], max_length, add_special_tokens)[0]

    def __call__(
        self,
        texts: str | Iterable[str],
        max_length: int | None = None,
        padding: str = "post",
        add_special_tokens: bool = True,
    ) -> dict[str, NDArray[np.int64]]:
        """Return {"input_ids": (N,T), "attention_mask": (N,T)}, int64; the mask is 1 on tokens and 0 on padding.

        T is the length of the longest text, at most max_length. padding: "post", or "pre" for generation. An empty text
        has its special tokens only.
        """
        rows = self._encoded([texts] if isinstance(texts, str) else list(texts), max_length, add_special_tokens)
        ids = pad_sequences(rows, dtype="int64", padding=padding, value=self.pad_token_id)
        mask = pad_sequences([np.ones(len(row)) for row in rows], dtype="int64", padding=padding)
        return {"input_ids": ids, "attention_mask": mask}

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """Return the text of token numbers (T,)."""
        numbers = [int(i) for i in ids]
        if min(numbers, default=0) < 0:  # beyond the last one there may be rows that no token uses: they say nothing
            raise DataError(f"Tokenizer: there is no token {min(numbers)}; leave out labels that do not count (-100).")
        text: str = self.inner.decode(numbers, skip_special_tokens=skip_special_tokens)
        return text

    def _encoded(self, texts: list[str], max_length: int | None, special: bool) -> list[list[int]]:
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"Tokenizer: texts[{place}] is a {type(text).__name__}, not a string.")
        if not texts:
            raise DataError("Tokenizer: there is no text. Check the filter or the path that made the list.")
        if max_length is None:
            self.inner.no_truncation()
        else:
            added = self.inner.num_special_tokens_to_add(False) if special else 0
            if not isinstance(max_length, (int, np.integer)):
                raise ArgumentError(f"Tokenizer: max_length={max_length!r} must be a whole number.")
            if max_length <= added:
                raise ArgumentError(f"Tokenizer: max_length={max_length} leaves no room beside {added} special tokens.")
            self.inner.enable_truncation(int(max_length))
        return [row.ids for row in self.inner.encode_batch(texts, add_special_tokens=special)]


def _lowers(settings: Path) -> bool:
    """Does the model read texts in lower case? Without settings it does, as BERT's own."""
    if not settings.is_file():
        return True
    try:
        entries = json.loads(settings.read_text(encoding="utf-8"))
        lower = entries.get("do_lower_case", True)
    except (ValueError, AttributeError) as error:
        raise DataError(f"{settings}: holds no settings ({error}). Fetch the file again.") from None
    if not isinstance(lower, bool):
        raise DataError(f"{settings}: do_lower_case is {lower!r}, neither true nor false. Fetch the file again.")
    return lower


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "Tokenizer: the library tokenizers is not installed: `pip install 'chainrule[text]'`."
        ) from None
    return tokenizers


def _read(path: Path, read: Any) -> Any:
    try:
        return read(str(path))
    except Exception as error:  # the library raises plain Exceptions
        raise DataError(f"{path}: no tokenizer can be made of it ({error}). Fetch the file again.") from None
