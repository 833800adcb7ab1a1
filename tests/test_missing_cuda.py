"""Without CuPy, a driver, NVRTC: a new process imports the engine, and is told what is missing and what to install.

The packages called cupy are made up here, but for the last test, which asks the one that is installed.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CUPY = '''
"""As much of CuPy as finding out asks for, in a package of its own."""
from . import cuda
__version__ = "14.2.0"
class RawKernel:
    def __init__(self, text, name): pass
    def compile(self): {compile}
'''
CUDA = """
from types import SimpleNamespace
class CUDARuntimeError(RuntimeError): pass
def getDeviceCount(): {count}
facts = dict(name=b"NVIDIA H100", totalGlobalMem=80e9, major=9, minor=0)
runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError, getDeviceCount=getDeviceCount, getDeviceProperties=lambda i: facts
)
"""
NO_DRIVER = 'raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")'
NO_NVRTC = "raise RuntimeError('Failure finding libnvrtc.so.13 or libnvrtc.so.12: No such file')"
BROKEN = """
try:
    raise ImportError("libcublas.so.13: cannot open shared object file")
except ImportError as e:
    raise ImportError("=" * 300) from e
"""
PROGRAM = """
import sys
{first}
import engine
assert "cupy" not in sys.modules or sys.modules["cupy"] is None, "engine imports CuPy before a GPU is asked for"
print(engine.devices().get("cuda"))
try:
    engine.tensor([1.0], device="cuda")
except engine.DeviceError as problem:
    print(problem)
assert (engine.ones(3) + 1).sum().item() == 6
"""


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, r'CuPy is not installed: pip install "chainrule\[gpu\]" \(CUDA 13\), or "chainrule\[gpu-cuda12\]"'),
        ({"__init__": CUPY.format(compile="pass"), "cuda": CUDA.format(count=NO_DRIVER)},
         r"CuPy 14.2.0 is installed, but no NVIDIA driver that it can use \(CUDARuntimeError: .*\); install or update"),
        ({"__init__": CUPY.format(compile=NO_NVRTC), "cuda": CUDA.format(count="return 1")},
         r"CuPy 14.2.0 finds a GPU, but can't compile for it \(.*libnvrtc.so.13.*\); NVRTC comes with pip install"),
        ({"__init__": BROKEN},
         r"CuPy is installed, but can't be loaded \(ImportError: libcublas.so.13: cannot open .*\); install it anew"),
    ],
    ids=["no CuPy", "no driver", "no NVRTC", "does not load"],
)  # fmt: skip
def test_without_a_part_of_cuda_a_new_process_imports_the_engine_and_says_what_is_missing(tmp_path, files, says):
    (tmp_path / "cupy").mkdir()
    for name, text in (files or {}).items():
        (tmp_path / "cupy" / f"{name}.py").write_text(text)
    first = f"sys.path.insert(0, {str(tmp_path)!r})" if files else 'sys.modules["cupy"] = None'
    told, refused = ran(PROGRAM.format(first=first))
    assert re.match(says, told)
    assert re.match(rf"device 'cuda' is not available: {says}.*; or use device=\"cpu\"", refused)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_cupy_that_is_installed_is_told_from_none():
    told, *refused = ran(PROGRAM.format(first=""))
    if told == "None":  # there is a GPU, under the name "cuda:0"
        assert not refused
    else:
        assert re.match(r"CuPy 1\d\.\S+ (is installed, but no NVIDIA driver|and a driver are|finds a GPU, but)", told)
        assert told in refused[0]


def ran(program):
    """The lines that a new process prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
