"""Kernels run thread by thread on the shim, and equal the CPU's plain forms, whatever the order of threads."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import kernels
from engine.kernels.cuda import launch
from tests.gpu import shim
from tests.gpu.executed import CASES, DTYPES
from tests.gpu.mutants import MUTANTS, Mutant
from tests.gpu.shim.driver import Driver

pytestmark = pytest.mark.skipif(shim.unavailable() is not None, reason=str(shim.unavailable()))
DRIVERS: dict[int, Driver] = {}
CUDA_KERNELS, CPU_KERNELS = (Path(kernels.__file__).parent / device for device in ("cuda", "cpu"))
# embedding_gradient's; a case for each cell
ROUNDS = "recurrent", "recurrent_tokens"
WITHIN = "embedding.add_rows", *(f"{module}.{way}" for module in ROUNDS for way in ("forward", "backward"))
USERS = {"bias": {"bias", "matmul"}}  # whose cases run a module's kernels, where these are not all its own


def driver(schedule: int) -> Driver:
    return DRIVERS.setdefault(schedule, Driver(schedule))


@pytest.mark.parametrize("schedule", shim.SCHEDULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_equal_the_plain_forms(case: Any, schedule: int) -> None:
    with launch.using(driver(schedule)):
        case.check(np.random.default_rng(schedule), DTYPES if schedule == 0 else (np.float32,))


def test_every_function_that_both_devices_have_has_a_case() -> None:
    """A wrapper that launches no kernel of ours, too: its contract is the CPU's."""
    cases = {(case.module, case.name) for case in CASES} | {tuple(name.split(".")) for name in WITHIN}
    for path in CPU_KERNELS.glob("*.py"):
        if (CUDA_KERNELS / path.name).exists():
            ours, theirs = (functions(f"engine.kernels.{device}.{path.stem}") for device in ("cuda", "cpu"))
            missing = {(path.stem, name) for name in ours & theirs} - cases
            assert not missing, f"add a case to tests/gpu/executed for {missing}"


def functions(module: str) -> set[str]:
    found = vars(importlib.import_module(module)).items()
    return {n for n, f in found if inspect.isfunction(f) and f.__module__ == module and not n.startswith("_")}


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutants_are_killed(mutant: Mutant) -> None:
    with pytest.raises((AssertionError, shim.ShimError)) as caught:
        for schedule in shim.SCHEDULES[:2]:
            with launch.using(Driver(schedule, mutant.edit)):
                for case in CASES:
                    if case.module in USERS.get(mutant.module, {mutant.module}):
                        case.check(np.random.default_rng(schedule), (np.float32,))
    assert not str(caught.value).startswith("g++"), "a mutant is right C++, and wrong"
