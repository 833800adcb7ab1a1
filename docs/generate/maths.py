"""LaTeX becomes MathML while the site is built: typeset by the browser, without scripts and without a network."""

from __future__ import annotations

import html
import re
from pathlib import Path

from engine.view import typeset as view

SPAN = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


def mathml(latex: str, display: bool = False) -> str:
    """<math> of a formula. Raises ValueError for a command that the converter does not know."""
    text = view.mathml(" ".join(latex.split()))
    if not text.startswith("<math") or "\\" in html.unescape(text) or "<mi>&</mi>" in text:
        raise ValueError(f"not typeset: {latex}")
    return text if display else text.replace('display="block"', 'display="inline"', 1)


def typeset(page: str) -> str:
    """A page of HTML with every formula in it as MathML."""
    return SPAN.sub(lambda m: mathml(html.unescape(m[3]), m[2] == "["), page)


def font() -> bytes:
    """STIX Two Math, which draws brackets and roots of every size, as the package ziamath carries it."""
    import ziamath

    return (Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf").read_bytes()
