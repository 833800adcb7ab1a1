"""What is installed, and under which names."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = "engine", "layers", "optim", "models", "data"


def test_every_package_is_listed_and_nothing_else():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    here = {
        ".".join(init.parent.relative_to(ROOT).parts) for room in ROOMS for init in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == here, "pyproject.toml lists the packages one by one: bring it up to date"


def test_a_stranger_is_named_in_one_line(tmp_path):
    """Somebody's own `data` in the folder where Python starts hides ours; `models` is ours, and not mentioned."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import engine"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0
    assert run.stderr.splitlines().count(
        f"chainrule: `import data` finds {tmp_path.resolve() / 'data'}, which is not Chain Rule's: "
        "rename it, or start Python in another folder"
    ) == 1, run.stderr
    assert "`import models`" not in run.stderr


def test_among_ourselves_nothing_is_said():
    from engine.names import strangers

    assert strangers() == {}
