"""A device whose memory is the host's and whose kernels the shim runs: what CuPy asks of CUDA's driver and runtime."""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.gpu import shim

SCHEDULE = 1  # threads of a warp run one after the other, the last first
POISON = 0xFF  # NaN in every float
MEMORY = 8 << 30  # bytes that there seem to be
ATTRIBUTES = {
    1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2**31 - 1, 6: 65535, 7: 65535, 8: 48 << 10, 10: 32, 16: 4, 39: 2048,
    75: 9, 76: 0, 81: 48 << 10, 97: 48 << 10, 115: 0,
}  # fmt: skip
COPIES = "on the host", "to the device", "to the host", "on the device"  # CUDA's kinds, in order
DEFAULT = 4
FUNCTION_ATTRIBUTES = {0: 1024, 4: 32}  # most threads of a block, registers
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Device:
    """State of the one device there is. `launched`: names of kernels, with how often they ran."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[int, int]] = {}  # address -> (address of malloc, bytes)
        self.limit, self.used = MEMORY, 0
        self.loaded: dict[int, Any] = {}  # handles of modules and functions
        self.copied: Counter[str] = Counter()  # by direction
        self._handles = itertools.count(1000)
        self.out_of_memory: Callable[[], BaseException] = MemoryError

    def handle(self, thing: Any = None) -> int:
        h = next(self._handles)
        self.loaded[h] = thing
        return h

    # -- memory
    def malloc(self, size: int) -> int:
        if self.used + size > self.limit:
            raise self.out_of_memory()
        first = libc.malloc(max(size, 1) + 1024)
        address = (first + 511) // 512 * 512
        self.blocks[address] = (first, size)
        self.used += size
        ctypes.memset(address, POISON, max(size, 1))
        return address

    def free(self, address: int) -> None:
        if address in self.blocks:
            first, size = self.blocks.pop(address)
            self.used -= size
            libc.free(first)

    def copy(self, to: int, of: int, size: int, kind: int, stream: int = 0) -> None:
        if kind == DEFAULT:  # from address to address
            kind = 2 * self.here(of) + self.here(to)
        self.copied[COPIES[kind]] += 1
        ctypes.memmove(to, of, size)

    def here(self, address: int) -> bool:
        """Is this the device's memory?"""
        return any(first <= address < first + size for first, (_, size) in self.blocks.items())

    # -- kernels
    def load(self, name: Any) -> int:
        return self.handle(MODULES[bytes(name).decode()])

    def function(self, module: int, name: Any) -> int:
        return self.handle(self.loaded[module].function(name.decode() if isinstance(name, bytes) else name))

    def launch(
        self, function: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int,
        params: int, extra: int,
    ) -> None:  # fmt: skip
        kernel = self.loaded[function]
        kernel.raw((gx, gy, gz), (bx, by, bz), params, shared, schedule=SCHEDULE)
        LAUNCHED[kernel.name] = LAUNCHED.get(kernel.name, 0) + 1


MODULES: dict[str, Any] = {}  # what "cubins" stand for
LAUNCHED: dict[str, int] = {}
device = Device()


def _nothing(*_: Any) -> None:
    """Done already: everything happens at once here."""


def runtime() -> dict[str, Callable[..., Any]]:
    """Functions of the CUDA runtime, by CuPy's names."""
    properties = {
        "name": b"emulated device", "major": 9, "minor": 0, "multiProcessorCount": 4, "maxThreadsPerBlock": 1024,
        "warpSize": 32, "sharedMemPerBlock": 48 << 10, "totalGlobalMem": MEMORY,
    }  # fmt: skip
    return {
        "getDevice": lambda: 0, "getDeviceCount": lambda: 1, "setDevice": _nothing, "_ensure_context": _nothing,
        "deviceGetAttribute": lambda which, number: ATTRIBUTES.get(which, 0), "driverGetVersion": lambda: 13020,
        "getDeviceProperties": lambda number: properties, "deviceCanAccessPeer": lambda a, b: 0,
        "memGetInfo": lambda: (device.limit - device.used, device.limit), "pointerGetMemoryType": lambda p: 2,
        "malloc": device.malloc, "free": device.free, "mallocAsync": lambda n, s: device.malloc(n),
        "freeAsync": lambda p, s: device.free(p), "hostAlloc": lambda n, flags: device.malloc(n),
        "freeHost": device.free, "mallocManaged": lambda n, *_: device.malloc(n),
        "memcpy": device.copy, "memcpyAsync": device.copy,
        "memset": lambda d, v, n: ctypes.memset(d, v, n) and None,
        "memsetAsync": lambda d, v, n, stream: ctypes.memset(d, v, n) and None,
        "deviceSynchronize": _nothing, "streamSynchronize": _nothing, "streamQuery": lambda s: True,
        "streamCreate": device.handle, "streamCreateWithFlags": lambda flags: device.handle(),
        "streamCreateWithPriority": lambda flags, p: device.handle(), "streamGetFlags": lambda s: 1,
        "streamGetPriority": lambda s: 0, "streamDestroy": _nothing, "streamIsCapturing": lambda s: 0,
        "streamWaitEvent": _nothing, "eventCreate": device.handle, "eventCreateWithFlags": lambda f: device.handle(),
        "eventRecord": _nothing, "eventSynchronize": _nothing, "eventQuery": lambda e: True, "eventDestroy": _nothing,
        "eventElapsedTime": lambda a, b: 0.0,
    }  # fmt: skip


def driver() -> dict[str, Callable[..., Any]]:
    """Functions of the CUDA driver, by CuPy's names."""
    return {
        "moduleLoadData": device.load, "moduleGetFunction": device.function, "moduleUnload": _nothing,
        "launchKernel": device.launch, "funcSetAttribute": _nothing,
        "funcGetAttribute": lambda which, f: FUNCTION_ATTRIBUTES.get(which, 0),
        "ctxGetCurrent": lambda: 1, "ctxSetCurrent": _nothing, "ctxGetDevice": lambda: 0,
        "occupancyMaxActiveBlocksPerMultiprocessor": lambda f, threads, shared: 2,
        "occupancyMaxPotentialBlockSize": lambda f, shared, limit: (16, 256),
    }  # fmt: skip


__all__ = ["LAUNCHED", "MODULES", "Device", "device", "driver", "runtime", "shim"]
