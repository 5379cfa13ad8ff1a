"""A log that can't be written takes nobody along: found as an agent that ended when the disk of its log was full."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.log_stream import LogStream, enduring

FULL = Path("/dev/full")
LOGS = (
    "import structlog\nfrom deploy.logs import configure_logs\nconfigure_logs('edge')\nlog = structlog.get_logger()\n"
)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_process_goes_on_when_the_disk_of_its_log_is_full():
    program = LOGS + "log.error('first', action='a.b')\nlog.error('second', action='a.c')\nprint('fine')"
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "fine\n")


def test_a_process_goes_on_when_nobody_reads_its_log():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", LOGS + "log.error('x', action='a.b')\nprint('fine')"],
            stdout=subprocess.PIPE,
            stderr=writing,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, "fine\n")


class Place:
    """A file whose disk is full, or is not."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")
        self.stream = LogStream(self.file)

    def fill(self) -> None:
        os.dup2(os.open(FULL, os.O_WRONLY), self.file.fileno())

    def make_room(self, path: Path) -> None:
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), self.file.fileno())


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_what_was_lost_is_told_once_there_is_room(tmp_path: Path):
    path = tmp_path / "log"
    place = Place(path)
    place.stream.write('{"event": "before"}\n')
    place.fill()
    place.stream.write('{"event": "lost"}\n{"event": "lost too"}\n')
    place.stream.write('{"event": "lost as well"}\n')
    place.make_room(path)
    place.stream.write('{"event": "after"}\n')
    place.stream.write('{"event": "and on"}\n')
    place.file.close()
    before, told, after, and_on = map(json.loads, path.read_text().splitlines())
    assert (told["action"], told["level"], told["lines"]) == ("log.lost", "error", 3)
    assert [line["event"] for line in (before, after, and_on)] == ["before", "after", "and on"]


def test_lines_are_written_whole(tmp_path: Path):
    """`print` hands over a line and its end by themselves; two threads' must not mix."""
    with (tmp_path / "log").open("w") as file:
        stream = LogStream(file)
        stream.write("one")
        assert (tmp_path / "log").read_text() == ""
        stream.write("\n")
        print("two ☂ \udcff", file=stream, flush=True)
    assert (tmp_path / "log").read_text() == "one\ntwo ☂ \\udcff\n"


def test_what_is_no_file_stays_as_it_is():
    stream = io.StringIO()
    assert enduring(stream) is stream
