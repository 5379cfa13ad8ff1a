"""Readings in the archive, in the table, or in both: nothing twice, and the roll-up can't tell."""

from __future__ import annotations

import random
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from api.site_model import apply_site_model
from collector.archive_watch import ArchiveWatch
from collector.archived import reader_of
from collector.backfill import backfill
from collector.decode import Incoming, decode
from collector.prefetch import Prefetch
from collector.rebuild import rebuild
from collector.replay import replay_all
from collector.rollup import RollUp
from collector.rollup_store import count_readings, read_readings, reading_bounds
from schemas.archive import COLUMNS
from schemas.archive_store import ArchiveAwayError
from schemas.configuration import parse_configuration
from schemas.locks import ARCHIVE_GATE
from schemas.quantities import QUARTER_MS, SCALE
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.archiving import archive, files_of, moving
from tests.integration.collector import test_rollup as rolling
from tests.integration.collector.conftest import NOW_MS, query, read_ledger, read_quarantine, readings, wait_for
from tests.integration.collector.replaying import BALANCE, deliver, replay, stored, topic, waiting

pytestmark = pytest.mark.stack

T0, MIN = rolling.T0, rolling.MIN


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.fixture
def factory(database_url: str) -> Any:
    """A connection to a database with the meters of the roll-up's tests."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        apply_site_model(connection, parse_configuration(rolling.SITE, name="site.yaml", model=SiteModel))
        yield connection


@pytest.mark.parametrize("seed", range(4))
def test_the_roll_up_across_the_boundary(factory: psycopg.Connection, tmp_path: Path, seed: int) -> None:
    """Late readings and facts into archived spans, archived on and on in between: as if nothing had been archived."""
    rng = random.Random(5000 + seed)
    delays = [0] * 4 + [MIN] * 3 + [6 * MIN, 40 * MIN, 5 * 60 * MIN]
    arrivals = sorted(rolling._factory(seed), key=lambda r: r[1] + rng.choice(delays) * rng.random())
    roll_up, at, moved = RollUp(), 0, 0
    while at < len(arrivals):
        batch = arrivals[at : at + rng.randint(20, 60)]
        at += len(batch)
        # Some come again: they are looked up where they stand by now.
        rolling._store(factory, batch + rng.sample(arrivals[:at], min(at, 5)))
        newest = max(ms for _, ms, _ in batch)
        rolling._settle(factory, newest + rng.choice([0, 20_000, 20 * MIN]), roll_up)
        if rng.random() < 0.5:
            first = rng.choice([T0 - 1, newest - rng.randrange(8 * QUARTER_MS)])
            last = newest - rng.randrange(6 * QUARTER_MS)
            moved += archive(factory, tmp_path, start=_at(first), to=_at(last), group_readings=7)
        rolling._state_something(factory, rng)
    due = T0 + 20 * QUARTER_MS
    rolling._settle(factory, due)
    left = factory.execute("SELECT count(*) FROM reading").fetchone()
    assert moved
    assert left == (len(arrivals) - moved,)
    assert factory.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
    incremental, events = rolling._consumption(factory), rolling._events(factory)
    assert len(incremental) > 30
    for some in (rebuild(factory), rebuild(factory, meter_ids=[1, 2], from_ms=T0 + 4 * QUARTER_MS)):
        assert some.quarters > 0
        assert some.is_identical, some
    assert rolling._rebuilt(factory, due) == incremental
    archive(factory, tmp_path, to=_at(T0 + 1000 * QUARTER_MS), group_readings=50)
    assert factory.execute("SELECT count(*) FROM reading").fetchone() == (0,)
    assert rebuild(factory).is_identical
    _bring_back(factory)
    assert rolling._rebuilt(factory, due) == incremental
    assert rolling._events(factory) == events


def _bring_back(connection: psycopg.Connection[Any]) -> None:
    """Everything stands in the table again."""
    with connection.transaction(), connection.cursor() as cursor:
        everything = read_readings(cursor, 0, 2**45)
        connection.execute("UPDATE archive_file SET restored_at = now()")
        connection.execute("TRUNCATE reading")
        given = set(connection.execute("SELECT meter_id, at FROM current_manual_reading").fetchall())
        assert len(given) <= len(everything.at)
    [(url,)] = connection.execute("SELECT url FROM archive_progress").fetchall()
    statement = "INSERT INTO reading VALUES (%s, %s, %s, %s)"
    for file in files_of(Path(url.removeprefix("file://"))):
        part = pq.ParquetFile(file).read()
        columns = [part.column(name).to_pylist() for name in COLUMNS]
        with connection.cursor() as cursor:
            cursor.executemany(statement, list(zip(*columns, strict=True)))


def test_bounds_and_counts_know_the_archive(factory: psycopg.Connection, tmp_path: Path) -> None:
    rolling._store(factory, [("counter", T0 + i * MIN, float(i)) for i in range(60)])
    archive(factory, tmp_path, to=_at(T0 + 30 * MIN))
    with factory.cursor() as cursor:
        assert reading_bounds(cursor) == (T0, T0 + 59 * MIN)
        assert 55 <= count_readings(cursor, T0, T0 + 60 * MIN, 1000) <= 61
        assert count_readings(cursor, T0, T0 + 60 * MIN, 10) == 10
    archive(factory, tmp_path, to=_at(T0 + 60 * MIN))
    with factory.cursor() as cursor:
        assert reading_bounds(cursor) == (T0, T0 + 59 * MIN)
        assert [int(ms) for ms in read_readings(cursor, T0, T0 + 60 * MIN).at] == [T0 + i * MIN for i in range(60)]


def test_a_reader_sees_all_once_while_they_move(factory: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    """A move that ends between two statements of a reader: he waits at the gate, and then finds all in the archive."""
    rolling._store(factory, [("counter", T0 + i * MIN, float(i)) for i in range(60)])
    seen: list[int] = []

    def read() -> None:
        with psycopg.connect(database_url) as reader, reader.cursor() as cursor:
            seen.append(len(read_readings(cursor, T0, T0 + 60 * MIN).at))

    with moving(factory, tmp_path, to=_at(T0 + 30 * MIN)):
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        with psycopg.connect(database_url, autocommit=True) as other:
            wait_for(lambda: _waits(other) == 1, "the reader to wait")
    thread.join(30)
    assert seen == [60]


def test_nothing_moves_before_a_reader_is_done(factory: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    rolling._store(factory, [("counter", T0 + i * MIN, float(i)) for i in range(60)])

    def move() -> None:
        with psycopg.connect(database_url, autocommit=True) as mover:
            archive(mover, tmp_path, to=_at(T0 + 30 * MIN))

    with psycopg.connect(database_url) as reader, reader.cursor() as cursor:
        assert len(read_readings(cursor, T0, T0 + 10 * MIN).at) == 10
        thread = threading.Thread(target=move, daemon=True)
        thread.start()
        wait_for(lambda: _waits(factory) == 1, "the move to wait")
        assert len(read_readings(cursor, T0, T0 + 60 * MIN).at) == 60
        # Behind the one who waits nobody comes in: what is read ahead does not wait, as we would wait for it.
        prefetch = Prefetch(lambda: psycopg.connect(database_url, autocommit=True))
        prefetch.fetch(T0, T0 + 60 * MIN)
        assert prefetch.take(T0, T0 + 60 * MIN) is None
        prefetch.close()
    thread.join(30)
    assert factory.execute("SELECT count(*) FROM reading").fetchone() == (30,)


def _waits(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        [ARCHIVE_GATE],
    ).fetchone()
    return int(row[0]) if row else 0


OLD = [("power", s, 1000.0 - s) for s in range(600, 0, -10)]


def _archive_half(connection: psycopg.Connection[Any], folder: Path) -> None:
    archive(connection, folder, to=_at(NOW_MS - 300_000))


def test_what_is_archived_is_not_stored_again(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, tmp_path)
    everything = [*OLD, ("power", 555, 1.0), ("water", 550, 2.0)]
    deliver(connection, readings(2, everything), to=topic(address))
    assert read_ledger(database_url) == [("E1", 2, 122, 62, 60, 0)]
    assert query(database_url, "SELECT count(*) FROM reading") == [(32,)]
    deliver(connection, readings(1, OLD), to=topic(address))
    deliver(connection, readings(2, everything), to=topic(address))
    assert read_ledger(database_url) == [("E1", 2, 122, 62, 60, 0)]
    assert read_quarantine(database_url) == []


def test_another_value_for_an_archived_instant_is_a_conflict(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, tmp_path)
    again = [("power", 600, 7.0), ("power", 590, 410.0), ("power", 10, 8.0), ("power", 5, 995.0), ("power", 600, 400.0)]
    deliver(connection, readings(2, again), to=topic(address))
    assert read_ledger(database_url) == [("E1", 2, 65, 61, 2, 2)]
    assert [(reason, count) for reason, count, _ in read_quarantine(database_url)] == [
        ("another value for the same instant", 1)
    ] * 2
    details = " ".join(detail for _, _, detail in read_quarantine(database_url))
    assert "already holds 400; what is stored stays" in details
    assert "already holds 990; what is stored stays" in details


def test_only_what_can_t_be_looked_up_waits_for_the_archive(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    folder, away = tmp_path / "archive", tmp_path / "away"
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, folder)
    folder.rename(away)
    mixed = [("power", 600, 400.0), ("power", 595, 1.0), ("power", 590, 7.0), ("power", 5, 995.0)]
    deliver(connection, readings(2, mixed), readings(3, [("water", 4, 1.0)]), to=topic(address))
    assert read_ledger(database_url) == [("E1", 3, 65, 62, 0, 3)]
    [(reason, count, detail)] = read_quarantine(database_url)
    assert (reason, count) == ("archive away", 3)
    assert folder.as_uri() in detail
    assert "mounted" in detail
    # Replayed while it is away it waits on; afterwards it is told apart.
    assert replay(connection, database_url, reason="archive away") == (1, 0, 0, {"archive away": 3})
    assert waiting(database_url) == [("archive away", 3)]
    away.rename(folder)
    reader_of.cache_clear()
    assert replay(connection, database_url) == (1, 1, 1, {"another value for the same instant": 1})
    assert waiting(database_url) == [("another value for the same instant", 1)]
    assert query(database_url, BALANCE) == [(65, 63, 1, 1, 1)]
    assert stored(database_url)[0] == ("power", 1.0)


def test_a_damaged_file_holds_up_its_own_span_only(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, tmp_path)
    [file] = files_of(tmp_path)
    content = bytearray(file.read_bytes())
    content[40] ^= 0xFF
    file.write_bytes(content)
    deliver(connection, readings(2, [("power", 600, 400.0), ("power", 900, 1.0)]), to=topic(address))
    assert read_ledger(database_url) == [("E1", 2, 62, 61, 0, 1)]
    [(reason, _, detail)] = read_quarantine(database_url)
    assert reason == "archive away"
    assert file.name in detail
    assert "afkobling archive verify" in detail


def test_a_bulk_load_stops_rather_than_fill_the_quarantine(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    import json

    folder = tmp_path / "archive"
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, folder)
    message = decode(Incoming(topic=topic(address), payload=json.dumps(readings(2, OLD)).encode()))
    done = backfill(database_url, [message], future_tolerance_ms=10**12)
    assert (done.stored, done.repeated, done.quarantined) == (0, 60, 0)
    shutil.rmtree(folder)
    reader_of.cache_clear()
    message = decode(Incoming(topic=topic(address), payload=json.dumps(readings(3, OLD)).encode()))
    with pytest.raises(ArchiveAwayError, match="is not there"):
        backfill(database_url, [message], future_tolerance_ms=10**12)
    assert read_quarantine(database_url) == []
    assert read_ledger(database_url) == [("E1", 2, 120, 60, 60, 0)]


def test_late_readings_wait_for_the_archive_and_new_ones_do_not(factory: psycopg.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    rolling._store(factory, [("counter", T0 + i * MIN, float(i)) for i in range(180)])
    roll_up = RollUp()
    rolling._settle(factory, T0 + 12 * QUARTER_MS, roll_up)
    archive(factory, folder, to=_at(T0 + 2 * QUARTER_MS))
    rolling._store(factory, [("counter", T0 + 5 * MIN + 1000, 5.5)])
    folder.rename(tmp_path / "away")
    reader_of.cache_clear()
    rolling._store(factory, [("counter", T0 + i * MIN, float(i)) for i in range(181, 210)])
    due = T0 + 14 * QUARTER_MS
    with pytest.raises(ArchiveAwayError):
        rolling._settle(factory, due, roll_up)
    assert "is its disk mounted" in str(roll_up.problem)
    rolling._settle(factory, due, roll_up)
    assert [row[2] for row in rolling._consumption(factory)][12] == 15 * SCALE
    assert factory.execute("SELECT count(*) FROM pending").fetchone() == (1,)
    (tmp_path / "away").rename(folder)
    reader_of.cache_clear()
    rolling._settle(factory, due + 60_000, roll_up)
    assert roll_up.problem is None
    assert factory.execute("SELECT count(*) FROM pending").fetchone() == (0,)
    assert rebuild(factory).is_identical


def test_what_waited_for_the_archive_is_replayed_by_itself(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    folder, watch = tmp_path / "archive", ArchiveWatch()
    watch.tend(connection, 0.0)
    assert not watch.problem
    deliver(connection, readings(1, OLD), to=topic(address))
    _archive_half(connection, folder)
    folder.rename(tmp_path / "away")
    deliver(connection, readings(2, [("power", 600, 400.0)]), to=topic(address))
    watch.tend(connection, 59.0)
    assert not watch.problem, "once a minute"
    watch.tend(connection, 61.0)
    assert "is its disk mounted" in str(watch.problem)
    assert query(database_url, "SELECT count(*) FROM quarantine_replay") == [(0,)]
    (tmp_path / "away").rename(folder)
    reader_of.cache_clear()
    for now_s in (130.0, 200.0):
        watch.tend(connection, now_s)
    assert query(database_url, "SELECT reason, author FROM quarantine_replay") == [("archive away", "collector")]
    replay_all(connection, clock_ms=lambda: NOW_MS)
    assert waiting(database_url) == []
    watch.tend(connection, 300.0)
    assert not watch.problem
    assert read_ledger(database_url) == [("E1", 2, 61, 60, 1, 0)]
