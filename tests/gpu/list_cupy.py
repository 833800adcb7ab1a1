"""What the installed CuPy has, written to cupy_names.json: the stand-in of `strict.py` refuses everything else.

    python -m tests.gpu.list_cupy            # write
    python -m tests.gpu.list_cupy --check    # exit 1 where the file is not what the installed CuPy says
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "cupy_names.json"
UFUNC_KEYWORDS = ["out", "dtype", "casting"]  # its signature can't be looked at; others raise TypeError


def keywords(f: Any) -> list[str] | None:
    """Names of a function's arguments in order; None: it takes any, or says nothing about them."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return from_docstring(f)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.name != "self"]


def from_docstring(f: Any) -> list[str] | None:
    """Cython writes a method's signature into the first line of its docstring."""
    head = re.match(r"\w+\.\w+\(self(?:, )?(.*?)\)(?: ->|$)", (f.__doc__ or "").split("\n")[0])
    if head is None:
        return None
    names = [part.split("=")[0].strip().split(" ")[-1] for part in head[1].split(",") if part.strip()]
    return None if any(n.startswith("*") for n in names) and len(names) == 1 else [n.lstrip("*") for n in names]


def listed() -> dict[str, Any]:
    import cupy

    functions: dict[str, Any] = {}
    ufuncs: dict[str, bool] = {}  # name -> has it an `at`?
    others = []
    for name in sorted(n for n in dir(cupy) if not n.startswith("_")):
        thing = getattr(cupy, name)
        if type(thing).__name__ == "ufunc":
            ufuncs[name] = bool(getattr(thing, "_scatter_op", ""))
        elif callable(thing) and not isinstance(thing, type):
            functions[name] = keywords(thing)
        else:
            others.append(name)
    members = {n: getattr(cupy.ndarray, n) for n in dir(cupy.ndarray) if not n.startswith("_")}
    return {
        "cupy": cupy.__version__,
        "functions": functions,
        "ufuncs": ufuncs,
        "others": others,
        "methods": {n: keywords(m) for n, m in members.items() if callable(m)},
        "attributes": [n for n, m in members.items() if not callable(m)],
    }


def main(arguments: list[str]) -> int:
    frozen = json.loads(FILE.read_text())
    try:
        text = json.dumps(listed(), indent=0) + "\n"
    except ImportError:
        print(f"list_cupy: CuPy is not installed; {FILE.name} says what {frozen['cupy']} has")
        return 0
    if "--check" not in arguments:
        FILE.write_text(text)
        return 0
    installed = json.loads(text)
    if frozen["cupy"] != installed["cupy"]:
        print(f"list_cupy: the file is of CuPy {frozen['cupy']}, installed is {installed['cupy']}: nothing to compare")
        return 0
    for part in frozen:
        if frozen[part] != installed[part]:
            print(f"list_cupy: {part} differ from the installed CuPy's; run python -m tests.gpu.list_cupy")
            return 1
    print(f"list_cupy: {FILE.name} is what CuPy {installed['cupy']} has")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
