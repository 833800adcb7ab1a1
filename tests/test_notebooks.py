"""The committed notebooks: what their scripts say, run to the end without an error. `make notebooks` runs them anew."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"

spec = importlib.util.spec_from_file_location("notebooks_build", FOLDER / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

SCRIPTS = sorted(path.stem for path in build.SOURCES.glob("*.py"))
CHINESE = [name for name in SCRIPTS if name.endswith(".zh")]


def cells_of_script(name):
    """[(kind, text)] of a percent script, read without jupytext."""
    parts = re.split(r"^# %%(.*)$", (build.SOURCES / f"{name}.py").read_text(), flags=re.MULTILINE)[1:]
    cells = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        text = text.strip("\n")
        if "[markdown]" in kind:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.split("\n"))
        cells.append(("markdown" if "[markdown]" in kind else "code", text.strip()))
    return cells


def cells(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def source(cell):
    return "".join(cell["source"]).strip()


def prose(name):
    return "\n".join(text for kind, text in cells_of_script(name) if kind == "markdown")


def test_every_script_has_its_notebook():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_notebook_is_what_its_script_says(name):
    assert [(c["cell_type"], source(c)) for c in cells(name)] == cells_of_script(name), "run `make notebooks`"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_notebook_was_run_to_the_end(name):
    code = [c for c in cells(name) if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    outputs = [output for c in code for output in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    drawn = [o["data"] for o in outputs if {"image/png", "image/svg+xml"} & o.get("data", {}).keys()]
    assert drawn, "a picture in each"
    assert all(len("".join(data.get("image/png", ""))) < 140_000 for data in drawn), "a picture is at most 100 KB"


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_of_the_machine_that_ran_it_is_kept(name):
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert not re.search(r"/home/|/root/|/tmp/|/Users/|\\\\Users|site-packages", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_notebook_teaches(name):
    """One idea: a question, something to predict, and exercises whose answers are one fold away."""
    first = cells_of_script(name)[0][1]
    chinese = name.endswith(".zh")
    assert first.startswith(f"# {int(name[:2])} · ")
    assert ("**问题**" in first and "**想法**" in first) if chinese else ("**The question.**" in first)
    assert ("先猜" if chinese else "redict") in prose(name)
    assert prose(name).count("<details>") == prose(name).count("</details>") == 1


WRONG_ON_PURPOSE = {"02": 3, "06": 1, "17": 1}  # E3, E18 and E20 as printed; a planted error; a forgotten product rule


@pytest.mark.parametrize("name", SCRIPTS)
def test_gradient_checks_end_as_the_text_says(name):
    printed = "".join("".join(o.get("text", "")) for c in cells(name) for o in c.get("outputs", []))
    assert printed.count("a derivative DIFFERS") == WRONG_ON_PURPOSE.get(name[:2], 0)


@pytest.mark.parametrize("name", [n for n in SCRIPTS if n not in CHINESE])
def test_a_notebook_defines_no_maths_of_its_own(name):
    """Functions of the textbook come from the engine: NumPy draws data and measures, and SciPy isn't there at all."""
    tree = ast.parse((build.SOURCES / f"{name}.py").read_text())
    called = {
        n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "np"
    }
    assert not called & {"tanh", "einsum", "convolve", "gradient", "maximum", "matmul"}
    assert not {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names} & {"scipy", "torch"}


def test_the_same_code_is_the_same_tokens_in_the_same_blocks():
    one = "for x in xs:\n    f(x)\ng()  # a comment\n"
    assert build.code(one) == build.code("for x in xs:  # 注释\n  f(x)\n\n# 注释\ng()")
    for other in ("for x in xs:\n    f(x)\n    g()", "for x in xs: f(x)\ng()", "for x in xs:\n    f(x) or g()"):
        assert build.code(one) != build.code(other)


@pytest.mark.parametrize("name", CHINESE)
def test_a_translation_runs_the_same_code(name):
    original = name.removesuffix(".zh")
    ours, theirs = ([build.code(t) for kind, t in cells_of_script(n) if kind == "code"] for n in (name, original))
    assert ours == theirs
    outputs = [[c["outputs"] for c in cells(n) if c["cell_type"] == "code"] for n in (name, original)]
    assert outputs[0] == outputs[1]
    assert len(re.findall(r"[\u4e00-\u9fff]", prose(name))) > 400


@pytest.mark.parametrize("number", range(1, 23))
def test_every_equation_stands_next_to_code_that_runs_it(number):
    """E1 .. E22 of the documents: named in a text cell, with a code cell before or after it."""
    found = []
    for name in SCRIPTS:
        kinds = cells_of_script(name)
        for k, (kind, text) in enumerate(kinds):
            near = {kinds[j][0] for j in (k - 1, k + 1) if 0 <= j < len(kinds)}
            if kind == "markdown" and "code" in near and re.search(rf"\bE{number}\b", text):
                found.append(name)
    assert found
