"""Code that is written to be read runs: examples in docstrings, README and CONTRIBUTING. (Pages run in `make docs`.)

An example stands in its module, as its reader does. What it takes for granted (a model, batches) is in GIVEN; a line
whose comment begins with the name of an error raises it. Whatever does not run is listed here, with the reason.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import textwrap
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import engine

ROOT = Path(engine.__file__).parent.parent
PACKAGES = "engine", "layers", "optim", "models", "data"

MODEL = """
import engine, layers, models, optim
from engine import cross_entropy
model = models.Sequential([layers.Dense(3)])
optimizer, loss_fn = optim.Adam(model.parameters(), 1e-3), cross_entropy
x, y = engine.ones((4, 2)), np.array([0, 1, 2, 1])
batches = [(x, y)] * 4
model(x)
"""
PAIR = "pair = ['A fine film!', 'no'], np.array([1, 0])\n"
GIVEN = {
    "README.md:1": "from data import mnist\n"
    "digits = np.zeros((64, 28, 28), 'u1'), np.arange(64, dtype='u1') % 10\n"
    "patch(mnist, 'load_data', lambda: (digits, digits))",
    "CONTRIBUTING.md:1": "from engine.op import elementwise\nfrom engine.ops import abs, square\n"
    "from engine.samples import interval\ndrop(engine.OPS, 'softsign'); drop(engine.expr.ATOMS, 'softsign')",
    "engine/captured.py": MODEL,
    "engine/fuse.py": "from engine import sigmoid\nx = engine.ones(3, requires_grad=True)",
    "engine/ops/summed.py": "from engine import fuse, multiply, square\n"
    "t, p, x1, x2 = (engine.tensor(np.arange(3.0) + k) for k in range(4))",
    "engine/parameter.py": "from engine.random import Generator",
    "engine/precision.py": f"{MODEL}\nscaler = optim.GradScaler()",
    "engine/view/trace.py": f"{MODEL}\nnetwork = model\nmodel = lambda x: network(x).sum()",
    "layers/cache.py:KeyValueCache": "from layers import TransformerDecoder\ndecoder = TransformerDecoder(8, 2)\n"
    "ids = np.array([[1, 5, 2, 7]])\n@engine.no_grad()\ndef model(ids, cache):\n"
    "    return decoder(engine.ones((*ids.shape, 4)), cache=cache)",
    "layers/layer.py": "from layers.initializers import HeNormal",
    "layers/symbolic.py": "from layers import Dense, Flatten, Input",
    "models/metrics.py": "y_true, y_pred = np.array([1, 0]), np.array([0.9, 0.2])",
    "models/model.py": "from layers import Dense, Input",
    "optim/scaler.py": f"{MODEL}\nfrom engine import autocast",
    "data/imdb.py": f"{PAIR}patch(imdb, 'load_data', lambda num_words: (pair, pair)); "
    "patch(imdb, 'load_reviews', lambda: (pair, pair))",
    "data/mnist.py": "from types import SimpleNamespace as S\n"
    "digits = np.zeros((2, 28, 28), 'u1'), np.zeros(2, 'u1')\n"
    "patch(mnist, 'load_data', lambda: (digits, digits)); patch(mnist, 'load', lambda: S(source=''))",
    "data/mr.py": f"{PAIR}patch(mr, 'load_data', lambda: (pair, pair))",
    "data/sst2.py": f"{PAIR}patch(sst2, 'load_data', lambda: (pair, pair)); "
    "patch(sst2, 'load_test', lambda: pair[0])",
    "data/tinyshakespeare.py": "text = 'First Citizen:\\nBefore we proceed any further, hear me speak.'\n"
    "patch(tinyshakespeare, 'load', lambda data=None: text)",
    "data/sequences.py": "reviews, y = [[1, 2], [3], [4, 5, 6]], np.array([0, 1, 0])",
    "data/text.py": "reviews = ['A fine film!', 'no']",
    "data/tokenizer.py": "from pathlib import Path\nfolder = Path('folder/of/the/model'); folder.mkdir(parents=True)\n"
    "words = '[PAD] [UNK] [CLS] [SEP] a fine film ! no'.split()\n"
    "(folder / 'vocab.txt').write_text('\\n'.join(words))",
}  # fmt: skip
NOT_RUN = {"models/pretrained.py": "fetches a model of 90 MB; tests/test_pretrained.py loads small ones"}
SHELL = {
    "README.md": 1,
    "CONTRIBUTING.md": 1,
    "docs/quickstart.md": 1,
    "docs/performance.md": 1,
}  # pages with commands for a shell, how many
NEEDS_A_GPU = {"docs/gpu.md": 1, "docs/guides/gpu.md": 1}

FENCE = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.M)
INDENTED = re.compile(r"(?:^|\n\n)((?:    .*(?:\n|$)|\n(?=    ))+)")


def fences(page):
    return [(kind.strip(), code) for kind, code in FENCE.findall((ROOT / page).read_text())]


def docstrings(path):
    """[(label, docstring)] of a file; pseudo-code is what a kernel opens with, so that kernels are left out."""
    tree = ast.parse(path.read_text())
    label = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (doc := ast.get_docstring(node)):
            yield label if isinstance(node, ast.Module) else f"{label}:{node.name}", doc


def is_code(text):
    """Python with a call in it, not a formula: an assignment to y[n,i] is index notation."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    return any(isinstance(n, ast.Call) for n in ast.walk(ast.Module(body, []))) and "Sum(" not in text


def written():
    """label -> code"""
    found = {}
    for page in ("README.md", "CONTRIBUTING.md"):
        blocks = [code for kind, code in fences(page) if kind == "python"]
        found |= {f"{page}:{k}": code for k, code in enumerate(blocks, 1)}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "kernels" not in path.parts:
                for label, doc in docstrings(path):
                    blocks = [b for t in INDENTED.findall(doc) if is_code(b := textwrap.dedent(t).strip("\n"))]
                    if blocks:
                        found[label] = "\n\n".join(blocks)
    return found


WRITTEN = written()


@pytest.mark.parametrize("label", [label for label in WRITTEN if label not in NOT_RUN])
def test_written_code_runs(label, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, scope = WRITTEN[label], {"np": np}
    file = label.split(":")[0]
    if file.endswith(".py"):
        home = importlib.import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        scope |= {home.__name__.rpartition(".")[2]: home} | vars(home)
    with pytest.MonkeyPatch.context() as world:
        scope |= {"engine": engine, "patch": world.setattr, "drop": world.delitem}
        scope["__name__"] = "reader"  # a class of the example is theirs, not of the module that it stands in
        exec(GIVEN.get(label, ""), scope)
        for statement in ast.parse(code).body:
            said = re.search(r"# (\w+Error)\b", code.splitlines()[statement.end_lineno - 1])
            with pytest.raises(getattr(engine.errors, said[1])) if said else nullcontext():
                exec(compile(ast.Module([statement], []), label, "exec"), scope)


def test_what_is_given_and_what_does_not_run_is_there():
    assert GIVEN.keys() <= WRITTEN.keys() and NOT_RUN.keys() <= WRITTEN.keys()
    assert len(WRITTEN) > 20


# ------------------------------------------------------------------------------------------------ pages
PAGES = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
    *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md"))),
]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_code_that_nobody_runs(page):
    """Python runs in `make docs` or above; the exceptions are commands for a shell, and what needs a GPU."""
    text = (ROOT / page).read_text()
    kinds = [kind for kind, _ in fences(page)]
    held_back = len(re.findall(r"^<!-- .*: not run -->$", text, re.M)) + sum(".no-run" in kind for kind in kinds)
    assert held_back == NEEDS_A_GPU.get(page, 0)
    assert kinds.count("sh") == SHELL.get(page, 0)
    others = [k for k in kinds if not (k in ("sh", "text") or k.startswith("python") or ".no-run" in k)]
    assert not others


@pytest.mark.parametrize("page", SHELL)
def test_commands_for_a_shell_are_there(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = [line for kind, code in fences(page) if kind == "sh" for line in code.splitlines() if line.strip()]
    for command in commands:
        words = command.split("#")[0].split()
        if words[0] == "make":
            assert words[1] in targets, command
        elif "-m" in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), command


def test_a_formula_is_no_code():
    assert not is_code("y[n,k] = Sum(j, a[n,j] * b[j,k])") and not is_code("x:(N,D) -> y:(N,D)")
    assert is_code("y = f(x)") and inspect.getdoc(engine)
