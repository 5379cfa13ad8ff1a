"""The ground truth: what a driver took, on disk before anybody else heard of it, apart from the outbox."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.chaos.meters import value_of

LARGEST_BYTES = 32_768
"""No file of the journal grows larger."""
_LARGE_BYTES = 12_000

Row = tuple[str, int, int]
"""Meter, instant (Unix milliseconds), value in thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What was taken together. The rest is what the driver needs to go on after a kill.

    `ticked_ms`: the fast clock at the last tick. `skew_ms`: how wrong the agent's clock was. `burst` and `done`: the
    last burst that was asked for, and how many readings of it were taken.
    """

    rows: list[Row] = field(default_factory=list)
    ticked_ms: int = 0
    skew_ms: int = 0
    burst: int = 0
    done: int = 0
    burst_at_ms: int = 0
    registers: dict[str, int] = field(default_factory=dict)

    def as_line(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}).encode() + b"\n"


class Journal:
    """A folder of small files, as an agent whose disk is full may still write small ones. One writer.

    An entry is durable before `append` returns. One that was torn by a kill was never handed over and does not count.
    """

    def __init__(self, folder: Path, *, remembered: int) -> None:
        """`tail` holds the last `remembered` entries that were there."""
        folder.mkdir(exist_ok=True)
        self.tail: deque[Entry] = deque(maxlen=remembered)
        self._folder = folder
        files = _files(folder)
        self._number = int(files[-1].stem) if files else 0
        for path in reversed(files):
            left = remembered - len(self.tail)
            self.tail.extendleft(list(_entries(path))[: -left - 1 : -1])
            if len(self.tail) == remembered:
                break
        self._file: int | None = None
        self._size = 0

    @property
    def last(self) -> Entry:
        """The newest; an empty one before the first."""
        return self.tail[-1] if self.tail else Entry()

    def append(self, entry: Entry) -> None:
        """Durable when this returns. Raises OSError, and then the reading was not taken."""
        line = entry.as_line()
        if self._file is None or self._size >= _LARGE_BYTES:
            self.close()
            self._number += 1
            path = self._folder / f"{self._number:08}.jsonl"
            self._file, self._size = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), 0
        try:
            _write_whole(self._file, line)
        except OSError:
            # What follows must not stand behind a torn line.
            self.close()
            raise
        self._size += len(line)
        self.tail.append(entry)

    def close(self) -> None:
        """Let go of the file. Safe twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_truth(folder: Path) -> Iterator[Entry]:
    """All that was ever taken; nothing where no agent has begun."""
    for path in _files(folder):
        yield from _entries(path)


def last_entry(folder: Path) -> Entry:
    """The newest that is whole; an empty one before the first."""
    for path in reversed(_files(folder)):
        entries = list(_entries(path))
        if entries:
            return entries[-1]
    return Entry()


def readings_in(entries: Iterator[Entry]) -> dict[tuple[str, int], float]:
    """Every reading by meter and instant. Raises ValueError when one instant was read twice with different values."""
    found: dict[tuple[str, int], float] = {}
    for entry in entries:
        for meter, at_ms, thousandths in entry.rows:
            if found.setdefault((meter, at_ms), value_of(thousandths)) != value_of(thousandths):
                raise ValueError(f"the driver took {meter} at {at_ms} twice; its ground truth can't be relied on")
    return found


def _write_whole(file: int, line: bytes) -> None:
    if os.write(file, line) != len(line):
        raise OSError(f"the ground truth could not be written whole: no room for {len(line)} bytes")
    os.fsync(file)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                known: dict[str, Any] = json.loads(line)
                known["rows"] = [tuple(row) for row in known["rows"]]
                yield Entry(**known)
