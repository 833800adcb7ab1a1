"""LaTeX as MathML, which browsers typeset by themselves, and as outlines, which every picture viewer shows."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from .given import escape

# mathtext knows TeX's old words only, and no environments: what is another word for the same thing
WORDS = {
    r"\le ": r"\leq ", r"\ge ": r"\geq ", r"\lnot": r"\neg", r"\land": r"\wedge", r"\lor": r"\vee",
    r"\tfrac": r"\frac", r"\lvert": "|", r"\rvert": "|", r"\bmod": r"\;\mathrm{mod}\;", r"\top": "T",
    r"\operatorname*": r"\operatorname", r"\Bigl": "", r"\Bigr": "", r"\!": "", r"\Big": "",
    r"{\&}": r"\text{&}",
}  # fmt: skip
ENVIRONMENT = re.compile(r"\\begin\{(\w+)\}((?:(?!\\begin).)*?)\\end\{\1\}", re.DOTALL)  # the innermost


# What LaTeX takes for a command, as a sign that all its readers know: in braces, so that nothing takes its letters
SIGNS = {c: rf"{{\{c}}}" for c in "{}$%&#"} | {
    " ": r"{\ }", "_": r"\_", "\\": r"{\backslash}", "^": r"{\wedge}", "~": r"{\sim}",
    '"': r'{\text{"}}', "`": r"{\text{`}}",
}  # fmt: skip


def upright(text: str) -> str:
    """Any text at all as LaTeX, set upright: what would be a command is a sign, what has no shape is left out."""
    seen = "".join(c for c in " ".join(text.split()) if unicodedata.category(c)[0] != "C")
    return rf"\mathrm{{{''.join(SIGNS.get(c, c) for c in seen) or '?'}}}"


@lru_cache(maxsize=8192)
def mathml(latex: str) -> str:
    """A <math> element; without latex2mathml (in the extra `viz`) the LaTeX itself, as code."""
    if not latex:
        return ""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return f"<code>{escape(latex)}</code>"
    try:
        return str(convert(latex.replace("{aligned}", "{split}"), display="block"))  # its word for the same
    except Exception:  # a user's own LaTeX may be anything
        return f"<code>{escape(latex)}</code>"


@dataclass(frozen=True)
class Outline:
    """A formula as one SVG path. Its box begins at (0, 0), y points down."""

    path: str
    width: float
    height: float


@lru_cache(maxsize=8192)
def outline(latex: str, size: float = 13.0) -> Outline | None:
    """The formula drawn with matplotlib's mathtext; None where that doesn't know a word of it."""
    lines = [_outline(line, size) for line in simple_lines(latex)]
    if any(line is None for line in lines):
        return None
    y, parts = 0.0, []
    for line in lines:
        assert line is not None
        parts.append(_moved(line, y))
        y += line[1][3] - line[1][1] + 0.4 * size
    boxes = [line[1] for line in lines if line is not None]
    return Outline("".join(parts), max(b[2] for b in boxes), y - 0.4 * size)


def simple_lines(latex: str) -> list[str]:
    """What mathtext can set, line by line: cases in words, matrices in brackets with semicolons."""
    lines = [latex]
    found = ENVIRONMENT.fullmatch(latex.strip())
    if found and found[1] in ("aligned", "align"):
        lines = [re.sub(r"(?<!\\)&", "", line) for line in found[2].split(r"\\")]
    return [_plain(line) for line in lines]


def _plain(latex: str) -> str:
    def flat(found: re.Match[str]) -> str:
        kind, rows = found[1], [r.strip() for r in found[2].split(r"\\")]
        if kind == "cases":
            *first, last = [r.split("&") for r in rows]
            words = [rf"{a.strip()} \;\mathrm{{if}}\; {c.strip()}" for a, c in first]
            return r"\{ " + r",\;\; ".join([*words, rf"{last[0].strip()} \;\mathrm{{otherwise}}"]) + r" \}"
        return "[" + r";\;\; ".join(r",\; ".join(c.strip() for c in r.split("&")) for r in rows) + "]"

    while ENVIRONMENT.search(latex):
        latex = ENVIRONMENT.sub(flat, latex)
    latex = re.sub(r"\\math(?:bin|rel)\{\\?(.*?)\}", r" \1 ", latex)
    for word, other in WORDS.items():
        latex = re.sub(re.escape(word) + (r"(?![a-zA-Z])" if word[-1].isalpha() else ""), lambda _: other, latex)  # noqa: B023
    return re.sub(r"\\(?:left|right)(?![a-zA-Z])\.?", "", latex)  # nested, mathtext takes minutes to read them


Box = tuple[float, float, float, float]  # x0, y0, x1, y1; y points up


def _outline(latex: str, size: float) -> tuple[list[tuple[int, list[float]]], Box] | None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    try:
        path = TextPath((0, 0), f"${latex}$", size=size, prop=FontProperties(math_fontfamily="stix"))
    except (ValueError, RuntimeError):
        return None
    if not len(path.vertices):
        return None
    extent = path.get_extents()
    segments = [(int(code), list(points)) for points, code in path.iter_segments(simplify=False)]
    return segments, (extent.x0, extent.y0, extent.x1, extent.y1)


def _moved(line: tuple[list[tuple[int, list[float]]], Box], down: float) -> str:
    segments, (x0, _, _, y1) = line
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    out = []
    for code, points in segments:
        letter = letters.get(code)
        if letter is None:
            continue
        numbers = [] if letter == "Z" else points
        out.append(
            letter
            + " ".join(f"{v - x0:.1f} {down + y1 - w:.1f}" for v, w in zip(numbers[::2], numbers[1::2], strict=True))
        )
    return "".join(out)
