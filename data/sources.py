"""The files of a corpus, by name: from a folder that holds them, or their archive, or from the network.

A corpus is published as one archive (or one plain file). Where its files are looked for: in `data=`, else in
$CHAINRULE_DATA/<set>, then in the user's cache, then on the network; a download is checked and kept as it came.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data import archives, files
from engine.errors import DataError

PACKED = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip")


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus: which files it has, and where they are published.

    pattern finds a file by the end of its path; what it matches is the file's name here.
    """

    name: str
    pattern: re.Pattern[str]
    published: files.File
    hosts: Sequence[str]

    def read(self, data: str | os.PathLike[str] | None = None) -> tuple[dict[str, bytes], str]:
        """Return {name: content}, and where it came from: the path of a folder, or "download".

        Raises DataError: `data` is no folder, holds no such files, or a damaged archive; NoDataHost: no network.
        """
        folder = files.given_folder(self.name, data)
        if folder is not None:
            found = self.find(folder)
            if not found:
                raise DataError(
                    f"{folder}: holds none of the {self.name} files. Put {self.published.name} there, packed or "
                    f"unpacked, or leave data= and ${files.VARIABLE} unset to have it downloaded."
                )
            return found, str(folder)
        cache = files.cache_folder(self.name)
        found = self.find(cache)
        if found:
            return found, str(cache)
        hosts = files.answering(self.hosts, self.published.remote_name)
        files.download(self.published, hosts, cache, lambda raw, url: None)
        return self.find(cache), "download"

    def find(self, folder: Path) -> dict[str, bytes]:
        """The files of the corpus in a folder, at any depth; else in an archive that lies there; else nothing."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        loose = {name: path for path in paths if (name := self.named(path.as_posix()))}
        if loose:
            return {name: files.read_bytes(path) for name, path in loose.items()}
        for path in paths:
            if path.name.endswith(PACKED):
                packed = archives.members(path, lambda name: bool(self.named(name)))
                found = {self.named(name): content for name, content in packed}
                if found:
                    return found
        return {}

    def named(self, path: str) -> str:
        match = self.pattern.search(path)
        return match.group() if match else ""
