"""The packages beside the engine bear generic names. Where an import would find somebody else's, say so."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

OURS = "layers", "optim", "models", "data"


def strangers() -> dict[str, Path]:
    """Which of `layers`, `optim`, `models` and `data` would come from elsewhere than beside the engine, and whence."""
    home = Path(__file__).resolve().parent.parent
    found = {name: _place(name) for name in OURS}
    return {name: place for name, place in found.items() if place is not None and place != home / name}


def say_so() -> None:
    """One line per stranger. By `logging`: on stderr unless the program decides otherwise, and never an error."""
    for name, place in strangers().items():
        logging.getLogger("chainrule").warning(
            "chainrule: `import %s` finds %s, which is not Chain Rule's: rename it, or start Python in another folder",
            name,
            place,
        )


def _place(name: str) -> Path | None:
    """The folder (or file) that `import name` would take, without importing it; None where there is none."""
    loaded = sys.modules.get(name)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    place = folders[0] if folders else spec.origin
    return Path(place).resolve() if place else None
