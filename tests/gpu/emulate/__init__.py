"""The real CuPy on an emulated device: layer D of docs/gpu.md.

    from tests.gpu import emulate
    emulate.start()                        # before anything imports cupy
    import cupy                            # its own host code: dispatch, dtypes, memory pool, launches

Device memory is the host's, kernels are the CUDA C++ text that CuPy or we hand to the compiler, and `tests.gpu.shim`
runs them; cuBLAS is a plain loop. Machine code that lies compiled inside CuPy (sorting, random numbers, CUB) can't run
here: who asks for it gets NotEmulated. This uses CuPy's private parts, so its version is pinned in requirements.txt.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
from pathlib import Path
from typing import Any

from . import capsules, cublas
from .device import LAUNCHED, MODULES, device, driver, runtime

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
PINNED = re.search(r"cupy\S*==(\S+)", REQUIREMENTS.read_text())[1]  # type: ignore[index]
sources: dict[str, tuple[str, ...]] = {}  # every text that was compiled, with its options


class NotEmulated(RuntimeError):
    """This would run machine code that lies compiled inside CuPy."""


def start() -> None:
    """Make `import cupy` find an emulated device. Twice does no harm."""
    if "tests.gpu.emulate.started" in sys.modules:
        return
    if "cupy" in sys.modules:
        raise RuntimeError("emulate.start() comes before the first `import cupy`")
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB's kernels are compiled in
    import cupy_backends.cuda.api.driver as cuda_driver
    import cupy_backends.cuda.api.runtime as cuda_runtime

    capsules.override(cuda_runtime, runtime())
    capsules.override(cuda_driver, driver())
    cublas.load()
    import cupy

    if cupy.__version__ != PINNED:
        raise RuntimeError(f"the emulator is made for CuPy {PINNED}, installed is {cupy.__version__}")
    device.error = cuda_runtime.CUDARuntimeError
    _compile_with_the_shim(cupy)
    _block(cupy)
    sys.modules["tests.gpu.emulate.started"] = sys.modules[__name__]
    atexit.register(_end, cupy)


def _compile_with_the_shim(cupy: Any) -> None:
    from cupy._core import core
    from cupy.cuda import compiler, function

    from tests.gpu import shim

    headers = [f"-I{core._get_header_dir_path()}", *core._get_cccl_include_options(), *_cuda_headers()]
    begin = [f"-I{Path(__file__).parent}", "-DSHIM_ALSO=<cupy_headers.h>"]

    def compile_module(
        source: str, options: tuple[str, ...] = (), *, name_expressions: Any = None, **_: Any
    ) -> Any:
        sources[source] = options
        defines = [o for o in options if o.startswith(("-D", "--define", "-I"))]
        own = headers + begin if "#include <cupy/" in source else headers if "#include <c" in source else []
        names = tuple(name_expressions or ())
        key = f"shim module {len(MODULES)}"
        MODULES[key] = shim.load(source, (*defines, *own), names=names)
        module = function.Module()
        module.load(key.encode())
        if names:
            module._set_mapping({name: name for name in names})
        return module

    compiler._compile_module_with_cache = compile_module


def _cuda_headers() -> list[str]:
    import nvidia

    found = [Path(folder) / "cu13" / "include" for folder in nvidia.__path__]
    return [f"-I{folder}" for folder in found if folder.is_dir()]


# ------------------------------------------------------------------------------------------------ what is left out
BLOCKED: dict[str, str] = {}  # name -> why


def _block(cupy: Any) -> None:
    """Functions that would launch machine code which is compiled in: an error in place of garbage."""
    import cupy.cuda.cub
    import cupy.cuda.thrust

    everywhere = [(cupy.cuda.thrust, n) for n in dir(cupy.cuda.thrust) if not n.startswith("_")]
    everywhere += [(cupy.cuda.cub, n) for n in dir(cupy.cuda.cub) if n.startswith(("cub_", "device_"))]
    generators = "default_rng", "Generator", "XORWOW", "MRG32k3a", "Philox4x3210", "BitGenerator", "RandomState"
    everywhere += [(cupy.random, n) for n in generators]
    for module, name in everywhere:
        if callable(getattr(module, name, None)):
            BLOCKED[f"{module.__name__}.{name}"] = "machine code inside CuPy"
            setattr(module, name, _refusal(f"{module.__name__}.{name}"))


def _refusal(name: str) -> Any:
    def refused(*_: Any, **__: Any) -> Any:
        raise NotEmulated(f"{name} is machine code that lies compiled inside CuPy; it runs on a GPU only")

    return refused


def _end(cupy: Any) -> None:
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    capsules.close()


__all__ = ["BLOCKED", "LAUNCHED", "NotEmulated", "capsules", "device", "sources", "start"]
