"""Readings on their way into the archive and back: each stands in one place, whatever comes between two steps."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from collector.archive import chunks, files, merging, moving, progress, restoring, site_files
from collector.archive.archiver import Archiver
from collector.archive.checking import check_file
from collector.archive.checksum import HASH, hash_readings
from collector.archive.errors import ArchiveBusyError, ArchiveRefusedError, ArchiveStoppedError
from collector.archive.files import list_files
from collector.archive.parquet import FileWriter
from collector.archive.progress import archive_turn, read_progress
from collector.archive.relocating import relocate
from collector.archive.restoring import Restored, restore
from collector.archive.store import MARKER, ArchiveStore
from collector.connection import connect
from schemas.archive import Manifest
from schemas.archive_store import ArchiveAwayError
from schemas.errors import AfkoblingError
from schemas.locks import ARCHIVE_GATE
from tests.integration.collector.archive_site import (
    NOW,
    START,
    archive_all,
    everything,
    fill,
    in_table,
    late,
    prepare,
    settings,
    strays,
)
from tests.integration.collector.conftest import wait_for

pytestmark = pytest.mark.stack

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class PlannedError(Exception):
    """A test's own failure."""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    prepare(database_url)
    with connect(database_url, role="archive") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def put_back(connection: psycopg.Connection[Any], folder: Path, **more: Any) -> Restored:
    given: dict[str, Any] = {
        "start": START, "end": NOW, "site_id": None, "keep": DAY, "grace": timedelta(0), **more,
    }  # fmt: skip
    return restore(connection, ArchiveStore(str(folder)), **given)


def test_all_that_is_due_by_site_and_month(connection, database_url, folder):
    truth = in_table(connection)
    done = archive_all(connection, settings(database_url, folder, archive_retention="50d"))
    # Whole weeks from Thursday on: those that ended by 12 April.
    assert done.problems == []
    assert done.chunks == 3
    assert everything(connection, folder) == truth
    assert set(truth.values()) == {1}
    kept = connection.execute("SELECT min(at) FROM reading").fetchone()
    assert kept[0].isoformat() == "2026-04-09T00:00:00+00:00"
    paths = sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("*.parquet"))
    assert Counter(paths) == {
        f"v1/organisation=acme/site={site}/month=2026-{month}": count
        for site in ("hall", "yard")
        for month, count in (("03", 2), ("04", 2))
    }
    assert done.files == 8
    progress_now = read_progress(connection)
    assert progress_now.frozen_to == progress_now.archived_to == kept[0]
    assert connection.execute("SELECT count(*) FROM archive_leftover").fetchone() == (0,)
    assert archive_all(connection, settings(database_url, folder, archive_retention="50d")).chunks == 0
    store = ArchiveStore(str(folder))
    assert [damage for file in list_files(connection) for damage in check_file(store, file)] == []


def test_the_file_and_its_manifest_tell_the_same(connection, database_url, folder):
    archive_all(connection, settings(database_url, folder))
    path = sorted(folder.rglob("site=hall/month=2026-03/*.parquet"))[0]
    manifest = Manifest.model_validate_json(path.with_suffix(".json").read_bytes())
    table = pq.read_table(path, partitioning=None).to_pylist()
    assert (manifest.organisation, manifest.site, manifest.month, manifest.file) == (
        "acme", "hall", "2026-03", path.name,
    )  # fmt: skip
    assert manifest.readings == len(table) == sum(meter.readings for meter in manifest.meters)
    assert table == sorted(table, key=lambda row: (row["meter_id"], row["at"]))
    for meter in manifest.meters:
        own = [row for row in table if row["meter_id"] == meter.id]
        assert {row["meter"] for row in own} == {meter.key}
        assert (meter.first_at, meter.last_at) == (own[0]["at"], own[-1]["at"])
        assert (meter.min, meter.max) == (min(r["value"] for r in own), max(r["value"] for r in own))
    assert {meter.key: (meter.resource, meter.unit) for meter in manifest.meters} == {
        "power": ("energy", "kWh"), "water": ("water", "m3"), "steam": ("energy", "kWh"),
    }  # fmt: skip
    units = pq.read_metadata(path).row_group(0)
    assert {units.column(i).compression for i in range(5)} == {"ZSTD"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollup_progress SET computed_to = '2026-03-25'",
        "INSERT INTO pending (meter_id, from_at, to_at) VALUES (1, '2000-01-01', '2030-01-01')",
        "UPDATE rollup_progress SET computed_to = NULL",
    ],
)
def test_nothing_is_archived_before_it_is_rolled_up(connection, database_url, folder, statement):
    connection.execute(statement)
    truth = in_table(connection)
    assert archive_all(connection, settings(database_url, folder)).chunks == 0
    assert in_table(connection) == truth


