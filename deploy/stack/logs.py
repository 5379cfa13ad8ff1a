"""The servers' log files: kept within bounds, and quoted when a server fails."""

from __future__ import annotations

from pathlib import Path

from deploy.stack.processes import last_lines

_LARGEST = 16 * 1024 * 1024


def tail(log: Path, count: int = 15) -> str:
    """The last lines of a log, indented; a remark in place of a log that is not there."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65_536))
            return last_lines(file.read().decode("utf-8", "replace"), count)
    except OSError as error:
        return f"    (no log: {error.strerror})"


def set_aside(log: Path) -> None:
    """Before a start: move a log that has grown large to `.old`, replacing the one before."""
    if log.exists() and log.stat().st_size > _LARGEST:
        log.replace(log.with_name(log.name + ".old"))
