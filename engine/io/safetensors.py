"""Arrays in files, in the safetensors format: plain numbers under names, and nothing that could run.

    save("weights.safetensors", {"0.kernel": w, "0.bias": b})        arrays, _ = load("weights.safetensors")
    save_checkpoint("run.safetensors", arrays, {"epoch": 3})         arrays, state = load_checkpoint("run.safetensors")

A checkpoint is one file: its arrays, and its state as JSON in the header. Every file is written atomically and carries
a SHA-256 of its content, so damage is met when it is loaded and not when training goes wrong. Files made by others,
which carry no sum, load too. Where the package ml_dtypes is missing, their bfloat16 comes as float32, which holds it
exactly.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from ..errors import CheckpointError
from .atomic import atomic_write

__all__ = ["load", "load_checkpoint", "save", "save_checkpoint"]

Path = str | os.PathLike[str]
Arrays = dict[str, np.ndarray[Any, Any]]

SUM = "sha256"
STATE = "chainrule.state"


def save(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays, any shapes, and named texts to one file, atomically.

    Raises:
        CheckpointError: an array that the format can't hold, a full disk, a folder that can't be written.
    """
    held = {name: _plain(path, name, array) for name, array in arrays.items()}
    texts = dict(metadata or {})
    atomic_write(path, serialise(held, texts | {SUM: _sum(held, texts)}))


def load(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays and texts of a file.

    Raises:
        CheckpointError: no such file, not a safetensors file, cut short, or damaged.
    """
    arrays, metadata, _ = _read(path)
    return arrays, metadata


def save_checkpoint(path: Path, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write arrays and a state that JSON can hold (numbers, texts, lists, dicts) to one file, atomically.

    Raises:
        CheckpointError: as `save`; and a state that JSON can't hold.
    """
    try:
        text = json.dumps(state)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot save {os.fspath(path)}: its state must be numbers, texts, lists and dicts ({error}): "
            "pass arrays as arrays, and anything else in words"
        ) from error
    save(path, arrays, {STATE: text})


def load_checkpoint(path: Path, arrays: Iterable[str] = (), state: Iterable[str] = ()) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the state of a checkpoint.

    Args:
        path: the file.
        arrays: names of arrays that must be there.
        state: names of entries of the state that must be there.

    Raises:
        CheckpointError: as `load`; and a file without a state, or without the wanted names.
    """
    found, metadata, vouched = _read(path)
    if STATE not in metadata or not vouched:
        raise CheckpointError(
            f"cannot load {os.fspath(path)} as a checkpoint: it holds arrays but no state of a run: "
            "load it as weights (model.load_weights), or choose a file that a model's save wrote"
        )
    entries = json.loads(metadata[STATE])
    _need(path, "array", arrays, found)
    _need(path, "state", state, entries)
    return found, entries


# --- in small ------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[Arrays, dict[str, str], bool]:
    """Arrays, texts, and whether a SHA-256 vouches for them."""
    try:
        with open(path, "rb"):  # for the system's own words, were it missing, a folder, or not ours to read
            pass
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: _tensor(path, file, name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except OSError as error:
        raise CheckpointError(f"cannot load {os.fspath(path)}: {_reason(error)}") from error
    except (SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: it is no safetensors file, or it is cut short or damaged "
            f"({_size(path)}; {error}): load another copy, or save the model anew"
        ) from error
    named = metadata.pop(SUM, None)
    if named is not None and named != _sum(arrays, metadata):
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: it is damaged: its content has not the SHA-256 it names ({named[:8]}...): "
            "load another copy, or save the model anew"
        )
    return arrays, metadata, named is not None


def _tensor(path: Path, file: Any, name: str) -> np.ndarray[Any, Any]:
    """One array of an open file."""
    kind = file.get_slice(name).get_dtype()
    if kind == "BF16" and importlib.util.find_spec("ml_dtypes") is None:
        if SUM in (file.metadata() or {}):
            raise CheckpointError(
                f"cannot load {os.fspath(path)}: array '{name}' is bfloat16, and checking its sum takes the package "
                "ml_dtypes: pip install ml_dtypes"
            )
        return _widened(path, name)
    if kind == "BF16":
        importlib.import_module("ml_dtypes")  # NumPy knows the dtype from then on
    try:
        array: np.ndarray[Any, Any] = file.get_tensor(name)
    except (AttributeError, TypeError):
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: array '{name}' is of {kind}, which NumPy can't hold: load a copy with "
            "16 or 32 bits a number"
        ) from None
    return array


def _widened(path: Path, name: str) -> np.ndarray[Any, Any]:
    """An array of bfloat16 as float32: its 16 bits are the upper ones. The header was checked when it was opened."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        words = np.frombuffer(file.read(end - begin), "<u2")
    return (words.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _plain(path: Path, name: str, array: Any) -> np.ndarray[Any, Any]:
    """In C order (the package writes memory as it lies: a transposed array would come back scrambled), native bytes."""
    plain = np.asarray(array, order="C")
    if plain.dtype.kind not in "biuf" and plain.dtype.name != "bfloat16":
        raise CheckpointError(
            f"cannot save {os.fspath(path)}: array '{name}' has dtype {plain.dtype}, and a file holds reals: "
            "convert it first, or put it into the state"
        )
    return plain if plain.dtype.isnative else plain.astype(plain.dtype.newbyteorder("="))


def _sum(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _need(path: Path, kind: str, wanted: Iterable[str], found: Mapping[str, Any]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: {kind} {_names(missing)} {'is' if len(missing) == 1 else 'are'} missing; "
            f"it holds {_names(list(found)) or 'none'}: load it into the model that wrote it"
        )


def _names(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + rest


def _size(path: Path) -> str:
    with contextlib.suppress(OSError):
        return f"{os.path.getsize(path):,} bytes"
    return "of unknown size"


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file: check the path"
    if error.errno == errno.EISDIR:
        return "this is a folder: name a file in it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"it can't be read ({error.strerror}): change its permissions"
    return f"{error.strerror or error}: load another copy, or try again"
