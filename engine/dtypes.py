"""dtypes: which there are, how they mix, and how closely results must agree.

- float32 is the default of everything that has no dtype of its own.
- A float beats an integer and keeps its width: int64 with float32 gives float32. The wider of two floats wins.
- Python scalars are weak (they take the tensor's dtype, or the default float beside an integer tensor); arrays keep
theirs.
- float16 and bfloat16 are storage on the CPU: computed in float32, rounded when stored. bfloat16 comes from the package
  ml_dtypes and exists where that is installed.
- Complex numbers are refused until they are built.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import DTypeError

bool_ = np.dtype(np.bool_)
uint8, int8, int16, int32, int64 = (np.dtype(t) for t in ("uint8", "int8", "int16", "int32", "int64"))
uint16, uint32, uint64 = (np.dtype(t) for t in ("uint16", "uint32", "uint64"))
float16, float32, float64 = (np.dtype(t) for t in ("float16", "float32", "float64"))

_default: np.dtype[Any] = float32


def default_dtype() -> np.dtype[Any]:
    """The dtype of floats that come without one (float32 unless set)."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype of floats that come without one.

    Raises DTypeError for anything but float32 and float64.
    """
    global _default
    d = canonical(dtype)
    if d not in (float32, float64):
        raise DTypeError(f"set_default_dtype: the default must be float32 or float64, got {d}")
    _default = d


@contextmanager
def using_default_dtype(dtype: Any) -> Iterator[None]:
    """`with using_default_dtype("float64"):` for the time of a block."""
    before = _default
    set_default_dtype(dtype)
    try:
        yield
    finally:
        set_default_dtype(before)


def bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError as e:
        raise DTypeError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from e
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def canonical(dtype: Any) -> np.dtype[Any]:
    """A NumPy dtype from a name, a type or a dtype. Raises DTypeError for what a tensor can't hold."""
    if isinstance(dtype, np.dtype):
        d: np.dtype[Any] = dtype
    elif isinstance(dtype, str) and dtype == "bfloat16":
        d = bfloat16()
    elif dtype is float:
        d = _default
    else:
        try:
            d = np.dtype(dtype)
        except TypeError as e:
            raise DTypeError(f"'{dtype}' is no dtype: use float32, float64, float16, int64, bool ...") from e
    if d.kind == "f" and d.itemsize > 8:
        raise DTypeError(f"'{d}' is wider than a tensor's numbers: use float64")
    if d.kind in "fiub" or is_float(d):
        return d if d.isnative else d.newbyteorder("=")
    if d.kind == "c":
        raise DTypeError(
            f"complex tensors are not supported yet (got {d}): keep real and imaginary parts as two tensors"
        )
    raise DTypeError(
        f"a tensor holds numbers or booleans, got {d}: convert the data first, e.g. with astype('float32')"
    )


def is_float(d: np.dtype[Any]) -> bool:
    return d.kind == "f" or d.name == "bfloat16"


def is_half(d: np.dtype[Any]) -> bool:
    """Stored in 16 bits, computed in 32."""
    return d.itemsize == 2 and is_float(d)


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a result: the widest float if there is a float, else NumPy's choice for integers and booleans."""
    first = dtypes[0]
    if all(d == first for d in dtypes):
        return first
    floats = [d for d in dtypes if is_float(d)]
    if not floats:
        return np.result_type(*dtypes)
    widest = max(floats, key=lambda d: d.itemsize)
    if any(d != widest and d.itemsize == widest.itemsize for d in floats):  # float16 with bfloat16
        return float32
    return widest


# How closely two computations of the same number must agree, relative to its size, by dtype. `rounding` is for one
# rounding per operation against a reference in higher precision; `gradient` is for a float64 vjp against central
# differences, whose own error is about (machine epsilon) ** (2/3). Looser values are written down where they are used.
ROUNDING = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 5e-7, "float64": 1e-15}
SEVERAL_ROUNDINGS = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-12}
GRADIENT = 1e-5
PLANTED = 1e-3  # an error of this relative size in any cotangent must be caught
