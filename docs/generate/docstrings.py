"""Docstrings as Markdown. They are written to be read in the source: few marks, columns made of spaces, `.. math::`."""

from __future__ import annotations

import inspect
import re
from typing import Any

try:
    from griffe import Extension
except ImportError:  # only mkdocstrings needs the class below
    Extension = object  # type: ignore[assignment, misc]

COLUMN = re.compile(r"^(\S(?:\S| (?! ))*) {2,}(\S.*)$")


def markdown(doc: str) -> str:
    """A docstring as Markdown: formulas between dollars, columns as a table, sample code fenced."""
    lines, out = inspect.cleandoc(doc or "").splitlines(), []
    k = 0
    while k < len(lines):
        line = lines[k]
        if line.lstrip().startswith(".. math::"):
            formula, k = _block(lines, k)
            out += ["", "$$", (line.split(".. math::")[1] + " " + " ".join(formula)).strip(), "$$", ""]
        elif line.startswith("    ") and (not out or not out[-1].strip()):
            code, k = _code(lines, k)
            out += ["```text", *code, "```"]
        elif COLUMN.match(line) and not line.startswith(("|", "-")):
            rows, k = _rows(lines, k)
            out += ["", "| | |", "|---|---|", *(f"| {_code_span(a)} | {_plain(b)} |" for a, b in rows), ""]
        else:
            out.append(_plain(line))
            k += 1
    return "\n".join(out)


def summary(doc: str | None) -> str:
    """The first sentence or line, as Markdown."""
    first = inspect.cleandoc(doc or "").split("\n\n")[0].split(".. math")[0]
    return " ".join(map(_plain, first.splitlines()))


def _block(lines: list[str], k: int) -> tuple[list[str], int]:
    """The lines that are indented deeper than line k, and where they end."""
    indent = len(lines[k]) - len(lines[k].lstrip())
    end = k + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        if not lines[end].strip() and end + 1 < len(lines) and not lines[end + 1].startswith(" " * (indent + 1)):
            break
        end += 1
    return [line.strip() for line in lines[k + 1 : end]], end


def _code(lines: list[str], k: int) -> tuple[list[str], int]:
    end = k
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
        end += 1
    code = lines[k:end]
    while not code[-1].strip():
        code.pop()
    return inspect.cleandoc("\n".join(code)).splitlines(), end


def _rows(lines: list[str], k: int) -> tuple[list[tuple[str, str]], int]:
    rows: list[tuple[str, str]] = []
    while k < len(lines):
        found = COLUMN.match(lines[k])
        if found:
            rows.append((found[1], found[2]))
        elif rows and lines[k].startswith("  "):
            rows[-1] = rows[-1][0], f"{rows[-1][1]} {lines[k].strip()}"
        else:
            break
        k += 1
    return rows, k


def _code_span(text: str) -> str:
    return ", ".join(f"`{part}`" for part in text.strip("`").split(", "))


def _plain(line: str) -> str:
    """A line of prose: formulas between dollars, stars and angles as they stand; code is left alone."""
    parts = re.split(r"(:math:`[^`]*`|``[^`]+``|`[^`]*`)", line)
    out = []
    for part in parts:
        if part.startswith(":math:"):
            out.append(f"${part[7:-1].strip()}$")
        elif part.startswith("`"):
            out.append(part)
        else:
            out.append(re.sub(r"(?<!\\)([*_<])", r"\\\1", part))
    return "".join(out)


class Docstrings(Extension):
    """What mkdocstrings shows is Markdown, too."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if getattr(obj, "docstring", None) and not obj.is_alias:
            obj.docstring.value = markdown(obj.docstring.value)