def test_a_chunk_without_readings_is_dropped(connection, database_url, folder):
    connection.execute("DELETE FROM reading WHERE at >= '2026-03-26' AND at < '2026-04-02'")
    truth = in_table(connection)
    done = archive_all(connection, settings(database_url, folder))
    assert (done.chunks, done.problems) == (5, [])
    assert everything(connection, folder) == truth


def test_the_checksum_is_the_database_s_own(connection):
    rng = np.random.default_rng(8)
    value = np.r_[rng.normal(size=500) * 10.0 ** rng.integers(-300, 300, 500), 0.0, -0.0, 5e-324, -1.7e308, np.inf]
    at = rng.integers(-(10**15), 4 * 10**15, len(value))
    meter, quality = rng.integers(0, 2**31 - 1, len(value)), rng.integers(-32768, 32767, len(value))
    found = connection.execute(
        f"SELECT {HASH} FROM unnest(%s::int4[], %s::int8[], %s::float8[], %s::int2[]) "
        "WITH ORDINALITY AS u(meter_id, us, value, quality, nth), "
        "LATERAL (SELECT timestamptz 'epoch' + us * interval '1 microsecond' AS at) AS a ORDER BY nth",
        [meter.tolist(), at.tolist(), value.tolist(), quality.tolist()],
    ).fetchall()
    assert [row[0] for row in found] == hash_readings(meter, at, value, quality).view(np.int64).tolist()


STEPS = [
    (moving, "freeze"),
    (moving, "count_contents"),
    (moving, "read_pages"),
    (site_files, "begin_files"),
    (site_files, "read_back"),
    (moving, "read_notes"),
    (moving, "announce"),
    (moving, "enter_alone"),
    (moving, "has_notes"),
    (moving, "add_files"),
    (moving, "keep_files"),
]


Step = tuple[Any, str, bool]


def between(monkeypatch: pytest.MonkeyPatch, when: Step, act: Callable[[], None]) -> None:
    """Have something happen the first time that a step is made."""
    module, name, after = when
    step = getattr(module, name)
    is_done = threading.Event()

    def wrapped(*arguments: Any, **more: Any) -> Any:
        if is_done.is_set():
            return step(*arguments, **more)
        is_done.set()
        if not after:
            act()
        found = step(*arguments, **more)
        if after:
            act()
        return found

    monkeypatch.setattr(module, name, wrapped)


def test_cut_off_before_each_step(connection, database_url, folder, monkeypatch):
    truth = in_table(connection)
    given = settings(database_url, folder)

    def fail() -> None:
        raise PlannedError

    for step in [*((module, name, False) for module, name in STEPS), (moving, "keep_files", True)]:
        with monkeypatch.context() as patch, connect(database_url, role="archive") as own:
            between(patch, step, fail)
            with pytest.raises(PlannedError):
                archive_all(own, given)
        assert everything(connection, folder) == truth, step
        assert in_table(connection) == truth, step
    assert archive_all(connection, given).problems == []
    assert everything(connection, folder) == truth
    assert in_table(connection) == Counter()
    assert strays(connection, folder) == set()


# Behind the gate, which is taken alone, nobody can write old readings.
OPEN = [
    *((module, name, False) for module, name in STEPS[: STEPS.index((moving, "enter_alone"))]),
    (moving, "announce", True),
]


