"""The archiver itself at work while others read and write: every reading is seen once, and stored once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collector.archive.archiver import Archiver
from collector.archive.settings import ArchiveSettings
from collector.archived import reader_of
from collector.batch import assemble
from collector.connection import connect
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.rebuild import rebuild
from collector.rollup import RollUp
from collector.rollup_store import read_readings
from collector.store import write_batch
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import NOW_MS, query, read_ledger, read_quarantine, readings
from tests.integration.collector.replaying import deliver, topic

pytestmark = pytest.mark.stack

HOURS, EVERY_S = 12, 20
END_S, PER_HOUR = HOURS * 3600, 3600 // EVERY_S
BEGIN_MS = NOW_MS - END_S * 1000
ORIGINAL = [("power", seconds, float(END_S - seconds)) for seconds in range(END_S, 0, -EVERY_S)]


class Running:
    """Threads that do the same again and again until the end; what one of them raises is raised there."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._raised: list[BaseException] = []
        self.rounds: Counter[str] = Counter()

    def start(self, name: str, work: Callable[[], None]) -> None:
        def loop() -> None:
            while not self._stopping.is_set():
                try:
                    work()
                except BaseException as error:  # noqa: BLE001 - told in `end`
                    self._raised.append(error)
                    return
                self.rounds[name] += 1

        self._threads.append(threading.Thread(target=loop, name=name, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for error in self._raised:
            raise error


class Plant:
    """Those who read, write, archive and compute; each method is one round of one of them."""

    def __init__(self, database_url: str, address: AgentAddress, folder: Path) -> None:
        self.database_url = database_url
        self.topic = topic(address)
        self.folder = folder
        self.late: dict[int, float] = {}
        self.retention_hours = HOURS - 1
        self.roll_up = RollUp()
        self._rng = random.Random(1)
        self._seq = 100

    def read(self) -> None:
        """All readings, and all of them again."""
        with connect(self.database_url, role="reader") as connection:
            for _ in range(2):
                with connection.transaction(), connection.cursor() as cursor:
                    at = read_readings(cursor, BEGIN_MS, NOW_MS).at.tolist()
                assert len(set(at)) == len(at), "seen twice"
                assert sum(ms % 1000 == 0 for ms in at) == len(ORIGINAL)

    def write(self) -> None:
        """Readings of an hour that are known, and new ones between them."""
        hour = self._rng.randrange(HOURS)
        new = [BEGIN_MS + (hour * 3600 + self._rng.randrange(1, 3599)) * 1000 + 500 for _ in range(2)]
        self.late.update(dict.fromkeys(new, 1.0))
        message = readings(self._seq, self._rng.sample(ORIGINAL[hour * PER_HOUR : (hour + 1) * PER_HOUR], 20))
        message["meter"] += [0] * len(new)
        message["at"] += new
        message["value"] += [1.0] * len(new)
        self._seq += 1
        decoded = decode(Incoming(topic=self.topic, payload=json.dumps(message).encode()))
        with connect(self.database_url, role="writer") as connection:
            index = load_meter_index(connection)
            batch = assemble([decoded], index, now_ms=NOW_MS, future_tolerance_ms=0)
            write_batch(connection, batch, model_version=index.version)
        time.sleep(0.05)

    def archive(self) -> None:
        """An hour more each time."""
        settings = ArchiveSettings(
            database_url=self.database_url,
            archive_url=str(self.folder),
            archive_retention=self.retention_hours * 3_600_000,
        )
        with connect(self.database_url, role="archiver") as connection:
            done = Archiver(settings, clock=lambda: datetime.fromtimestamp(NOW_MS / 1000, UTC)).once(connection)
        # A chunk with late readings waits for the roll-up.
        if done.chunks:
            self.retention_hours = max(self.retention_hours - 1, 1)

    def compute(self) -> None:
        """What is due for the roll-up."""
        with connect(self.database_url, role="rollup") as connection:
            while self.roll_up.step(connection, due_ms=NOW_MS).is_behind:
                pass


def test_readers_and_writers_beside_the_archiver(
    connection: psycopg.Connection, database_url: str, site: SiteModel, address: AgentAddress, tmp_path: Path
) -> None:
    connection.execute("SELECT set_chunk_time_interval('reading', interval '1 hour')")
    for nth in range(0, len(ORIGINAL), 500):
        deliver(connection, readings(1 + nth // 500, ORIGINAL[nth : nth + 500]), to=topic(address))
    plant, running = Plant(database_url, address, tmp_path), Running()
    plant.compute()
    for work in (plant.read, plant.write, plant.archive, plant.compute):
        running.start(work.__name__, work)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (plant.retention_hours > 4 or min(running.rounds.values(), default=0) < 5):
        time.sleep(0.05)
    running.end()
    assert plant.retention_hours <= 4, running.rounds
    assert min(running.rounds.values()) >= 5
    _nothing_lost_or_twice(connection, database_url, plant.late)
    plant.compute()
    assert rebuild(connection).is_identical


def _nothing_lost_or_twice(connection: psycopg.Connection[Any], database_url: str, late: dict[int, float]) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        found = read_readings(cursor, BEGIN_MS, NOW_MS)
    expected = {NOW_MS - seconds * 1000: value for _, seconds, value in ORIGINAL} | late
    assert dict(zip(found.at.tolist(), found.value.tolist(), strict=True)) == expected
    assert len(found.at) == len(expected)
    [(hot,)] = query(database_url, "SELECT count(*) FROM reading")
    assert hot < len(expected) / 2, "most of it was archived"
    assert read_quarantine(database_url) == []
    [(_, _, came, stored, repeated, quarantined)] = read_ledger(database_url)
    assert (stored, quarantined) == (len(expected), 0)
    assert came == stored + repeated
    assert reader_of.cache_info().currsize
