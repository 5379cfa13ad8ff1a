"""Where log lines go: a place that may fail without taking its process along."""

from __future__ import annotations

import io
import json
import os
import threading
from datetime import UTC, datetime
from typing import TextIO, cast


class LogStream(io.TextIOBase):
    """Writes to what `stream` stands on, past its buffer, whole lines at a time.

    A log on a full disk, or one that nobody reads any more, is no reason to stop reading meters: what can't be written
    is counted instead, and the count is told as soon as something can be.
    """

    def __init__(self, stream: TextIO) -> None:
        self._file = stream.fileno()
        self._mutex = threading.Lock()
        self._begun = ""
        self._lost = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Never raises for what the place is like."""
        with self._mutex:
            whole, _, self._begun = (self._begun + text).rpartition("\n")
            if whole:
                self._put(whole + "\n")
        return len(text)

    def _put(self, lines: str) -> None:
        try:
            if self._lost:
                self._write_all(_told(self._lost))
                self._lost = 0
            self._write_all(lines)
        except OSError:
            self._lost += lines.count("\n")

    def _write_all(self, text: str) -> None:
        data = text.encode("utf-8", errors="backslashreplace")
        while data:
            data = data[os.write(self._file, data) :]


def enduring(stream: TextIO) -> TextIO:
    """The stream as one that never fails its writer; itself where no file stands behind it."""
    try:
        stream.fileno()
    except (OSError, ValueError):
        return stream
    return cast("TextIO", LogStream(stream))


def _told(lines: int) -> str:
    words = {
        "event": "lines of this log could not be written and are lost; was the disk full?",
        "action": "log.lost",
        "level": "error",
        "at": datetime.now(UTC).isoformat(),
        "lines": lines,
    }
    return json.dumps(words) + "\n"
