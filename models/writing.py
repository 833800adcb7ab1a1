"""Texts from a language model in a folder: one that `chainrule train shakespeare-gpt` left, or a GPT-2 or LLaMA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.text import Characters
from engine.errors import ArgumentError, DataError
from engine.random import Generator


def write(
    folder: str | Path,
    prompt: str,
    length: int = 500,
    *,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 1,
    say: Callable[[str], Any] = lambda piece: None,
) -> str:
    """Return the prompt and `length` more characters (tokens, of a model of subwords); `say` gets it piece by piece.

    temperature 0 takes the likeliest each time, else p_i ~ exp(logit_i / temperature), of the top_k likeliest, or of
    the likeliest that make up top_p. Raises DataError where there is no language model, or not the characters that
    belong to it, and for a character it never met.
    """
    model, vocabulary = load(Path(folder))
    if not prompt:
        raise ArgumentError(
            "generate: the prompt is empty, so there is nothing to go on from: give one character or more"
        )
    ids = list(vocabulary.encode(prompt))
    said = ""

    def hear(column: np.ndarray) -> None:
        nonlocal said
        ids.append(int(column[0]))
        text = vocabulary.decode(ids)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # the next token brings the rest of a character
            say(text[len(said) :])
            said = text

    say(prompt)
    said = vocabulary.decode(ids)
    model.eval()
    model.generate(
        np.array([ids]), max_new_tokens=length, do_sample=temperature > 0, temperature=temperature or 1.0, top_k=top_k,
        top_p=top_p, generator=Generator(seed), streamer=hear,
    )  # fmt: skip
    return str(vocabulary.decode(ids))


def load(folder: Path) -> tuple[Any, Any]:
    """The model, and what turns texts to its numbers and back."""
    from models import pretrained
    from models.gpt import GPT2LMHeadModel
    from models.llama import LlamaForCausalLM

    if not (folder / "config.json").is_file():
        raise DataError(f"generate: '{folder}' holds no language model. Make one: chainrule train shakespeare-gpt")
    kind = pretrained.read_config(folder).get("model_type")
    known = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM}
    if kind not in known:
        raise DataError(
            f"generate: '{folder}' holds a model of type {kind!r}, which writes no text; {', '.join(known)} do."
        )
    if not (folder / "characters.json").is_file():
        return known[kind].from_pretrained(folder), pretrained.tokenizer(folder)
    model, characters = known[kind].from_pretrained(folder), characters_in(folder / "characters.json")
    if len(characters) != model.config.vocab_size:
        raise DataError(
            f"generate: '{folder}' holds {len(characters)} characters and a model of {model.config.vocab_size}: they "
            "do not belong together. Take the files that one training left."
        )
    return model, characters


def characters_in(path: Path) -> Characters:
    """What the numbers mean. Raises DataError for a file that says something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}). Take the file that the training left.") from None
    if not isinstance(found, str):
        raise DataError(f"{path}: holds a {type(found).__name__}, not a string of characters.")
    return Characters(found)