@pytest.mark.parametrize("step", OPEN, ids=lambda step: f"{'after' if step[2] else 'before'} {step[1]}")
def test_readings_that_come_between_two_steps(connection, database_url, folder, monkeypatch, step):
    truth = in_table(connection)
    first = START + 3 * HOUR

    def write() -> None:
        come = late(
            database_url,
            ("power", first + timedelta(minutes=20), 7.25),
            ("silent", first, 1.0),
            ("power", first + 30 * DAY, 9.5),
            ("power", first, 1.11),
            ("power", START + 5 * HOUR, -4.0),
        )
        assert (come.stored, come.repeated, come.quarantined) == (3, 1, 1)

    between(monkeypatch, step, write)
    done = archive_all(connection, settings(database_url, folder))
    # What came into a later chunk waits for the roll-up, as does all of its chunk.
    connection.execute("DELETE FROM pending")
    archive_all(connection, settings(database_url, folder))
    assert done.problems == []
    found = everything(connection, folder)
    assert set(found.values()) == {1}
    assert sorted((value, quality) for _, _, value, quality in found - truth) == [(1.0, 0), (7.25, 0), (9.5, 0)]
    assert truth - found == Counter()
    assert in_table(connection) == Counter()
    reasons = connection.execute("SELECT reason, readings FROM quarantine").fetchall()
    assert reasons == [("another value for the same instant", 1)]
    assert strays(connection, folder) == set()


def test_late_readings_make_further_files(connection, database_url, folder):
    truth = in_table(connection)
    given = settings(database_url, folder)
    archive_all(connection, given)
    late(database_url, ("power", START + timedelta(minutes=1), 5.5), ("silent", START + DAY, 6.5))
    assert archive_all(connection, given).chunks == 0
    connection.execute("DELETE FROM pending")
    done = archive_all(connection, given)
    assert (done.chunks, done.readings, done.files) == (1, 2, 1)
    found = everything(connection, folder)
    assert len(found) == len(truth) + 2
    assert set(found.values()) == {1}


def test_writers_and_an_archiver_at_once(connection, database_url, folder):
    truth = in_table(connection)
    problems: list[Exception] = []
    is_over = threading.Event()

    def write() -> None:
        try:
            for nth in range(25):
                late(
                    database_url,
                    ("power", START + nth * 9 * HOUR + timedelta(minutes=11), nth),
                    ("silent", START + nth * 7 * HOUR, nth),
                )
        except (psycopg.Error, AfkoblingError) as error:
            problems.append(error)
        finally:
            is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not is_over.is_set():
        connection.execute("DELETE FROM pending")
        archive_all(connection, settings(database_url, folder))
    writer.join()
    connection.execute("DELETE FROM pending")
    archive_all(connection, settings(database_url, folder))
    assert problems == []
    found = everything(connection, folder)
    assert len(found) == len(truth) + 50
    assert set(found.values()) == {1}
    assert in_table(connection) == Counter()


def test_what_differs_from_the_database_drops_nothing_else_goes_on(connection, database_url, folder, monkeypatch):
    truth = in_table(connection)
    write = FileWriter.write
    is_done = threading.Event()

    def falsify(self: FileWriter, rows: Any, keys: Any) -> None:
        if not is_done.is_set():
            is_done.set()
            rows.value[3] += 0.01
        write(self, rows, keys)

    monkeypatch.setattr(FileWriter, "write", falsify)
    done = archive_all(connection, settings(database_url, folder))
    assert done.chunks == 4
    assert len(done.problems) == 1
    assert "for meter power (other readings there than here); nothing was dropped" in done.problems[0]
    assert everything(connection, folder) == truth
    assert strays(connection, folder) == set()
    assert archive_all(connection, settings(database_url, folder)).chunks == 1
    assert everything(connection, folder) == truth


def test_readings_of_no_known_meter_stay(connection, database_url, folder):
    connection.execute("INSERT INTO reading VALUES (4711, '2026-03-27 10:00+00', 1, 0)")
    done = archive_all(connection, settings(database_url, folder))
    assert done.chunks == 4
    assert "meter 4711 among them is not in the site model" in done.problems[0]


