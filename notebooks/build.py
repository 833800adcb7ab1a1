"""Make the notebooks: python notebooks/build.py [--check | --words] [NAME ...]

`src/NAME.py` is what is written by hand (jupytext's percent format), `NAME.ipynb` what it becomes: run from its first
cell to its last, outputs kept. `src/NAME.zh.py` is the same in Chinese: its code cells are those of `src/NAME.py`, so
it takes the outputs over and is not run a second time.

--check runs them without writing anything. --words runs nothing: where the code is still that of the committed
notebook, only the text is new, and the outputs are kept. An error, a warning, a cell of more than CELL seconds: failed.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
import tokenize
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = HERE / "src"
CELL = 300  # seconds: a notebook should take less than a minute in all, but other people's machines are slow
AT_ONCE = 2


def names() -> list[str]:
    """All notebooks, in the order in which they are read; translations left out."""
    return sorted(path.stem for path in SOURCES.glob("*.py") if not path.stem.endswith(".zh"))


def read(name: str) -> Any:
    """The notebook that a script describes, without outputs."""
    import jupytext

    notebook = jupytext.read(SOURCES / f"{name}.py", fmt="py:percent")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for k, cell in enumerate(notebook.cells):
        cell["id"], cell["metadata"] = f"cell-{k}", {}
    return notebook


def run(notebook: Any) -> None:
    """Execute all cells in a fresh process; outputs come into the notebook. Raises CellExecutionError."""
    from nbclient import NotebookClient

    os.environ |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONPATH": str(HERE.parent)}
    NotebookClient(
        notebook, timeout=CELL, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}, record_timing=False,
        extra_arguments=["--Application.log_level=ERROR"],
    ).execute()  # fmt: skip
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["outputs"] = joined(cell["outputs"])


def joined(outputs: list[Any]) -> list[Any]:
    """Pieces of one stream become one piece: how they were cut is chance."""
    kept: list[Any] = []
    for output in outputs:
        output.pop("transient", None)
        if output.get("name") == "stderr" and output["text"].startswith("chainrule: compiling"):
            continue  # said once on a new machine
        if kept and output["output_type"] == kept[-1]["output_type"] == "stream" and output["name"] == kept[-1]["name"]:
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def code(source: str) -> list[str]:
    """The tokens of code without comments and empty lines, to compare a notebook with its translation. A line's end and
    a block's say so by their kind: how they are written is layout.
    """
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}
    layout = {kind: tokenize.tok_name[kind] for kind in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [layout.get(t.type, t.string) for t in tokens if t.type not in skip]


def with_outputs_of(label: str, original: Any) -> Any:
    """The notebook of a script, with the outputs of another one that has the same code."""
    notebook = read(label)
    ours, theirs = ([cell for cell in book.cells if cell.cell_type == "code"] for book in (notebook, original))
    if [code(cell.source) for cell in ours] != [code(cell.source) for cell in theirs]:
        raise RuntimeError(f"src/{label}.py: its code is not that of the notebook whose outputs it takes over")
    for cell, other in zip(ours, theirs, strict=True):
        cell["outputs"], cell["execution_count"] = other["outputs"], other["execution_count"]
    return notebook


def make(name: str, check: bool, words: bool) -> str:
    import nbformat

    began = time.perf_counter()
    if words:
        done = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    else:
        run(done := read(name))
    notebook = with_outputs_of(name, done)  # and nothing else: what ran it is not the reader's business
    complaints = [o["text"] for c in notebook.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    if complaints:
        raise RuntimeError(f"{name} complains: {complaints[0]}")
    books = {name: notebook}
    if (SOURCES / f"{name}.zh.py").exists():
        books[f"{name}.zh"] = with_outputs_of(f"{name}.zh", notebook)
    for label, book in books.items():
        if not check:
            nbformat.write(book, HERE / f"{label}.ipynb")
    return f"{name}: {time.perf_counter() - began:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of all notebooks by default; its number will do")
    parser.add_argument("--check", action="store_true", help="run, but write nothing")
    parser.add_argument("--words", action="store_true", help="take new text over, and keep the outputs")
    asked = parser.parse_args()
    chosen = [n for n in names() if not asked.names or any(n.startswith(p) for p in asked.names)]
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, job in [(name, pool.submit(make, name, asked.check, asked.words)) for name in chosen]:
            try:
                print(job.result(), flush=True)
            except Exception as problem:
                failed += 1
                print(f"{name} FAILED\n{problem}", file=sys.stderr, flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} notebooks run", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
