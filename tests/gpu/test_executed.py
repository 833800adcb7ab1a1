"""Kernels run thread by thread on the shim, and equal the CPU's plain forms, whatever the order of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.kernels.cuda import launch
from tests.gpu import shim
from tests.gpu.executed import CASES, DTYPES
from tests.gpu.shim.driver import Driver

pytestmark = pytest.mark.skipif(shim.unavailable() is not None, reason=str(shim.unavailable()))
DRIVERS: dict[int, Driver] = {}


def driver(schedule: int) -> Driver:
    return DRIVERS.setdefault(schedule, Driver(schedule))


@pytest.mark.parametrize("schedule", shim.SCHEDULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_equal_the_plain_forms(case: Any, schedule: int) -> None:
    with launch.using(driver(schedule)):
        case.check(np.random.default_rng(schedule), DTYPES if schedule == 0 else (np.float32,))
