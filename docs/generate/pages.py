"""Every page that is made from the code, and the navigation: one mechanism for all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import conformance, notebooks, objects, ops

DOCS = Path(__file__).parents[1]
GUIDES = ["looking", "extending", "speed", "gpu", "saving"]


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    made = {"ops/index.md": ops.index(), "conformance.md": conformance.conformance()}
    for found in ops.sections().values():
        made |= {f"ops/{op.name}.md": ops.op_page(op) for op in found}
    for kind in objects.KINDS:
        made[f"{kind.folder}/index.md"] = objects.index(kind)
        made |= {f"{kind.folder}/{c.__name__}.md": objects.object_page(kind, c) for c in kind.classes}
    return made | {f"reference/{name}.md": objects.reference(name) for name in objects.REFERENCE}


def navigation() -> list[dict[str, Any]]:
    decisions = sorted(p.name for p in (DOCS / "decisions").glob("*.md") if p.name != "README.md")
    by_file = [{name: [f"ops/{op.name}.md" for op in found]} for name, found in ops.sections().items()]
    return [
        {"Home": ["index.md", "quickstart.md", "equations.md", "glossary.md"]},
        {"Guides": [f"guides/{name}.md" for name in GUIDES]},
        {"Notebooks": ["notebooks/index.md", *(f"notebooks/{name}.md" for name in notebooks.names())]},
        {"Ops": ["ops/index.md", *by_file]},
        *(
            {k.title: [f"{k.folder}/index.md", *(f"{k.folder}/{c.__name__}.md" for c in k.classes)]}
            for k in objects.KINDS
        ),
        {"Reference": [f"reference/{name}.md" for name in objects.REFERENCE]},
        {"Measured": ["performance.md", "conformance.md", "gpu.md"]},
        {"Decisions": ["decisions/README.md", *(f"decisions/{name}" for name in decisions)]},
    ]


def places() -> dict[str, str]:
    """`engine.tanh`, `layers.Dense`, `02_the_name_of_a_notebook` -> the path of its page."""
    found = {f"engine.{op.name}": f"ops/{op.name}.md" for some in ops.sections().values() for op in some}
    for kind in objects.KINDS:
        found |= {f"{kind.home.__name__}.{c.__name__}": f"{kind.folder}/{c.__name__}.md" for c in kind.classes}
        found |= {f"{c.__module__}.{c.__name__}": f"{kind.folder}/{c.__name__}.md" for c in kind.classes}
    return found | {name: f"notebooks/{name}.md" for name in notebooks.names()}


def linked(markdown: str) -> str:
    """Names in code type lead to their pages."""
    known = places()
    return re.sub(r"`([\w.]+)`", lambda m: f"[{m[0]}]({known[m[1]]})" if m[1] in known else m[0], markdown)
