"""Products of matrices by cuBLAS, asked for directly: CuPy refuses to while a stream records a graph, cuBLAS does not.

    C (n,m) = B^T (n,k) A^T (k,m)          # cuBLAS counts along columns: it sees each of our matrices transposed

One function of cuBLAS serves all: cublasGemmStridedBatchedEx_64, whose counts have 64 bits; CUDA has it since 12.0. 16
bits and float32 are added up in float32, or in TF32 where that was chosen.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import sys
from typing import Any

import numpy as np

from engine.backends.products import get_float32_matmul_precision
from engine.errors import DeviceError

Array = Any

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
IN_FLOAT32, IN_FLOAT64, IN_TF32 = 68, 70, 77  # cublasComputeType_t
DEFAULT = -1  # cublasGemmAlgo_t
AS_IT_IS, TRANSPOSED = 0, 1  # cublasOperation_t
SUMS_AS_COMPUTED = 16  # cublasMath_t: parts of a long sum of 16-bit products are kept, and added up, in float32

STATUS = {  # cublasStatus_t
    3: ("no memory for its workspace", "use smaller batches, or let go of tensors"),
    13: ("its kernel failed", "find the launch before that failed: CUDA_LAUNCH_BLOCKING=1"),
    15: ("not supported by this GPU", "use float32: bfloat16 needs compute capability 8.0"),
}


def product(a: Array, b: Array) -> Array:
    """(..,M,K) @ (..,K,N) -> (..,M,N), where the first axes broadcast. Of one float dtype."""
    cupy = _cupy()
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N, count = a.shape[-2:], b.shape[-1], math.prod(lead)
    if not (K and M and N and count):
        return cupy.zeros((*lead, M, N), a.dtype)
    y = cupy.empty((*lead, M, N), a.dtype)
    (a, *first), (b, *second) = _laid_out(a, lead), _laid_out(b, lead)
    kind, computed = TYPES[a.dtype.name], _computed(a.dtype)
    scale = ctypes.c_double if computed == IN_FLOAT64 else ctypes.c_float
    handle = cupy.cuda.get_cublas_handle()
    library = _library()
    _checked(library.cublasSetStream_v2(handle, cupy.cuda.get_current_stream().ptr))
    _checked(library.cublasSetPointerMode_v2(handle, 0))  # the two scales lie on the host
    _checked(library.cublasSetMathMode(handle, SUMS_AS_COMPUTED))
    _checked(
        library.cublasGemmStridedBatchedEx_64(
            handle, second[0], first[0], N, M, K, ctypes.byref(scale(1)), b.data.ptr, kind, *second[1:], a.data.ptr,
            kind, *first[1:], ctypes.byref(scale(0)), y.data.ptr, kind, N, M * N, count, computed, DEFAULT,
        )
    )  # fmt: skip
    return y


def _laid_out(x: Array, lead: tuple[int, ...]) -> tuple[Array, int, int, int]:
    """An operand as cuBLAS can walk it: is it transposed, how far is the next row, and how far the next matrix?"""
    rows, columns = x.shape[-2:]
    *outer, down, right = (s // x.itemsize for s in x.strides)
    if right == 1 and down >= columns:
        order, row = AS_IT_IS, down
    elif down == 1 and right >= rows:
        order, row = TRANSPOSED, right
    else:
        return _laid_out(x.copy(order="C"), lead)
    steps = [0] * (len(lead) - len(outer)) + [0 if n == 1 else s for n, s in zip(x.shape, outer, strict=False)]
    axes = [(n, s) for n, s in zip(lead, steps, strict=True) if n > 1]
    if any(s != n * inner for (_, s), (n, inner) in itertools.pairwise(axes)):  # no one step serves all first axes
        return _laid_out(_cupy().broadcast_to(x, (*lead, rows, columns)).copy(order="C"), lead)
    return x, order, row, axes[-1][1] if axes else 0


def _computed(dtype: Any) -> int:
    if dtype == np.float64:
        return IN_FLOAT64
    return IN_TF32 if dtype == np.float32 and get_float32_matmul_precision() == "high" else IN_FLOAT32


@functools.cache
def _library() -> Any:
    """cuBLAS, which CuPy has loaded: its version is that of the runtime."""
    version = _cupy().cuda.runtime.runtimeGetVersion() // 1000
    library = ctypes.CDLL(f"cublas64_{version}.dll" if sys.platform == "win32" else f"libcublas.so.{version}")
    word, count, place = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    matrix: list[Any] = [place, word, count, count]  # address, type, step to the next row, to the next matrix
    library.cublasGemmStridedBatchedEx_64.argtypes = [
        place, word, word, count, count, count, place, *matrix, *matrix, place, *matrix, count, word, word
    ]  # fmt: skip
    library.cublasSetStream_v2.argtypes = [place, place]
    library.cublasSetPointerMode_v2.argtypes = library.cublasSetMathMode.argtypes = [place, word]
    return library


def _cupy() -> Any:
    import cupy

    return cupy


def _checked(status: int) -> None:
    if status:
        problem, remedy = STATUS.get(status, ("see cublasStatus_t", "compute on the CPU, and report it"))
        raise DeviceError(f"cuBLAS could not multiply matrices: status {status}, {problem}; {remedy}")
