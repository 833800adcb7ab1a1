r"""The IDX format, in which MNIST is distributed.

A file is a header and then the numbers, row by row, all of it big-endian:

    0  0  type  rank  |  size_1 ... size_rank, four bytes each  |  prod(size_i) numbers of the type

Source: the format's description on Yann LeCun's MNIST page (http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
REMEDY = "The file is damaged, cut short or of another format: fetch it again."


def parse(raw: bytes, name: str = "IDX data") -> NDArray[Any]:
    """Return the array that the bytes of an IDX file hold, in the machine's byte order, writable.

    `name` is what error messages call the data. Raises DataError when the magic number, the sizes and the length
    disagree.
    """
    if len(raw) < 4:
        raise DataError(f"{name}: an IDX file starts with a magic number of 4 bytes, met {len(raw)} bytes. {REMEDY}")
    zero, code, rank = int.from_bytes(raw[:2], "big"), raw[2], raw[3]
    if zero != 0 or code not in TYPES:
        known = ", ".join(f"{known:02x}" for known in TYPES)
        raise DataError(
            f"{name}: wrong magic number {raw[:4].hex(' ')}: an IDX file starts with 00 00, "
            f"then a type (one of {known}), then the rank. {REMEDY}"
        )
    start = 4 + 4 * rank
    if len(raw) < start:
        raise DataError(f"{name}: an IDX header of rank {rank} takes {start} bytes, met {len(raw)}. {REMEDY}")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", rank, 4))
    dtype = np.dtype(TYPES[code])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise DataError(
            f"{name}: the header promises {dtype.newbyteorder('=').name} of shape {shape}, "
            f"so {expected:,} bytes in all, met {len(raw):,}. {REMEDY}"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an IDX file, gzipped or not. Raises DataError naming the file."""
    from data.files import read_bytes

    return parse(read_bytes(Path(path)), str(path))
