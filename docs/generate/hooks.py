"""What mkdocs calls while it builds: pages come in, their code runs, their formulas are typeset."""

from __future__ import annotations

import itertools
import logging
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from docs.generate import maths, notebooks, pages  # noqa: E402

log = logging.getLogger("mkdocs.hooks.chainrule")
FENCE = re.compile(r"(?<!: not run -->\n)^( *)```python\n(.*?)^\1```$", re.M | re.S)
PICTURE = re.compile(r'^<div class="picture".*</div>$', re.M)
pictures: dict[str, str] = {}  # set aside while Markdown is read: they are long
_count = itertools.count()


def on_config(config: Any) -> Any:
    config.nav = pages.navigation()
    return config


def on_files(files: Any, config: Any) -> Any:
    for path, content in (pages.pages() | notebooks.pages()).items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, "assets/stix-two-math.ttf", content=maths.font()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Every ```python block runs, one after the other in one session; what it prints stands under it.

    A comment `<!-- needs ...: not run -->` above a block makes an exception.
    """
    if page.file.src_uri == "equations.md":
        markdown = pages.linked(markdown)
    session = re.sub(r"\W", "_", page.file.src_uri)

    def running(block: re.Match[str]) -> str:
        shown = ' result="text"' if "print(" in block[2] else ""
        return f'{block[1]}```python exec="on" source="above"{shown} session="{session}"\n{block[2]}{block[1]}```'

    return PICTURE.sub(_aside, FENCE.sub(running, markdown))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    try:
        html = maths.typeset(html)
    except ValueError as error:
        log.warning("%s: %s", page.file.src_uri, error)
    return re.sub(r"<p>(picture-\d+-aside)</p>", lambda m: pictures.pop(m[1]), html)


def _aside(found: re.Match[str]) -> str:
    key = f"picture-{next(_count)}-aside"
    pictures[key] = found[0]
    return key
