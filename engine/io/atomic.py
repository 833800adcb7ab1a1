"""Files that are never half there: a path holds the old content or the new, even after `kill -9` or a power cut.

The new content goes to a temporary file in the same folder, is forced to the disk, and takes the path's name in one
step. A writer locks its temporary file; one that nobody holds was left by a writer that died, and the next removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import CheckpointError

if sys.platform != "win32":
    import fcntl

SUFFIX = ".chainrule-tmp"


def atomic_write(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]) -> None:
    """Replace the file at `path` (or make it, and its folders) by `content`, whole or not at all.

    Args:
        path: where; a symbolic link is followed.
        content: the bytes, or a function that writes them to the binary file it is given.

    Raises:
        CheckpointError: the disk is full, or the folder or file can't be written. What was there before still is.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        _write(target, content)
    except OSError as error:
        raise CheckpointError(
            f"cannot save {target}: {_reason(error, target)} (what was there before is untouched)"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that died; those of living ones stay."""
    for leftover in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError), open(leftover, "rb") as file:
            if _lock(file, wait=False):
                leftover.unlink()


def _write(target: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    temporary, file = _create(target.parent)
    try:
        with file:
            if target.exists():
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":
                os.replace(temporary, target)  # still locked: nobody takes it for a leftover
        if sys.platform == "win32":
            os.replace(temporary, target)  # an open file can't be renamed (nor removed) there
    finally:
        with contextlib.suppress(FileNotFoundError):  # it has its new name
            temporary.unlink()
    _sync_folder(target.parent)


def _create(folder: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file, locked."""
    while True:
        temporary = folder / f".{secrets.token_hex(8)}{SUFFIX}"
        file = open(temporary, "xb")  # noqa: SIM115  (the caller closes it)
        _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # someone swept it up before the lock was ours: once more


def _lock(file: BinaryIO, wait: bool) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return True


def _sync_folder(folder: Path) -> None:
    """Force the new name to the disk too."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't, and needn't
            raise
    finally:
        os.close(descriptor)


def _reason(error: OSError, target: Path) -> str:
    """What went wrong and what to do, in words."""
    what, folder = error.strerror or str(error), target.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(folder).free / 2**20
        return f"the disk is full ({free:,.1f} MiB free in {folder}): free some space, or save elsewhere"
    if error.errno == errno.EFBIG:
        return f"larger than the process or file system allows ({what}): raise the limit (ulimit -f), or save elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder {folder} can't be written ({what}): change its permissions, or save elsewhere"
    if error.errno == errno.EISDIR:
        return "this is a folder: name a file in it"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"a part of its path is a file, not a folder ({error.filename}): name another place"
    return f"{what}: save elsewhere, or try again"
