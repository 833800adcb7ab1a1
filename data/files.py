"""Where a data set's files come from: the user's folder, the cache, or the network, in this order.

No download is believed before its SHA-256 is seen. For single files the digest is that of the *uncompressed* bytes: a
gzip wrapper depends on who packed it, its content does not. A download becomes visible under its name in one step
(`os.replace`), complete and checked.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError

VARIABLE = "CHAINRULE_DATA"
BY_HAND = f"put the files in <folder>/<data set> and set ${VARIABLE} to <folder>"
ANSWER_WITHIN = 4.0  # seconds that the hosts get, all together, to show that they are there
READ_WITHIN = 30.0  # seconds of silence after which a running download is given up


class NoDataHost(DataError):
    """No host that carries the data set could be reached."""


@dataclass(frozen=True)
class File:
    """One file of a data set: its original name, and size and SHA-256 of its uncompressed bytes.

    The hosts carry it as `name`.gz; or, with gzipped=False (archives, plain text), as it is.
    """

    name: str
    size: int
    sha256: str
    gzipped: bool = True

    @property
    def remote_name(self) -> str:
        return f"{self.name}.gz" if self.gzipped else self.name


# --- where to look ----------------------------------------------------------------------------------------------------


def cache_folder(dataset: str) -> Path:
    """Return `<user cache>/chainrule/data/<dataset>`; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("chainrule", appauthor=False)) / "data" / dataset


def given_folder(dataset: str, data: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder that the user named for this data set, by argument or by $CHAINRULE_DATA; None without one.

    `data` may be the folder of the files or its parent, and has to hold the set. $CHAINRULE_DATA has to exist, but
    may hold other sets only: then there is nothing here, and the search goes on.
    """
    if data is not None:
        root = Path(data).expanduser()
        if not root.is_dir():
            raise DataError(
                f"data={str(root)!r} is not a folder. Name one that holds the {dataset} files, or leave it out."
            )
        return root / dataset if (root / dataset).is_dir() else root
    if not os.environ.get(VARIABLE):
        return None
    root = Path(os.environ[VARIABLE]).expanduser()
    if not root.is_dir():
        raise DataError(f"${VARIABLE} names {str(root)!r}, which is not a folder. Correct the variable, or unset it.")
    return root / dataset if (root / dataset).is_dir() else None


def find(folder: Path, name: str) -> Path | None:
    """Return the path of `name` or `name`.gz in a folder, None where neither exists."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


# --- reading and checking ---------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, uncompressed if it is gzipped (told by the content, not by the name)."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its rights."
        ) from error
    return uncompressed(raw, path)


def uncompressed(raw: bytes, where: str | Path) -> bytes:
    """Return the content of gzipped bytes, and other bytes as they are."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise DataError(
            f"{where}: truncated: the gzip stream breaks off after {len(raw):,} bytes. Fetch it again."
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{where}: the gzip stream is corrupt ({error}). Fetch it again.") from None


def check(raw: bytes, file: File, where: str | Path) -> bytes:
    """Return `raw` if its size and SHA-256 are the file's, else raise DataError with what was expected and met."""
    met = hashlib.sha256(raw).hexdigest()
    if met != file.sha256:
        raise DataError(
            f"{where}: expected the {file.size:,} bytes with SHA-256 {file.sha256}{' (uncompressed)' * file.gzipped}, "
            f"met {len(raw):,} bytes with {met}. It is damaged, or not the original: delete it and fetch it anew."
        )
    return raw


# --- fetching ---------------------------------------------------------------------------------------------------------


def answering(hosts: Sequence[str], name: str, seconds: float = ANSWER_WITHIN) -> list[str]:
    """Return the hosts (URL prefixes) that have `name`, in the given order; all are asked at once, and once.

    A machine without network learns it within `seconds`, however many addresses a host may have.
    """
    import requests

    answers: dict[str, bool] = {}

    def ask(host: str) -> None:
        try:
            answers[host] = requests.head(host + name, timeout=seconds, allow_redirects=True).ok
        except requests.RequestException:
            answers[host] = False

    deadline = time.monotonic() + seconds
    threads = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [host for host in hosts if answers.get(host, False)]


def transfer(url: str, target: Path) -> None:
    """Write what the URL holds to `target`, with a progress bar."""
    import pooch

    pooch.HTTPDownloader(progressbar=True, timeout=(ANSWER_WITHIN, READ_WITHIN))(url, str(target), None)


def download(file: File, hosts: Sequence[str], folder: Path, inspect: Callable[[bytes, str], object]) -> bytes:
    """Fetch a file from the first host that gives the right bytes, store it uncompressed in a folder, return its bytes.

    `inspect(raw, url)` may raise a DataError that says more than a digest can.
    Raises NoDataHost when no transfer came to its end, DataError when what came was wrong or cannot be stored.
    """
    import requests

    if not hosts:
        raise NoDataHost(f"{file.name}: no data host answers. Connect, or {BY_HAND}.")
    failed: list[str] = []
    wrong: DataError | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as workshop:
            part = Path(workshop) / file.name
            for host in hosts:
                url = host + file.remote_name
                try:
                    transfer(url, part)
                    raw = uncompressed(part.read_bytes(), url) if file.gzipped else part.read_bytes()
                    inspect(raw, url)
                    check(raw, file, url)
                except requests.RequestException as error:
                    failed.append(f"{url} ({type(error).__name__})")
                    continue
                except DataError as error:
                    wrong = error
                    continue
                part.write_bytes(raw)
                os.replace(part, folder / file.name)
                return raw
    except OSError as error:
        raise DataError(
            f"{folder}: cannot store {file.name} ({file.size:,} bytes): {error.strerror or error}. "
            f"Make room or make the folder writable, or {BY_HAND}."
        ) from error
    if wrong is not None:
        raise wrong
    raise NoDataHost(f"{file.name}: the transfer failed: {'; '.join(failed)}. Try again, or {BY_HAND}.")


def say(line: str) -> None:
    """Tell the user one thing, on standard error, beside the progress bars."""
    print(line, file=sys.stderr, flush=True)
