"""The catalogue: each op is written once and says what it is; one line in one file is enough to add one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import engine
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
