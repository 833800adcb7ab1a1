"""Every kernel is CUDA C++ for every architecture, and what it becomes is lean: no double in what computes in float,
nothing spilled. Needs NVRTC (`make gpu-compiled`), but no GPU.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.kernels.cuda import launch
from tests.gpu import nvrtc
from tests.gpu.generated import BATCHES

pytestmark = pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))

TEXTS = [(module, dtype) for module in launch.modules() for dtype in launch.dtypes(module)]
TABLE = Path(__file__).with_name("registers.md")
BLOCK = 256  # threads of a block, at most
DOUBLE = re.compile(r"^\s*[@\w! ]*\b(?:[a-z]+\d*\.)+(?:[\w]+\.)*f64\b.*$", re.MULTILINE)


def doubles(text: str) -> list[str]:
    """The instructions of PTX that deal in doubles."""
    return [line.strip() for line in DOUBLE.findall(text)]


@pytest.mark.parametrize(("module", "dtype"), TEXTS, ids="-".join)
def test_compiles_for_every_architecture(module: str, dtype: str) -> None:
    source = launch.source(module, dtype)
    kernels = set(re.findall(r"__global__ void (\w+)\(", source))
    for architecture in nvrtc.ARCHITECTURES:
        binary, usages = nvrtc.cubin(source, architecture)
        assert binary[:4] == b"\x7fELF"
        assert set(usages) == kernels
        for name, usage in usages.items():
            assert usage.spilled == usage.stack == 0, f"{name} of {dtype} on sm_{architecture}: {usage}"
            assert usage.registers * BLOCK <= 65536 and usage.shared <= 49152, f"{name}: {usage}"


@pytest.mark.parametrize(("module", "dtype"), [t for t in TEXTS if t[1] != "float64"], ids="-".join)
def test_what_computes_in_float_holds_no_double(module: str, dtype: str) -> None:
    assert doubles(nvrtc.ptx(launch.source(module, dtype), 75)) == []


def test_the_lint_sees_doubles_spills_and_errors() -> None:
    careless = 'extern "C" __global__ void f(float* y) { y[threadIdx.x] = y[threadIdx.x] * 0.1; }'
    assert doubles(nvrtc.ptx(careless))
    careful = careless.replace("0.1", "0.1f")
    assert doubles(nvrtc.ptx(careful)) == []
    stack = """extern "C" __global__ void f(float* y, const int* i) {
        float a[64];
        for (int k = 0; k < 64; k++) a[k] = y[k];
        for (int k = 0; k < 64; k++) a[i[k]] += a[i[k + 64]];
        for (int k = 0; k < 64; k++) y[k] = a[k];
    }"""
    assert nvrtc.cubin(stack, 90)[1]["f"].stack > 0
    with pytest.raises(nvrtc.CompileError, match="undefined"):
        nvrtc.cubin(careful.replace("0.1f", "no_such_name"), 90)


@pytest.mark.parametrize("name", BATCHES)
def test_generated_kernels_compile_for_every_architecture(name: str) -> None:
    source, allowed = BATCHES[name]()
    for architecture in nvrtc.ARCHITECTURES:
        binary, usages = nvrtc.cubin(source, architecture)
        assert binary[:4] == b"\x7fELF" and len(usages) > 1
        assert not [name for name, usage in usages.items() if usage.spilled]
    if not name.startswith("float64"):
        found = _by_kernel(nvrtc.ptx(source, 90))
        assert {kernel for kernel, lines in found.items() if lines} <= allowed, found


def _by_kernel(text: str) -> dict[str, list[str]]:
    """The doubles of each entry of PTX."""
    parts = re.split(r"^\.visible \.entry (\w+)\(", text, flags=re.MULTILINE)
    return {name: doubles(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_table_of_registers_is_current() -> None:
    version, table = nvrtc.version(), registers()
    if not TABLE.exists() or f"NVRTC {version}" not in TABLE.read_text():
        pytest.skip(f"the table was not made with NVRTC {version}: python -m tests.gpu.test_compiled")
    assert TABLE.read_text() == table, "make it anew: python -m tests.gpu.test_compiled"


def registers() -> str:
    """Registers and shared memory of the float32 kernels, by architecture."""
    head = " | ".join(f"sm_{a}" for a in nvrtc.ARCHITECTURES)
    lines = [
        f"Registers of each thread, as NVRTC {nvrtc.version()} assigns them; float32 unless another dtype is named. No "
        "kernel spills.\n",
        f"| kernel | {head} | shared bytes |",
        "| --- |" + " ---: |" * (len(nvrtc.ARCHITECTURES) + 1),
    ]
    for module in launch.modules():
        dtype = "float32" if "float32" in launch.dtypes(module) else launch.dtypes(module)[0]
        found = [nvrtc.cubin(launch.source(module, dtype), a)[1] for a in nvrtc.ARCHITECTURES]
        for kernel in sorted(found[0]):
            name = f"`{module}`: {kernel}" + ("" if dtype == "float32" else f" ({dtype})")
            numbers = " | ".join(str(usages[kernel].registers) for usages in found)
            lines.append(f"| {name} | {numbers} | {found[0][kernel].shared} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(registers())