def test_a_file_that_is_missing_cut_off_or_changed_is_told(connection, database_url, folder):
    archive_all(connection, settings(database_url, folder))
    paths = sorted(folder.rglob("*.parquet"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    body = bytearray(paths[2].read_bytes())
    body[len(body) // 2] ^= 1
    paths[2].write_bytes(body)
    paths[3].with_suffix(".json").write_text("{}")
    told = json.loads(paths[4].with_suffix(".json").read_text())
    told["meters"][0]["max"] += 1
    paths[4].with_suffix(".json").write_text(json.dumps(told))
    store = ArchiveStore(str(folder))
    found = {d.path: d.problem for file in list_files(connection) for d in check_file(store, file)}
    names = [str(path.relative_to(folder)) for path in paths]
    assert found.pop(names[0]) == "is missing"
    assert " bytes, not " in found.pop(names[1])
    assert "it is not what was written" in found.pop(names[2])
    assert "is no manifest" in found.pop(names[3].replace(".parquet", ".json"))
    assert "tells of other readings" in found.pop(names[4].replace(".parquet", ".json"))
    assert found == {}
    fast = [d.path for file in list_files(connection) for d in check_file(store, file, only_size=True)]
    assert sorted(fast) == names[:2]
    done = put_back(connection, folder)
    assert sorted(problem.split(" ")[0] for problem in done.problems) == names[:3]
    assert done.files == len(paths) - 3


def test_back_into_the_table_and_into_the_archive_again(connection, database_url, folder):
    truth = in_table(connection)
    given = settings(database_url, folder)
    archive_all(connection, given)
    site_id = connection.execute("SELECT id FROM site WHERE key = 'yard'").fetchone()[0]
    some = put_back(connection, folder, start=START, end=START + HOUR, site_id=site_id)
    assert (some.files, some.problems) == (1, [])
    assert sum(in_table(connection).values()) == some.readings
    assert everything(connection, folder) == truth
    rest = put_back(connection, folder)
    assert everything(connection, folder) == in_table(connection) == truth
    assert some.readings + rest.readings == len(truth)
    # They are the same readings: nothing is late, and nothing is to be computed again.
    assert connection.execute("SELECT count(*) FROM pending").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM archive_late").fetchone() == (0,)
    assert archive_all(connection, given).chunks == 0
    connection.execute("UPDATE archive_file SET keep_until = now()")
    assert archive_all(connection, given).problems == []
    assert in_table(connection) == Counter()
    assert everything(connection, folder) == truth
    assert connection.execute("SELECT count(*) FROM archive_file WHERE restored_at IS NOT NULL").fetchone() == (0,)
    assert strays(connection, folder) == set()


def test_late_readings_don_t_wait_for_a_restore(connection, database_url, folder, monkeypatch):
    truth = in_table(connection)
    archive_all(connection, settings(database_url, folder))
    written: list[int] = []
    values = ("power", START + timedelta(minutes=17), 1.0)
    writer = threading.Thread(target=lambda: written.append(late(database_url, values).stored), daemon=True)

    def write_first(*args: Any) -> None:
        # It holds the archive's gate, and needs a chunk that the restore makes: neither may wait for the other.
        if writer.ident is None:
            writer.start()
            writer.join(5)
            assert not writer.is_alive(), "it waits for the restore, which is about to wait for it"
        files.enter_within(*args)

    monkeypatch.setattr(restoring, "enter_within", write_first)
    done = put_back(connection, folder, end=START + HOUR)
    assert (done.problems, written) == ([], [1])
    assert sum(in_table(connection).values()) == done.readings + 1
    assert sum(everything(connection, folder).values()) == len(truth) + 1


def test_all_goes_well_on_a_server_with_local_clock_times(database_url, folder, monkeypatch):
    # The last hour before and the first after the clocks were turned back have the same local times.
    monkeypatch.setenv("PGTZ", "Europe/Copenhagen")
    turned = datetime(2026, 10, 25, 1, tzinfo=UTC)
    prepare(database_url)
    with connect(database_url, role="test") as connection:
        connection.execute("TRUNCATE reading")
        for start in (turned - HOUR, turned):
            fill(connection, start, days=1, step=timedelta(days=1))
        connection.execute("UPDATE rollup_progress SET closed_to = 'infinity', computed_to = 'infinity'")
        truth = in_table(connection)
        assert archive_all(connection, settings(database_url, folder), now=turned + timedelta(days=60)).problems == []
        listed = list(list_files(connection))
        assert [damage for file in listed for damage in check_file(ArchiveStore(str(folder)), file)] == []
        assert put_back(connection, folder, end=turned + HOUR).problems == []
        assert in_table(connection) == truth


def test_a_reading_in_both_places_is_told_and_nothing_is_restored(connection, database_url, folder):
    given = settings(database_url, folder)
    meter, at, value, quality = connection.execute("SELECT * FROM reading ORDER BY at LIMIT 1").fetchone()
    archive_all(connection, given)
    connection.execute("INSERT INTO reading VALUES (%s, %s, %s, %s)", [meter, at, value, quality])
    done = put_back(connection, folder, end=START + HOUR)
    assert "stands in the table, too" in done.problems[0]
    assert "nothing of it was restored" in done.problems[0]
    assert sum(in_table(connection).values()) == done.readings + 1


def test_one_at_a_time(connection, database_url, folder):
    with (
        connect(database_url, role="other") as other,
        archive_turn(other),
        pytest.raises(ArchiveBusyError, match="somebody else moves readings"),
    ):
        archive_all(connection, settings(database_url, folder))
    assert archive_all(connection, settings(database_url, folder)).chunks == 5


def test_a_reader_delays_the_dropping_only(connection, database_url, folder, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", "SET LOCAL lock_timeout = '20ms'")
    truth = in_table(connection)
    stopping = threading.Event()
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ARCHIVE_GATE])
        done: list[Any] = []

        def archive() -> None:
            with connect(database_url, role="archive") as own:
                given = settings(database_url, folder)
                done.append(Archiver(given, clock=lambda: NOW, stopping=stopping).once(own))

        thread = threading.Thread(target=archive)
        thread.start()
        wait_for(lambda: list(folder.rglob("*.json")) != [], "a file")
        assert reader.execute("SELECT count(*) FROM reading").fetchone() == (len(truth),)
        stopping.set()
        thread.join(60)
        assert not thread.is_alive()
    assert done[0].chunks == 0
    assert everything(connection, folder) == truth
    assert archive_all(connection, settings(database_url, folder)).chunks == 5


def test_stopped_while_it_copies(connection, database_url, folder, monkeypatch):
    truth = in_table(connection)
    stopping = threading.Event()
    between(monkeypatch, (moving, "count_contents", True), stopping.set)
    done = Archiver(settings(database_url, folder), clock=lambda: NOW, stopping=stopping).once(connection)
    assert (done.chunks, done.problems) == (0, [])
    assert in_table(connection) == truth
    with pytest.raises(ArchiveStoppedError):
        list(moving._until(stopping, [1]))


def test_a_place_of_another_s_or_not_mounted_is_refused(connection, database_url, folder, tmp_path, stack):
    given = settings(database_url, folder)
    archive_all(connection, given)
    with pytest.raises(ArchiveRefusedError, match=r"is at file://.*, not at file://.*elsewhere"):
        archive_all(connection, settings(database_url, tmp_path / "elsewhere"))
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("UPDATE archive_progress SET id = gen_random_uuid()")
        with pytest.raises(ArchiveRefusedError, match="is the archive of another database"):
            archive_all(connection, given)
    (folder / MARKER).unlink()
    fill(connection, START, days=1, step=HOUR)
    with pytest.raises(ArchiveAwayError, match="is the disk mounted"):
        archive_all(connection, given)


def test_elsewhere_once_all_files_are_there(connection, database_url, folder, tmp_path):
    truth = in_table(connection)
    archive_all(connection, settings(database_url, folder))
    target = tmp_path / "new place"
    with pytest.raises(ArchiveAwayError):
        relocate(connection, str(target))
    folder.rename(target)
    path = sorted(target.rglob("*.parquet"))[1]
    body = path.read_bytes()
    path.unlink()
    with pytest.raises(ArchiveRefusedError, match="is missing at file://"):
        relocate(connection, str(target))
    path.write_bytes(body)
    assert relocate(connection, str(target)) == 12
    assert everything(connection, target) == truth
    assert archive_all(connection, settings(database_url, target)).problems == []


@pytest.fixture
def in_small_files(connection, database_url, folder) -> Counter[Any]:
    """All archived, from chunks of a day; nothing is merged yet."""
    truth = in_table(connection)
    connection.execute("TRUNCATE reading")
    given = settings(database_url, folder, chunk_interval="1d", archive_merge_files=0)
    archive_all(connection, given)
    fill(connection, START, days=28, step=HOUR)
    archive_all(connection, given)
    assert connection.execute("SELECT count(*) FROM archive_file").fetchone() == (56,)
    assert everything(connection, folder) == truth
    return truth


def test_small_files_are_merged(in_small_files, connection, database_url, folder):
    given = settings(database_url, folder, archive_merge_files=3, archive_grace="1h")
    assert archive_all(connection, given).merged == 56
    assert connection.execute("SELECT count(*) FROM archive_file").fetchone() == (4,)
    assert everything(connection, folder) == in_small_files
    store = ArchiveStore(str(folder))
    assert [damage for file in list_files(connection) for damage in check_file(store, file)] == []
    # Who began to read before goes on to the end; then the old files go.
    assert len(list(folder.rglob("*.parquet"))) == 60
    connection.execute("UPDATE archive_leftover SET remove_after = now()")
    assert archive_all(connection, given).removed == 56
    assert len(list(folder.rglob("*.parquet"))) == 4
    assert strays(connection, folder) == set()


MERGE_STEPS = [
    (merging, "write_site_files"),
    (merging, "differing_meters"),
    (merging, "enter_alone"),
    (merging, "add_files"),
    (merging, "keep_files"),
    (merging, "retire_files"),
]


def test_cut_off_while_merging(in_small_files, connection, database_url, folder, monkeypatch):
    given = settings(database_url, folder, archive_merge_files=3, archive_grace="1h")

    def fail() -> None:
        raise PlannedError

    for module, name in MERGE_STEPS:
        with monkeypatch.context() as patch:
            between(patch, (module, name, True), fail)
            with pytest.raises(PlannedError):
                archive_all(connection, given)
        assert everything(connection, folder) == in_small_files, name
    assert archive_all(connection, given).merged == 56
    assert everything(connection, folder) == in_small_files
    assert strays(connection, folder) == set()


def test_a_damaged_file_is_not_merged(in_small_files, connection, database_url, folder):
    path = sorted(folder.rglob("site=hall/month=2026-03/*.parquet"))[0]
    path.write_bytes(path.read_bytes() + b"x")
    done = archive_all(connection, settings(database_url, folder, archive_merge_files=3))
    assert len(done.problems) == 1
    assert "it is not what was written" in done.problems[0]
    assert done.merged == 56 - 12


def test_the_next_chunks_span_what_was_asked_for(connection, database_url, folder):
    archive_all(connection, settings(database_url, folder, chunk_interval="1h"))
    connection.execute("INSERT INTO reading VALUES (1, '2026-05-01 10:30+00', 1, 0)")
    rows = connection.execute(
        "SELECT range_start, range_end FROM timescaledb_information.chunks WHERE hypertable_name = 'reading'"
    ).fetchall()
    assert [end - start for start, end in rows] == [HOUR]
    with pytest.raises(ArchiveRefusedError, match="a minute at least"):
        archive_all(connection, settings(database_url, folder, chunk_interval="10s"))


def test_without_the_columnstore_all_works(connection, database_url, folder):
    if chunks.enable_columnstore(connection, after=DAY):
        pytest.skip("this server has the columnstore")
    assert archive_all(connection, settings(database_url, folder, columnstore=True)).chunks == 5


def test_what_stays_hot_is_indexed_by_meter_where_it_is_wanted(connection, database_url, folder):
    indexes = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%\\_by\\_meter'"
    given = {"archive_retention": "50d"}
    assert archive_all(connection, settings(database_url, folder, **given)).chunks == 3
    assert connection.execute(indexes).fetchone() == (0,)
    archive_all(connection, settings(database_url, folder, **given, meter_index=True))
    assert connection.execute(indexes).fetchone() == (2,)
    truth = everything(connection, folder)
    assert archive_all(connection, settings(database_url, folder)).chunks == 2
    assert everything(connection, folder) == truth
