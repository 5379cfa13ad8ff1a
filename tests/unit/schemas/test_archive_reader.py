"""Reading archived files: no row group that can't hold what is asked for, and never less than is there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from schemas.archive import ARCHIVE_SCHEMA
from schemas.archive_reader import NOTHING, ArchivedFile, ArchiveReader, Columns, join, match
from schemas.archive_store import ArchiveAddressError, ArchiveAwayError, ArchiveDamagedError, footer_digest, open_store

METERS, READINGS, GROUP = 20, 50, 100


def _columns(rows: list[tuple[int, int, float]]) -> Columns:
    return Columns(
        meter_id=np.array([meter for meter, _, _ in rows], np.int32),
        at=np.array([at for _, at, _ in rows], np.int64),
        value=np.array([value for _, _, value in rows], np.float64),
        quality=np.zeros(len(rows), np.int16),
    )


ROWS = [(meter, at * 1000, meter + at / 100) for meter in range(METERS) for at in range(READINGS)]
PATH = "v1/a.parquet"


def _write(folder: Path, rows: list[tuple[int, int, float]] = ROWS) -> ArchivedFile:
    columns = _columns(rows)
    table = pa.table(
        [
            pa.array(columns.meter_id),
            pa.array(["m"] * len(rows)).dictionary_encode(),
            pa.array(columns.at, pa.timestamp("us", tz="UTC")),
            pa.array(columns.value),
            pa.array(columns.quality),
        ],
        schema=ARCHIVE_SCHEMA,
    )
    (folder / "v1").mkdir(exist_ok=True)
    pq.write_table(table, folder / PATH, row_group_size=GROUP, write_page_checksum=True)
    return ArchivedFile(
        site_id=1,
        path=PATH,
        readings=len(ROWS),
        first_us=0,
        last_us=(READINGS - 1) * 1000,
        footer_sha256=footer_digest(pa.BufferReader((folder / PATH).read_bytes())),
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _reader(folder: Path, clock: Clock | None = None, **settings: Any) -> ArchiveReader:
    return ArchiveReader(folder.as_uri(), clock=clock or Clock(), lock=contextlib.nullcontext(), **settings)


def _read(
    reader: ArchiveReader, file: ArchivedFile, first: int, last: int, meters: list[int] | None = None
) -> list[tuple[int, int, float]]:
    wanted = None if meters is None else np.array(meters)
    found = join([NOTHING, *reader.read(file, from_us=first, to_us=last, meter_ids=wanted)])
    return list(zip(found.meter_id.tolist(), found.at.tolist(), found.value.tolist(), strict=True))


def test_only_row_groups_of_the_meters_are_read(tmp_path: Path) -> None:
    file = _write(tmp_path)
    reader = _reader(tmp_path)
    assert _read(reader, file, 0, 10**9, [7]) == [row for row in ROWS if row[0] == 7]
    assert reader.groups_read == 1
    # A meter between two that are asked for: only theirs.
    assert _read(reader, file, 0, 10**9, [0, 19, 1000]) == [row for row in ROWS if row[0] in {0, 19}]
    assert reader.groups_read == 3
    assert _read(reader, file, 10_000, 12_000, [7, 19]) == [
        row for row in ROWS if row[0] in {7, 19} and row[1] in {10_000, 11_000}
    ]
    assert reader.groups_read == 3, "what was read is kept"
    assert _read(reader, file, 50_000, 10**9) == []
    assert reader.groups_read == 3
    assert _read(reader, file, 0, 10**9) == ROWS
    assert reader.groups_read == 10


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    file = _write(tmp_path)
    reader = _reader(tmp_path, most_bytes=3 * GROUP * 22)
    assert _read(reader, file, 0, 10**9) == ROWS
    assert _read(reader, file, 0, 10**9, [0]) == ROWS[:READINGS]
    assert reader.groups_read == 11


def test_a_store_that_is_away_is_not_asked_again_at_once(tmp_path: Path) -> None:
    folder, away = tmp_path / "archive", tmp_path / "away"
    away.mkdir()
    file = _write(away)
    clock = Clock()
    reader = _reader(folder, clock)
    with pytest.raises(ArchiveAwayError, match="is its disk mounted"):
        _read(reader, file, 0, 1000)
    away.rename(folder)
    with pytest.raises(ArchiveAwayError):
        _read(reader, file, 0, 1000)
    clock.now = 11
    assert len(_read(reader, file, 0, 1000)) == METERS


def test_a_file_with_other_readings_than_written_is_damaged(tmp_path: Path) -> None:
    file = _write(tmp_path, ROWS[:-1])
    with pytest.raises(ArchiveDamagedError, match="it has 999 readings; 1000 were written"):
        _read(_reader(tmp_path), file, 0, 1000)


def test_every_flipped_byte_is_told_or_does_no_harm(tmp_path: Path) -> None:
    file = _write(tmp_path)
    place = tmp_path / PATH
    content = place.read_bytes()
    for at in range(0, len(content), max(len(content) // 200, 1)):
        harmed = bytearray(content)
        harmed[at] ^= 1 << (at % 8)
        place.write_bytes(harmed)
        with contextlib.suppress(ArchiveDamagedError):
            assert _read(_reader(tmp_path), file, 0, 10**9) == ROWS, f"byte {at}"


@pytest.mark.parametrize("size", [0, 3, 8, 5000])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, size: int) -> None:
    file = _write(tmp_path)
    place = tmp_path / PATH
    place.write_bytes(place.read_bytes()[:size])
    with pytest.raises(ArchiveDamagedError, match="cut off"):
        _read(_reader(tmp_path), file, 0, 1000)


@given(
    part=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 30)), min_size=1),
    asked=st.lists(st.tuples(st.integers(-1, 8), st.integers(-3, 35))),
)
def test_match_finds_each_reading_where_it_stands(part: set[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    rows = [(meter, at, 0.0) for meter, at in sorted(part)]
    meters, at = (np.array([one[i] for one in asked], np.int64) for i in (0, 1))
    mine, theirs = match(_columns(rows), meters, at)
    assert {i: rows[place][:2] for i, place in zip(mine.tolist(), theirs.tolist(), strict=True)} == {
        i: one for i, one in enumerate(asked) if one in part
    }


def test_match_over_decades_and_many_meters() -> None:
    day = 86_400_000_000
    rows = [(meter, meter * 20, 0.0) for meter in range(1, 130_000)]
    meters, at = np.array([5, 5, 129_999, 7]), np.array([100, 20_000 * day, 129_999 * 20, -9000 * day])
    mine, theirs = match(_columns(rows), meters, at)
    assert (mine.tolist(), theirs.tolist()) == ([0, 2], [4, 129_998])


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("/var/archive/", "/var/archive"),
        ("file:///var/an%20archive", "/var/an archive"),
        ("file://localhost/var", "/var"),
    ],
)
def test_a_folder(url: str, root: str) -> None:
    filesystem, found = open_store(url)
    assert isinstance(filesystem, fs.LocalFileSystem)
    assert found == root


def test_a_store() -> None:
    filesystem, root = open_store("s3://bucket/some/where?endpoint_override=127.0.0.1:9&scheme=http&region=eu-north-1")
    assert (filesystem.type_name, root) == ("s3", "bucket/some/where")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("archive", "an absolute path"),
        ("file://elsewhere/archive", "an absolute path"),
        ("gs://bucket/archive", "an absolute path"),
        ("s3:///archive", "an absolute path"),
        ("s3://key:secret@bucket/archive", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/archive?region=x&color=red", "'color' is no option"),
        ("s3://bucket/archive?scheme=ftp", "http or https"),
        ("http://[", "not an address"),
    ],
)
def test_no_address_of_an_archive(url: str, said: str) -> None:
    with pytest.raises(ArchiveAddressError, match=said):
        open_store(url)
