"""The folder and its files. All of this may hang where the folder is a network share."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge.drivers.csv_watch.state import FileState, Stamp

_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", "~")
"""What programs call a file that they are still writing, until they rename it."""
_HEAD = 4096
_TAIL = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file that fits the pattern."""

    name: str
    stamp: Stamp


def list_files(folder: Path, pattern: str) -> list[Listed]:
    """The oldest first. Raises OSError when the folder is away."""
    found: list[Listed] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.lower()
            if name.startswith(".") or name.endswith(_UNFINISHED) or not fnmatch.fnmatchcase(name, pattern.lower()):
                continue
            # Between the list and a look a file may go; the others are none the worse for it.
            with suppress(FileNotFoundError):
                about = entry.stat()
                if stat.S_ISREG(about.st_mode):
                    found.append(Listed(name=entry.name, stamp=Stamp(size=about.st_size, changed_ns=about.st_mtime_ns)))
    return sorted(found, key=lambda file: (file.stamp.changed_ns, file.name))


def stamp_of(file: BinaryIO) -> Stamp:
    """Of an open file."""
    about = os.fstat(file.fileno())
    return Stamp(size=about.st_size, changed_ns=about.st_mtime_ns)


def print_of(file: BinaryIO, position: int) -> str:
    """Of the bytes before `position`: a print of their beginning and end, and how many they are."""
    file.seek(0)
    digest = hashlib.sha256(file.read(min(_HEAD, position)))
    file.seek(max(0, position - _TAIL))
    digest.update(file.read(min(_TAIL, position)))
    return f"{position}:{digest.hexdigest()[:32]}"


def is_same(file: BinaryIO, state: FileState) -> bool:
    """Whether it begins with what was read: nothing was replaced, it is only longer by now."""
    return state.position <= stamp_of(file).size and print_of(file, state.position) == state.print_


def recognise(file: BinaryIO, name: str, known: Mapping[str, FileState], *, renamed: bool) -> FileState | None:
    """How far this file was read; None when it is new: it was replaced, or begins anew.

    `renamed`: whether it may have been read under another name, as logs that are rotated.
    """
    if name in known and known[name].position and is_same(file, known[name]):
        return known[name]
    others = [state for other, state in known.items() if renamed and other != name and state.position]
    others.sort(key=lambda state: -state.position)
    return next((state for state in others if is_same(file, state)), None)


def move_file(path: Path, folder: Path, stamp: Stamp, *, note: str | None = None) -> None:
    """Into the folder, under a name that is free there, with a note beside it. Raises OSError, FileChangedError."""
    _check(path, stamp)
    folder.mkdir(parents=True, exist_ok=True)
    free, number = folder / path.name, 1
    while free.exists():
        number += 1
        free = folder / f"{path.stem}-{number}{path.suffix}"
    shutil.move(path, free)
    if note is not None:
        free.with_name(f"{free.name}.txt").write_text(f"{note}\n", encoding="utf-8")


def remove_file(path: Path, stamp: Stamp) -> None:
    """For good. Raises OSError, FileChangedError."""
    _check(path, stamp)
    path.unlink()


class FileChangedError(OSError):
    """The file is another by now: it stays, and is read again."""


def _check(path: Path, stamp: Stamp) -> None:
    with path.open("rb") as file:
        if stamp_of(file) != stamp:
            raise FileChangedError(f"{path} has changed meanwhile; it is read again")
