"""Where the archive of a database on the local stack is, unless somebody says otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from collector.archive.store import MARKER
from deploy.stack.folders import LOOPBACK, data_folder


def default_archive(database_url: str, data_dir: Path | None = None) -> Path | None:
    """A folder beside the stack's data, for each of its databases; None for a database that is not the stack's own."""
    folder = data_folder(data_dir)
    kept = folder.ports()
    try:
        meant = conninfo_to_dict(database_url)
    except ProgrammingError:
        # Whoever connects says what is wrong with it.
        return None
    name = str(meant.get("dbname") or "")
    if kept is None or not name or (meant.get("host"), str(meant.get("port"))) != (LOOPBACK, str(kept.database)):
        return None
    return folder.archive(name)


def remove_default_archive(database_url: str, data_dir: Path | None = None) -> None:
    """Delete what a database that was made anew had archived before; nothing that is not an archive."""
    folder = default_archive(database_url, data_dir)
    if folder is not None and (folder / MARKER).exists():
        # What can't be deleted is refused when it is written to, as another database's.
        shutil.rmtree(folder, ignore_errors=True)
