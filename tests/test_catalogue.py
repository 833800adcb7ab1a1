"""The catalogue: each op is written once and says what it is; one line in one file is enough to add one."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import engine
from docs.generate import notebooks, objects, ops as op_pages, pages
from docs.generate.docstrings import markdown
from docs.generate.examples import EXAMPLES, example
from docs.generate.maths import mathml
from engine import OPS
from engine.formula import latex
from engine.op import ElementwiseOp
from engine.ops.__main__ import describe, main

ROOT = Path(engine.__file__).parent.parent
SOURCES = {p: p.read_text() for p in (ROOT / "engine").rglob("*.py")}
OUR_OPS = [n for n, o in OPS.items() if o.file.startswith(str(ROOT / "engine"))]


@pytest.mark.parametrize("name", OUR_OPS)
def test_an_op_is_registered_in_one_place_and_its_record_says_where(name):
    pattern = re.compile(rf'(elementwise|op|composite)\(\s*"{re.escape(name)}"')
    hits = [p for p, text in SOURCES.items() for _ in pattern.finditer(text)]
    assert len(hits) == 1
    assert hits[0] == Path(OPS[name].file)
    near = SOURCES[hits[0]].splitlines()[max(0, OPS[name].line - 4) : OPS[name].line + 45]
    assert any(f'"{name}"' in line for line in near)


@pytest.mark.parametrize("name", OUR_OPS)
def test_an_op_says_what_it_computes(name):
    op = OPS[name]
    assert op.latex.strip(), "no equation"
    assert op.latex.count("{") == op.latex.count("}")
    assert op.__doc__
    if isinstance(op, ElementwiseOp):
        if op.atom.forward is not None:
            assert op.note.why, "a stable form without its reason"
    else:
        assert op.note.samples, "no samples: nothing would be tested"
    if op.differentiable and isinstance(op, ElementwiseOp):
        for i in range(len(op.inputs)):
            assert latex(engine.expr.var(op.inputs[i])) in op.derivative_latex(i) or "not" in op.derivative_latex(i)


@pytest.mark.parametrize("name", OUR_OPS)
def test_every_op_describes_itself(name):
    text = describe(OPS[name])
    assert name in text
    assert "DIFFERS" not in text


def test_the_command_prints_an_op_and_knows_its_neighbours(capsys):
    assert main(["sigmoid"]) == 0
    text = capsys.readouterr().out
    for part in (
        "definition",
        "derivative",
        "stable form",
        "why",
        "engine/ops/activation.py:",
        "every derivative agrees",
    ):
        assert part in text
    assert main(["sigmoyd"]) == 2
    assert "there is no op 'sigmoyd'; did you mean sigmoid" in capsys.readouterr().err
    assert main([]) == 0
    assert set(capsys.readouterr().out.split()) == set(OPS)


# ------------------------------------------------------------------------------------------------ adding an op
MADE_UP = """
from engine.op import elementwise
from engine.ops import exp
from engine.samples import interval

