"""Archives (tar, in any packing, and zip), read without trust.

Whoever made an archive chose the names in it. A member called `../../.bashrc` or `/etc/passwd`, or a link that points
out of the folder and is then written through, would let a data set put files anywhere. Here such an archive is refused
at its first such member, whatever follows; only plain files come out, and only so many bytes of them.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

from engine.errors import DataError

LIMIT = 4 << 30  # bytes that an archive may unpack to: what fits in a few kilobytes can fill a disk
BROKEN = tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError


def members(
    path: Path, wanted: Callable[[str], bool] = lambda name: True, limit: int = LIMIT
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each plain file of an archive, in its order; all names are checked, wanted or not.

    Raises DataError when the archive is truncated or damaged, unpacks to more than `limit` bytes, or has a member
    that is a link or a device, or whose name leads out of the folder.
    """
    try:
        yield from (_zip if zipfile.is_zipfile(path) else _tar)(path, wanted, limit)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such archive. Check the path.") from None
    except BROKEN as error:
        raise DataError(
            f"{path}: the archive is truncated or damaged ({error}). Delete it and fetch it anew."
        ) from None
    except RuntimeError as error:  # zipfile lacks this packing, or a password
        raise DataError(f"{path}: the archive can't be read ({error}). Unpack it by other means.") from None


def extract(path: Path, folder: Path, limit: int = LIMIT) -> None:
    """Write the plain files of an archive below a folder, under the rules of `members`.

    Raises DataError for a name that the file system can't hold (too long, or a file and a folder at once), a full disk.
    """
    for name, content in members(path, limit=limit):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise DataError(
                f"{path}: the member '{name[:80]}' can't be written to {folder} ({error.strerror or error}). Choose a "
                "folder with room, or unpack it by other means."
            ) from error


NOT_TO_BE_TRUSTED = "A data set holds plain files below one folder: do not trust this archive, fetch the original."


class _Header(tarfile.TarInfo):
    """A header, looked at before what it announces is read: a name of a gigabyte fits in a file of a megabyte."""

    MOST = 1 << 20  # bytes of a long name, or of further attributes
    BEFORE_A_FILE = (
        tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    )  # fmt: skip

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in cls.BEFORE_A_FILE and header.size > cls.MOST):
            raise tarfile.ReadError(f"a header says {header.size:,} bytes")
        return header


def _tar(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    room = limit
    with tarfile.open(path, "r|*", tarinfo=_Header) as archive:  # a stream: one pass, nothing is sought
        for member in archive:
            _inside(path, member.name, member.isdir())
            if not (member.isfile() or member.isdir()):
                kind = "a link" if member.issym() or member.islnk() else "a device"
                raise DataError(f"{path}: the member '{member.name}' is {kind}. {NOT_TO_BE_TRUSTED}")
            room = _left(path, limit, room, member.size)
            file = archive.extractfile(member) if wanted(member.name) else None
            if file is not None:
                yield member.name, file.read()


def _zip(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    room = limit
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _inside(path, member.filename, member.is_dir())
            if member.external_attr >> 28 == 0o12:  # the file type in a Unix mode: a symbolic link
                raise DataError(f"{path}: the member '{member.filename}' is a link. {NOT_TO_BE_TRUSTED}")
            room = _left(path, limit, room, member.file_size)
            if not member.is_dir() and wanted(member.filename):
                yield member.filename, archive.read(member)


def _inside(path: Path, name: str, is_folder: bool) -> None:
    """A name must stay below the folder, on this system and on the others; only a folder may be the folder itself."""
    for flavour in (PurePosixPath(name), PureWindowsPath(name)):
        if flavour.anchor or ".." in flavour.parts or not (flavour.parts or is_folder):
            raise DataError(f"{path}: the member '{name}' leads out of the folder. {NOT_TO_BE_TRUSTED}")


def _left(path: Path, limit: int, room: int, size: int) -> int:
    if size > room:
        raise DataError(f"{path}: unpacks to more than {limit:,} bytes. {NOT_TO_BE_TRUSTED}")
    return room - size
