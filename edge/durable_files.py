"""Small files that survive a kill and a loss of power: there whole, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, content: str | bytes, *, mode: int | None = None, like: Path | None = None) -> None:
    """Put the content in place of what the file held, on disk when this returns; until then the old is.

    `mode`: its rights, never more while it is written; left out, those of any new file. `like`: or the rights of that
    file, and whose it is as far as we may say so. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, as a rename across file systems would be none.
    new = path.with_name(f".{path.name}-new")
    data = content.encode("utf-8") if isinstance(content, str) else content
    model = like.stat() if like is not None else None
    try:
        # Never through a link that somebody has put there.
        new.unlink(missing_ok=True)
        first = 0o666 if mode is None and model is None else 0o600
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, first)
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if model is not None:
                os.fchmod(file.fileno(), model.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), model.st_uid, model.st_gid)
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
