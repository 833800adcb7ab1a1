"""What a reader gives: names for tensors, and text that every medium can hold."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from ..errors import ArgumentError
from ..tensor import Tensor

NO_TEXT = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0, section 2.2; nor is it UTF-8


def printable(text: str) -> str:
    """The text with a mark in place of each character that no drawing may hold: controls, half surrogates."""
    return NO_TEXT.sub("\ufffd", text)


def escape(text: str) -> str:
    """Text within HTML or SVG."""
    return html.escape(printable(text))


def named(what: str, names: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """`names` as it was given, if it leads from names to tensors."""
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise ArgumentError(f'{what}: names is a dict of name to tensor, {{"x": x}}, not a {type(names).__name__}')
    for name, t in names.items():
        if not (isinstance(name, str) and isinstance(t, Tensor)):
            pair = f"{type(name).__name__} to {type(t).__name__}"
            raise ArgumentError(f'{what}: names leads from a name to its tensor, {{"x": x}}, not from {pair}')
    return dict(names)
