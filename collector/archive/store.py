"""Where files are written: a folder, or a store that takes a whole object at once.

A file is there whole or not at all: in a folder it is written under another name, flushed to the disk and renamed; a
store shows an object only once all of it has come.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from collector.archive.errors import ArchiveRefusedError
from schemas.archive import manifest_path
from schemas.archive_store import ArchiveAwayError, ArchiveDamagedError, open_store

MARKER = "afkobling-archive.json"
_KIND = "archive of an afkobling database"
_IN_MEMORY = 64 << 20
_BLOCK = 8 << 20


def stored_url(url: str) -> str:
    """The address as the database keeps it: a folder's is absolute. Raises ArchiveAddressError for what is none."""
    if "://" not in url:
        url = "file://" + quote(str(Path(url).expanduser().resolve()))
    open_store(url)
    return url


class ArchiveStore:
    """The archive at one address. Everything raises OSError where the store refuses or does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._filesystem, self._root = open_store(url)
        self._folder = Path(self._root) if isinstance(self._filesystem, fs.LocalFileSystem) else None

    def claim(self, owner: str, *, is_new: bool) -> None:
        """Make sure that this is the owner's archive; one that is new is marked as its own.

        Raises ArchiveAwayError where an archive that holds files has no marker (a disk that is not mounted),
        ArchiveRefusedError where it is another database's.
        """
        found = self._read_marker()
        if found is None and not is_new:
            raise ArchiveAwayError(
                f"{self.url} has no {MARKER} although readings were archived there: is the disk mounted, is it the "
                "right bucket? Nothing was moved"
            )
        if found is not None and found != owner:
            raise ArchiveRefusedError(
                f"{self.url} is the archive of another database; give each database one of its own, with "
                "AFKOBLING_ARCHIVE_URL"
            )
        if found is None:
            with self.create(MARKER) as file:
                file.write(json.dumps({"kind": _KIND, "id": owner}).encode())

    def is_marked(self) -> bool:
        """Whether some database's archive stands here."""
        return self.size(MARKER) is not None

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[Any]:
        """A file to write to; it is there under its name when the block ends without an error."""
        if self._folder is None:
            with self._filesystem.open_output_stream(self._full(path)) as stream:
                yield stream
            return
        target = self._folder / path
        part = target.with_name(target.name + ".part")
        created = _make_folder(target.parent)
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        for folder in (target.parent, *created):
            _sync_folder(folder)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[pa.NativeFile]:
        """A file to read, from memory where it is small: a remote store is asked once. Raises ArchiveDamagedError."""
        try:
            with self._filesystem.open_input_file(self._full(path)) as file:
                yield pa.BufferReader(file.read()) if file.size() <= _IN_MEMORY else file
        except FileNotFoundError as error:
            raise ArchiveDamagedError(f"{path} is not in the archive at {self.url}") from error

    def size(self, path: str) -> int | None:
        """Bytes of a file, None where there is none."""
        info = self._filesystem.get_file_info(self._full(path))
        return int(info.size) if info.type == fs.FileType.File else None

    def remove(self, path: str) -> None:
        """Delete a file, its manifest, and what was left of writing them."""
        for name in (path, manifest_path(path), path + ".part", manifest_path(path) + ".part"):
            if self._folder is not None:
                (self._folder / name).unlink(missing_ok=True)
            elif not name.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    self._filesystem.delete_file(self._full(name))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _read_marker(self) -> str | None:
        if self.size(MARKER) is None:
            return None
        with self.open(MARKER) as file:
            try:
                marker = json.loads(file.read())
                if marker["kind"] == _KIND:
                    return str(marker["id"])
            except (ValueError, KeyError, TypeError):
                pass
        raise ArchiveRefusedError(f"{MARKER} at {self.url} is damaged or not ours; choose another place")


def sha256_of(file: pa.NativeFile) -> bytes:
    """The SHA-256 of a file's bytes, read from its beginning."""
    file.seek(0)
    found = hashlib.sha256()
    while block := file.read(_BLOCK):
        found.update(block)
    return found.digest()


def _make_folder(folder: Path) -> list[Path]:
    """Create it and those above it; returns the folders in which one was created."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [path.parent for path in missing]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
