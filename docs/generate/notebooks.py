"""Notebooks as pages: their text, code, and the outputs they were saved with. Nothing runs here."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2] / "notebooks"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@cache
def names() -> list[str]:
    """In the order in which they are read."""
    return sorted(path.stem for path in HERE.glob("*.ipynb"))


@cache
def pages() -> dict[str, Any]:
    """Path below docs/ -> Markdown, or the bytes of a picture."""
    made: dict[str, Any] = {}
    for name in names():
        made |= _notebook(name)
    rows = [f"- [{_title(made[f'notebooks/{n}.md'])}]({n}.md)" for n in names()]
    words = "Each is one idea and takes ten minutes. They stand in `notebooks/`; `make notebooks` runs them."
    intro = ["# Notebooks", "", words, ""]
    return made | {"notebooks/index.md": "\n".join([*intro, *(rows or ["None is built yet."]), ""])}


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.M)
    return found[1] if found else "Untitled"


def _notebook(name: str) -> dict[str, Any]:
    notebook = json.loads((HERE / f"{name}.ipynb").read_text())
    out, files = [], {}
    for k, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = text.replace("<details>", '<details markdown="1">')  # what is folded away is Markdown, too
            out += [re.sub(r"^```python$", "```{.python .no-run}", text, flags=re.M), ""]
        elif cell["cell_type"] == "code" and text.strip():
            out += ["```{.python .no-run}", text, "```", ""]
            for i, output in enumerate(cell["outputs"]):
                out += _output(output, f"{name}-{k}-{i}", files)
    return {f"notebooks/{name}.md": "\n".join(out)} | {f"notebooks/{file}": data for file, data in files.items()}


def _output(output: dict[str, Any], name: str, files: dict[str, bytes]) -> list[str]:
    """The richest form that a page can show."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output.get("data", {})
    if "text/html" in data:
        return [f'<div class="output">{_one_line("".join(data["text/html"]))}</div>', ""]
    if "image/svg+xml" in data:
        svg = "".join(data["image/svg+xml"])
        return [f'<div class="output picture">{_one_line(svg[svg.index("<svg") :])}</div>', ""]
    if "image/png" in data:
        files[f"{name}.png"] = base64.b64decode("".join(data["image/png"]))
        return [f"![]({name}.png){{.output}}", ""]
    if "text/latex" in data:
        return ["$$", "".join(data["text/latex"]).strip().strip("$"), "$$", ""]
    return _text("".join(data.get("text/plain", [])))


def _text(text: str) -> list[str]:
    return ["```{.text .output}", ANSI.sub("", text).rstrip("\n"), "```", ""] if text.strip() else []


def _one_line(html: str) -> str:
    """Markdown ends a block of HTML at an empty line; a comment of a script ends at a line's end, so lines are kept."""
    return re.sub(r"\n\s*\n+", "\n", html)
