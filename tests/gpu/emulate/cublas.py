"""A libcublas in place of NVIDIA's: `cublas.cpp`, and every other function of it as "not supported"."""

from __future__ import annotations

import ctypes
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.gpu import shim

from .device import device

HERE = Path(__file__).parent
NAME = "libcublas.so.13"
ASK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_kept: list[Any] = []  # C points to it
MAP = f"{NAME} {{ global: cublas*; local: *; }};\n"  # the version that CuPy's modules ask for


def load() -> None:
    """Build it if need be, and have it loaded where CuPy looks for cuBLAS."""
    library = ctypes.CDLL(str(built()), ctypes.RTLD_GLOBAL)
    _kept.append(ASK(lambda stream, n: device.product(stream, lambda: library.cublas_shim_run(n))))
    library.cublas_shim_ask(_kept[0])
    from cuda import pathfinder

    find = pathfinder.load_nvidia_dynamic_lib

    def found(name: str, *args: Any, **options: Any) -> Any:
        return None if name.startswith("cublas") else find(name, *args, **options)

    pathfinder.load_nvidia_dynamic_lib = found


def built() -> Path:
    import cupy_backends

    module = next(Path(cupy_backends.__path__[0]).glob("cuda/libs/cublas*.so"))
    command = ["nm", "-D", "--undefined-only", str(module)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    written = (HERE / "cublas.cpp").read_text()
    missing = sorted(set(re.findall(r"U (cublas\w+)", symbols)) - set(re.findall(r"int (cublas\w+)\(", written)))
    text = written + 'extern "C" {\n' + "".join(f"int {name}() {{ return 15; }}\n" for name in missing) + "}\n"
    library = shim.cache() / f"cublas-{sha256(text.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        versions = shim.cache() / "cublas.map"
        versions.write_text(MAP)
        command = ["g++", "-std=c++17", "-O3", "-march=native", "-w", "-shared", "-fPIC", "-x", "c++", "-"]
        command += [f"-I{HERE.parent / 'shim' / 'include'}", f"-Wl,-soname,{NAME}", f"-Wl,--version-script={versions}"]
        subprocess.run([*command, "-o", str(library)], input=text, text=True, check=True)
    return library
