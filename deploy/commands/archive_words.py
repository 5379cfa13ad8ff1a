"""What `afkobling archive` tells, in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from collector.archive.archiver import Pass
from collector.archive.state import ArchiveState
from schemas.durations import span_text


def print_pass(done: Pass, *, waiting: int, as_json: bool) -> None:
    """What a pass came to. `waiting` chunks are old, and not rolled up yet."""
    rate = round(done.readings / done.seconds) if done.readings and done.seconds else None
    each = round(done.bytes / done.readings, 2) if done.readings else None
    if as_json:
        print(
            json.dumps(
                {**asdict(done), "waiting_chunks": waiting, "readings_per_s": rate, "bytes_per_reading": each}, indent=2
            )
        )
        return
    if done.readings or done.chunks:
        print(
            f"{done.readings:,} readings of {done.chunks:,} chunks archived in {done.files:,} files and dropped: "
            f"{each or 0} bytes a reading, {rate or 0:,} readings/s"
        )
    elif not done.problems:
        print("nothing is due")
    if done.merged:
        print(f"{done.merged:,} small files were merged")
    if waiting:
        print(_waiting(waiting))
    for problem in done.problems:
        print(f"not archived: {problem}", file=sys.stderr)


def describe_state(state: ArchiveState) -> Iterator[str]:
    """The state, line by line."""
    interval, retention = (span_text(round(s * 1000)) for s in (state.chunk_interval_s, state.retention_s))
    yield f"archive    {state.url or 'nowhere yet: set AFKOBLING_ARCHIVE_URL'}"
    yield f"database   TimescaleDB, {state.edition} edition; columnstore {'on' if state.columnstore else 'off'}"
    yield f"retention  {retention}; new chunks span {interval}"
    yield (
        f"hot        about {state.hot_readings:,} readings in {state.hot_chunks:,} chunks, {state.hot_bytes:,} bytes"
        f"{_each(state.hot_bytes_per_reading)}"
    )
    yield (
        f"archived   {state.archived_readings:,} readings in {state.files:,} files, {state.archived_bytes:,} bytes"
        f"{_each(state.archived_bytes_per_reading)}"
    )
    if state.archived_from:
        yield f"           from {state.archived_from:%Y-%m-%d %H:%M} to {state.archived_until:%Y-%m-%d %H:%M} UTC"
    yield f"due        {state.due_chunks:,} chunks, about {state.due_readings:,} readings"
    if state.waiting_chunks:
        yield f"           {_waiting(state.waiting_chunks)}"
    if state.restored_files:
        yield (
            f"restored   {state.restored_readings:,} readings of {state.restored_files:,} files, "
            f"kept until {state.restored_until:%Y-%m-%d %H:%M} UTC"
        )
    if state.leftover_files:
        yield f"left over  {state.leftover_files:,} files that don't count, to be removed in time"


def _waiting(chunks: int) -> str:
    return f"{chunks:,} {'chunk waits' if chunks == 1 else 'chunks wait'} for the roll-up (`afkobling rollup run`)"


def _each(ratio: float | None) -> str:
    return "" if ratio is None else f", {ratio} bytes a reading"