bump = elementwise(
    "bump",
    definition=lambda x: exp(-(x * x)),
    vjp=[lambda g, x, y: {factor} * g * x * y],
    domain=interval(-2.0, 2.0),
    special={{0.0: 1.0}},
    invariants=[lambda f, x: (f(x), f(-x))],
)
"""


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_a_made_up_op_written_in_one_place_is_tested_and_described(tmp_path):
    (tmp_path / "made_up.py").write_text(MADE_UP.format(factor="-2"))
    tests = run(tmp_path, "-m", "pytest", "-p", "made_up", "-q", "-n", "0", "tests/test_ops.py", "-k", "bump")
    assert tests.returncode == 0, tests.stdout[-2000:]
    assert int(re.search(r"(\d+) passed", tests.stdout)[1]) >= 12
    show = "import engine, made_up; from engine.ops.__main__ import main; main(['bump']); print(engine.bump(0.0))"
    text = run(tmp_path, "-c", show).stdout
    for part in ("tensor(1.", r"y = e^{-x^2}", r"\bar{x} = ", "made_up.py:6", "every derivative agrees"):
        assert part in text


def test_a_made_up_op_with_a_wrong_derivative_fails_its_tests(tmp_path):
    (tmp_path / "made_up.py").write_text(MADE_UP.format(factor="-2.002"))
    tests = run(tmp_path, "-m", "pytest", "-p", "made_up", "-q", "-n", "0", "tests/test_ops.py", "-k", "bump")
    assert tests.returncode == 1
    assert "test_vjp_is_the_derivative_in_first_and_second_order[bump]" in tests.stdout
    assert "DIFFERS" in tests.stdout


def test_a_second_op_of_the_same_name_is_refused():
    before = engine.expr.ATOMS["sigmoid"], OPS["sigmoid"]
    with pytest.raises(ValueError, match="there is an op 'sigmoid' already, in .*activation.py"):
        engine.op.elementwise("sigmoid", lambda x: x)
    assert (engine.expr.ATOMS["sigmoid"], OPS["sigmoid"]) == before


# ------------------------------------------------------------------------------------------------ pages of the docs
def test_every_op_layer_loss_optimiser_and_schedule_has_a_page_that_the_navigation_leads_to():
    listed = set(_paths(pages.navigation()))
    assert {f"ops/{name}.md" for name in OUR_OPS} <= listed
    for kind in objects.KINDS:
        ours = [c for c in kind.base.table.values() if c.__module__.split(".")[0] in ("layers", "optim")]
        assert ours and {f"{kind.folder}/{c.__name__}.md" for c in ours} <= listed
    for path in listed - set(pages.places().values()):
        made = (
            path.split("/")[0] in ("notebooks", "reference") or path.endswith("/index.md") or path == "conformance.md"
        )
        assert made or (ROOT / "docs" / path).exists(), path


def test_the_navigation_leads_to_every_page_there_is():
    """One that was left behind is stale; mkdocs.yml makes a warning of it, which fails the build."""
    listed = set(_paths(pages.navigation()))
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert there <= listed, f"nothing leads to {sorted(there - listed)}"
    missing = {p for p in listed if p.startswith(("guides/", "decisions/"))} - there
    assert not missing, f"there is no {sorted(missing)}"
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "strict: true" in settings and "omitted_files: warn, not_found: warn" in settings
    assert "mkdocs build --quiet" not in (ROOT / "Makefile").read_text()  # it counts no warnings


def test_nothing_of_a_notebook_runs_a_second_time():
    made = {path: text for path, text in notebooks.pages().items() if path.endswith(".md")}
    assert len(made) > 20 and not [path for path, text in made.items() if "```python\n" in text]


def _paths(nav):
    for part in nav:
        if isinstance(part, str):
            yield part
        else:
            yield from _paths(next(iter(part.values())))


@pytest.mark.parametrize("name", OUR_OPS)
def test_the_page_of_an_op_says_what_its_record_says(name, monkeypatch):
    monkeypatch.setattr(op_pages, "check", lambda op: None)
    monkeypatch.setattr(op_pages, "_drawings", lambda op: [])
    op, text = OPS[name], op_pages.op_page(OPS[name])
    assert text.startswith(f"# {name}\n\n$$\n{op.latex}\n$$\n")
    assert f"engine.{name}(" in text and f'"{name}"' in op_pages.entry(op)
    for formula in re.findall(r"\$\$\n(.*?)\n\$\$", text, re.S):
        mathml(formula, display=True)
    for said in (op.note.why, op.note.source):
        assert said[1:] in text
    for point, value in op.note.special.items():
        assert str(value) in text and str(point[0] if isinstance(point, tuple) else point) in text
    assert text.count("Error: ") >= len(op.note.errors)


@pytest.mark.parametrize("name", OUR_OPS)
def test_the_example_of_an_op_runs_and_shows_a_gradient(name, capsys):
    code = example(OPS[name])
    exec(code, {})
    shown = capsys.readouterr().out
    assert "tensor(" in shown
    if OPS[name].differentiable:
        assert ".grad = tensor(" in shown, code


@pytest.mark.parametrize("name", ["sigmoid", "pow", "bitwise_and", "softmax", "mse", "split"])
def test_an_op_is_drawn(name):
    drawing = "".join(op_pages._drawings(OPS[name]))
    assert drawing.count("<path") > 3 and "\n\n" not in drawing


@pytest.mark.parametrize(
    "kind, cls",
    [(k, c) for k in objects.KINDS for c in k.classes],
    ids=lambda x: x.title if isinstance(x, objects.Kind) else x.__name__,
)
def test_the_page_of_a_class_has_its_docstring_and_an_example_that_runs(kind, cls, monkeypatch, capsys):
    monkeypatch.setattr(objects.pictures, "loss", lambda *_: "")
    monkeypatch.setattr(objects.pictures, "path", lambda *_: "")
    monkeypatch.setattr(objects.pictures, "schedule", lambda *_: "")
    monkeypatch.setattr(objects, "view", lambda *_, **__: SimpleNamespace(svg=str))
    text = objects.object_page(kind, cls)
    assert f"::: {cls.__module__}.{cls.__name__}" in text and cls.__doc__
    for formula in re.findall(r"\$\$?(.+?)\$\$?", markdown(cls.__doc__), re.S):
        mathml(formula)
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], {})
    assert capsys.readouterr().out


def test_examples_name_what_there_is():
    assert EXAMPLES.keys() <= OPS.keys()
    names = {kind.folder: {c.__name__ for c in kind.classes} for kind in objects.KINDS}
    assert objects.LAYERS.keys() == names["layers"] and objects.LOSSES.keys() == names["losses"]
    assert objects.SCHEDULES.keys() == names["schedules"] and objects.RATES.keys() <= names["optimisers"]


def test_docstrings_become_markdown():
    assert markdown("One line, :math:`x^2`, *B.") == r"One line, $x^2$, \*B."
    assert "$$\na b\n$$" in markdown("First.\n\n    .. math:: a\n        b\n")
    columns = markdown("First.\n\n    name, other   what it is,\n                  on two lines\n")
    assert "| `name`, `other` | what it is, on two lines |" in columns


# ------------------------------------------------------------------------------------------------ equations.md
EQUATIONS = (ROOT / "docs" / "equations.md").read_text()
TABLES = EQUATIONS.split("## Wrong")[0] + EQUATIONS.split("## Listings")[1]
ROWS = {line.split(" ")[1]: line.split(" | ") for line in TABLES.splitlines() if re.match(r"\| [EL]\d+ ", line)}


def test_every_equation_and_listing_of_the_documents_has_a_row():
    assert list(ROWS) == [f"E{n}" for n in range(1, 23)] + [f"L{n}" for n in range(1, 5)]
    for op in OPS.values():
        for number in op.note.equations:
            assert f"`engine.{op.name}`" in ROWS[number][2], f"{op.name} says that it is {number}"


@pytest.mark.parametrize("number", ROWS)
def test_a_row_names_ops_tests_and_notebooks_that_exist(number):
    row = " ".join(ROWS[number])
    for name in re.findall(r"`((?:engine|layers|optim)\.[\w.]+)`", row):
        home, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(home), attribute), name
    tests = re.findall(r"`tests/(\w+)\.py::(\w+)`", row)
    assert tests
    for file, test in tests:
        assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(), test
    sources = ROOT / "notebooks" / "src"
    for notebook in re.findall(r"`(\d\d_\w+)`", row):
        if sources.exists():  # an installed copy has none
            assert number in (sources / f"{notebook}.py").read_text(), f"{number} is not in {notebook}"


def test_formulas_of_the_tables_are_typeset():
    formulas = re.findall(r"\$(.+?)\$", EQUATIONS)
    assert len(formulas) > 30 and all(mathml(f).startswith("<math") for f in formulas)
