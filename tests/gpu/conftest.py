"""What has a target of its own (`make gpu-executed`, `make gpu-compiled`) runs when it is named, not with all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
OWN_TARGET = "test_compiled.py", "test_executed.py", "test_shim.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these out unless the command line names this folder, or a file in it."""
    named = [Path(arg.split("::")[0]).resolve() for arg in config.args]
    if collection_path.name in OWN_TARGET and not any(path == HERE or HERE in path.parents for path in named):
        return True
    return None
