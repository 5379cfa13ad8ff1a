"""Small files that survive a kill and a loss of power: there whole, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, text: str) -> None:
    """Put the text in place of what the file held, on disk when this returns; until then the old is. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, as a rename across file systems would be none; its name tells who may have left it behind.
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have on disk which files the folder holds. Some network shares can't be asked to: they do as they do."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
