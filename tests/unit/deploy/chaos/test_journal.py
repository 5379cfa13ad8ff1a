"""The ground truth survives whatever ends its writer."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from deploy.chaos.journal import LARGEST_BYTES, Entry, Journal, last_entry, read_truth, readings_in

ENTRIES = [Entry(rows=[("power", 60_000 * i, 1000 * i)], ticked_ms=60_000 * i) for i in range(1, 500)]


def write(folder: Path, entries: list[Entry]) -> None:
    journal = Journal(folder, remembered=10)
    for entry in entries:
        journal.append(entry)
    journal.close()


def test_it_gives_back_what_was_written_in_order(tmp_path: Path):
    folder = tmp_path / "truth"
    write(folder, ENTRIES[:300])
    write(folder, ENTRIES[300:])
    assert list(read_truth(folder)) == ENTRIES
    assert last_entry(folder) == ENTRIES[-1]
    assert list(Journal(folder, remembered=150).tail) == ENTRIES[-150:]
    assert list(Journal(folder, remembered=10_000).tail) == ENTRIES
    assert max(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES


def test_a_torn_entry_does_not_count_and_what_follows_does(tmp_path: Path):
    folder = tmp_path / "truth"
    write(folder, ENTRIES[:3])
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    write(folder, ENTRIES[3:5])
    assert list(read_truth(folder)) == [*ENTRIES[:2], *ENTRIES[3:5]]


def test_nothing_before_the_first(tmp_path: Path):
    assert list(read_truth(tmp_path / "none")) == []
    assert last_entry(tmp_path / "none") == Entry()
    assert Journal(tmp_path / "new", remembered=3).last == Entry()


def test_it_may_be_written_while_no_file_may_grow_large(tmp_path: Path):
    """As for an agent whose disk is full, so that what its driver took is known all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * LARGEST_BYTES, hard))
    try:
        write(tmp_path / "truth", ENTRIES)
        with pytest.raises(OSError, match="File too large"):
            (tmp_path / "large").write_bytes(b"x" * (2 * LARGEST_BYTES + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(read_truth(tmp_path / "truth")) == ENTRIES


def test_readings_by_meter_and_instant():
    entries = [Entry(rows=[("power", 1, 2500), ("water", 1, 7000)]), Entry(rows=[("power", 2, 2500)])]
    assert readings_in(iter(entries)) == {("power", 1): 2.5, ("water", 1): 7.0, ("power", 2): 2.5}


def test_a_truth_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="can't be relied on"):
        readings_in(iter([Entry(rows=[("power", 1, 1)]), Entry(rows=[("power", 1, 2)])]))
