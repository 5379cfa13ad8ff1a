"""The folder in which entries wait for the agent, which may be off meanwhile. One file an entry, and durable.

What a command line, or a page, needs to enter a dial: `enter`, and `waiting` to show what the agent has not taken yet.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.drivers.manual.entry import Entry, EntryRefusedError, refuse_future
from edge.drivers.manual.plausible import refuse_odd
from edge.drivers.quantity import Quantity
from edge.durable_files import sync_folder, write_durably
from edge.errors import EdgeTransientError

_ENTRY = "entry-*.json"
_HISTORY = "history.json"
_REMEMBERED = 20
"""Entries a meter to compare with."""


class SpoolUnavailableError(EdgeTransientError):
    """The spool's folder cannot be read or written."""


class BadEntryError(ValueError):
    """A file in the spool is not an entry."""


class _History(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: list[Entry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """An entry and its file."""

    path: Path
    entry: Entry


def enter(spool: Path, entry: Entry, quantity: Quantity, *, now: datetime) -> Path:
    """Check an entry and put it where the agent takes it: on disk when this returns its file.

    Raises EntryRefusedError with what to do, SpoolUnavailableError.
    """
    if entry.unit != quantity.unit:
        raise EntryRefusedError(f"{entry.meter} is entered in {quantity.unit}, not in {entry.unit}; convert it first")
    refuse_future(entry.at, now=now)
    try:
        with _alone(spool):
            known = _known(spool)
            refuse_odd(entry, known, quantity)
            number = f"{round(entry.entered_at.timestamp() * 1000):014d}"
            path = spool / f"entry-{number}-{entry.meter}-{secrets.token_hex(3)}.json"
            write_durably(path, entry.model_dump_json(exclude_defaults=True))
            _remember(spool, [*known, entry])
    except OSError as error:
        raise SpoolUnavailableError(
            f"{error.filename or spool}: {error.strerror}; the agent's own user must be able to write there: "
            "enter dials as that user, and look whether the disk is full"
        ) from error
    return path


def waiting(spool: Path) -> list[Spooled]:
    """What was entered and not taken yet, in the order of entering; not what is no entry.

    Raises SpoolUnavailableError.
    """
    found: list[Spooled] = []
    try:
        for path in entry_files(spool):
            try:
                found.append(Spooled(path=path, entry=read_entry(path)))
            except (BadEntryError, FileNotFoundError):
                continue
    except OSError as error:
        raise SpoolUnavailableError(
            f"{error.filename or spool}: {error.strerror}; enter dials as the agent's user"
        ) from error
    return found


def entry_files(spool: Path) -> list[Path]:
    """In the order of entering. Raises OSError."""
    try:
        return sorted(path for path in spool.iterdir() if path.match(_ENTRY))
    except FileNotFoundError:
        return []


def read_entry(path: Path) -> Entry:
    """Raises OSError, BadEntryError."""
    try:
        return Entry.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise BadEntryError(f"{path.name} is not an entry: {str(error).splitlines()[0]}") from error


def let_go(path: Path) -> None:
    """The entry is in the outbox: its file may go. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _known(spool: Path) -> Sequence[Entry]:
    """What was entered lately, taken or not. Of a history that makes no sense the checks know nothing."""
    try:
        history = _History.model_validate_json((spool / _HISTORY).read_text(encoding="utf-8")).entries
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        history = []
    # A kill may have come between an entry and its place in the history.
    return [*history, *(one.entry for one in waiting(spool) if one.entry not in history)]


def _remember(spool: Path, entries: Sequence[Entry]) -> None:
    newest: list[Entry] = []
    for meter in sorted({entry.meter for entry in entries}):
        own = sorted((entry for entry in entries if entry.meter == meter), key=lambda entry: entry.at)
        newest += own[-_REMEMBERED:]
    write_durably(spool / _HISTORY, _History(entries=newest).model_dump_json(exclude_defaults=True))


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    """Two people may enter the same dial at once."""
    spool.mkdir(parents=True, exist_ok=True)
    with (spool / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
