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
COPIES = "on the host", "to the device", "to the host", "on the device", "", "between devices"  # CUDA's kinds, and ours
DEFAULT, BETWEEN = 4, 5
OUT_OF_MEMORY, UNSUPPORTED_IN_CAPTURE, CAPTURE_INVALIDATED = 2, 900, 901
DEVICES = 2
FUNCTION_ATTRIBUTES = {0: 1024, 4: 32}  # most threads of a block, registers
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Failed(Exception):
    """A number of CUDA's errors."""


class Device:
    """State of the devices, which share the host's memory. `launched`: names of kernels, with how often they ran.

    A stream does at once what it is given, unless it is capturing: then it keeps it for the graph.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[int, int, int]] = {}  # address -> (address of malloc, bytes, device)
        self.limit, self.used = MEMORY, 0
        self.number = 0  # of the current device
        self.loaded: dict[int, Any] = {}  # handles of modules and functions
        self.capturing: dict[int, list[Callable[[], Any]] | None] = {}  # by stream; None: something forbidden was asked
        self.copied: Counter[str] = Counter()  # by direction
        self.streams: Counter[int] = Counter()  # launches of kernels, by stream
        self._handles = itertools.count(1000)
        self.error: Callable[[int], BaseException] = Failed

    def handle(self, thing: Any = None) -> int:
        h = next(self._handles)
        self.loaded[h] = thing
        return h

    def set(self, number: int) -> None:
        self.number = number

    # -- memory
    def malloc(self, size: int) -> int:
        if self.used + size > self.limit:
            raise self.error(OUT_OF_MEMORY)
        first = libc.malloc(max(size, 1) + 1024)
        address = (first + 511) // 512 * 512
        self.blocks[address] = (first, size, self.number)
        self.used += size
        ctypes.memset(address, POISON, max(size, 1))
        return address

    def free(self, address: int) -> None:
        if address in self.blocks:
            first, size, _ = self.blocks.pop(address)
            self.used -= size
            libc.free(first)

    def copy(self, to: int, of: int, size: int, kind: int, stream: int = 0) -> None:
        if kind == DEFAULT:  # from address to address
            kind = 2 * (self.owner(of) is not None) + (self.owner(to) is not None)
        if COPIES[kind] != "on the device":
            self.forbid(stream)
        elif self.several() and self.owner(to) != self.owner(of):
            kind = BETWEEN
        self.do(stream, lambda: self._copy(to, of, size, kind))

    def _copy(self, to: int, of: int, size: int, kind: int) -> None:
        self.copied[COPIES[kind]] += 1
        ctypes.memmove(to, of, size)

    def between(self, to: int, here: int, of: int, there: int, size: int, stream: int = 0) -> None:
        self.do(stream, lambda: self._copy(to, of, size, BETWEEN))

    def fill(self, to: int, value: int, size: int, stream: int = 0) -> None:
        self.do(stream, lambda: ctypes.memset(to, value, size))

    def owner(self, address: int) -> int | None:
        """The number of the device whose memory this is."""
        for first, (_, size, number) in self.blocks.items():
            if first <= address < first + size:
                return number
        return None

    def several(self) -> bool:
        """Has more than one device given memory?"""
        return len({number for _, _, number in self.blocks.values()}) > 1

    # -- kernels
    def load(self, name: Any) -> int:
        return self.handle((MODULES[bytes(name).decode()], self.number))

    def function(self, module: int, name: Any) -> int:
        code, number = self.loaded[module]
        return self.handle((code.function(name.decode() if isinstance(name, bytes) else name), number))

    def launch(
        self, function: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int,
        params: int, extra: int,
    ) -> None:  # fmt: skip
        kernel, number = self.loaded[function]
        arguments = shim.frozen(kernel.sizes, params)
        self._check(kernel.name, number, [int.from_bytes(a.raw, "little") for a in arguments[1] if len(a) == 8])

        def run() -> None:
            kernel.raw((gx, gy, gz), (bx, by, bz), ctypes.addressof(arguments[0]), shared, schedule=SCHEDULE)
            LAUNCHED[kernel.name] = LAUNCHED.get(kernel.name, 0) + 1

        self.streams[stream] += 1
        self.do(stream, run)

    def _check(self, name: str, number: int, words: list[int]) -> None:
        """A kernel and its arrays belong to the current device."""
        if number != self.number:
            raise shim.ShimError(f"{name}: was loaded on device {number}, and launched on {self.number}")
        if self.several():
            owners = {self.owner(word) for word in words} - {None, self.number}
            if owners:
                raise shim.ShimError(f"{name}: memory of device {min(owners)} is given to a kernel on {self.number}")

    # -- streams and graphs
    def do(self, stream: int, work: Callable[[], Any]) -> None:
        tape = self.capturing.get(stream)
        if stream not in self.capturing:
            work()
        elif tape is not None:
            tape.append(work)

    def forbid(self, stream: int, *_: Any) -> None:
        """What a stream that captures can't be asked for: it ends the capture."""
        if stream in self.capturing:
            self.capturing[stream] = None
            raise self.error(UNSUPPORTED_IN_CAPTURE)

    def begin_capture(self, stream: int, *_: Any) -> None:
        self.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        tape = self.capturing.pop(stream)
        if tape is None:
            raise self.error(CAPTURE_INVALIDATED)
        return self.handle(tape)

    def launch_graph(self, graph: int, stream: int) -> None:
        for work in self.loaded[graph]:
            self.do(stream, work)

    def product(self, stream: int | None, again: Callable[[], Any]) -> int:
        """cuBLAS asks whether it is to multiply now (0), or when the graph is launched (1)."""
        if (stream or 0) not in self.capturing:
            return 0
        self.do(stream or 0, again)
        return 1


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
        "getDevice": lambda: device.number, "getDeviceCount": lambda: DEVICES, "setDevice": device.set,
        "_ensure_context": _nothing,
        "deviceGetAttribute": lambda which, number: ATTRIBUTES.get(which, 0), "driverGetVersion": lambda: 13020,
        "getDeviceProperties": lambda number: properties, "deviceCanAccessPeer": lambda a, b: 0,
        "memGetInfo": lambda: (device.limit - device.used, device.limit), "pointerGetMemoryType": lambda p: 2,
        "malloc": device.malloc, "free": device.free, "mallocAsync": lambda n, s: device.malloc(n),
        "freeAsync": lambda p, s: device.free(p), "hostAlloc": lambda n, flags: device.malloc(n),
        "freeHost": device.free, "mallocManaged": lambda n, *_: device.malloc(n),
        "memcpy": device.copy, "memcpyAsync": device.copy, "memset": device.fill, "memsetAsync": device.fill,
        "memcpyPeer": device.between, "memcpyPeerAsync": device.between,
        "deviceSynchronize": _nothing, "streamSynchronize": device.forbid, "streamQuery": lambda s: True,
        "streamCreate": device.handle, "streamCreateWithFlags": lambda flags: device.handle(),
        "streamCreateWithPriority": lambda flags, p: device.handle(), "streamGetFlags": lambda s: 1,
        "streamGetPriority": lambda s: 0, "streamDestroy": _nothing,
        "streamIsCapturing": lambda s: int(s in device.capturing), "streamBeginCapture": device.begin_capture,
        "streamEndCapture": device.end_capture, "graphInstantiate": lambda graph: graph, "graphUpload": _nothing,
        "graphLaunch": device.launch_graph, "graphDestroy": _nothing, "graphExecDestroy": _nothing,
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
        "ctxGetCurrent": lambda: 1, "ctxSetCurrent": _nothing, "ctxGetDevice": lambda: device.number,
        "occupancyMaxActiveBlocksPerMultiprocessor": lambda f, threads, shared: 2,
        "occupancyMaxPotentialBlockSize": lambda f, shared, limit: (16, 256),
    }  # fmt: skip


__all__ = ["LAUNCHED", "MODULES", "Device", "device", "driver", "runtime", "shim"]
