"""The roll-up on the real TimescaleDB: whatever the order of arrival, the same whole numbers."""

from __future__ import annotations

import random
from typing import Any, LiteralString

import numpy as np
import psycopg
import pytest

from api.site_model import apply_site_model
from collector.batch import Batch, Checked, ReadingRows, encode_readings
from collector.meter_index import load_meter_index
from collector.prefetch import Prefetch
from collector.rebuild import rebuild
from collector.rollup import RollUp, roll_up_once
from collector.store import write_batch
from schemas.configuration import parse_configuration
from schemas.locks import ROLLUP_GATE, ROLLUP_TURN
from schemas.quantities import QUARTER_MS, SCALE
from schemas.site import SiteModel
from tests.integration.collector.conftest import wait_for

pytestmark = pytest.mark.stack

T0 = 1_795_298_400_000 // QUARTER_MS * QUARTER_MS
MIN = 60_000
Triple = tuple[str, int, float]

SITE = """
organisation: {id: acme}
site: {id: hall, time_zone: Europe/Copenhagen}
agents: [{id: cabinet}]
meters:
  - {id: counter, agent: cabinet, resource: energy, unit: kWh, kind: counter}
  - {id: nasty, agent: cabinet, resource: energy, unit: kWh, kind: counter, register_width: 1000, rated_maximum: 100,
     dip_window: 20min, max_gap: 20min, frozen_after: 12min}
  - {id: slow, agent: cabinet, resource: water, unit: l, kind: counter, max_gap: 2h}
  - {id: interval, agent: cabinet, resource: energy, unit: kWh, kind: interval, interval: 20min}
  - {id: rate, agent: cabinet, resource: energy, unit: kW, kind: rate, max_gap: 40min}
"""


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url, autocommit=True) as connection:
        apply_site_model(connection, parse_configuration(SITE, name="site.yaml", model=SiteModel))
        yield connection


def _store(connection: psycopg.Connection, readings: list[Triple]) -> None:
    """Through the collector's own transaction, as readings from (meter, ms, value)."""
    ids: dict[str, int] = dict(connection.execute("SELECT key, id FROM meter").fetchall())
    rows = ReadingRows(
        meter_id=np.array([ids[meter] for meter, _, _ in readings], np.int32),
        at=np.array([at for _, at, _ in readings], np.int64),
        value=np.array([value for _, _, value in readings], np.float64),
        quality=np.zeros(len(readings), np.int16),
        source=np.zeros(len(readings), np.int32),
        row=np.arange(len(readings), dtype=np.int32),
    )
    message = Checked(place=None, readings=len(readings), message=None)
    batch = Batch(messages=(message,), rows=rows, stream=encode_readings(rows))
    write_batch(connection, batch, model_version=load_meter_index(connection).version)


def _settle(connection: psycopg.Connection, due_ms: int, roll_up: RollUp | None = None) -> None:
    roll_up = roll_up or RollUp()
    while roll_up.step(connection, due_ms=due_ms).is_behind:
        pass


def _consumption(connection: psycopg.Connection) -> list[Any]:
    return connection.execute(
        "SELECT key, quarter, measured, estimated, covered_ms FROM consumption JOIN meter ON meter.id = meter_id "
        "ORDER BY key, quarter"
    ).fetchall()


def _events(connection: psycopg.Connection) -> list[Any]:
    return connection.execute("SELECT * FROM meter_event ORDER BY meter_id, at, kind").fetchall()


_STATE_EVENT: LiteralString = """
    WITH e AS (SELECT * FROM meter_event WHERE meter_id = 2 ORDER BY md5(at::text || %(salt)s) LIMIT 1),
    said AS (
        INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason)
        SELECT meter_id, kind, at, until, 'overruled', %(decision)s, 'a', 'test' FROM e
    )
    INSERT INTO pending (meter_id, from_at, to_at) SELECT meter_id, at, until FROM e
"""
_STATE_READING: LiteralString = """
    WITH said AS (
        INSERT INTO manual_reading (meter_id, at, value, author, reason)
        VALUES (2, to_timestamp(%(at)s / 1000.0), %(value)s, 'a', 'test')
    )
    INSERT INTO pending (meter_id, from_at, to_at) SELECT 2, at, at FROM to_timestamp(%(at)s / 1000.0) AS at
"""
_STATE_EXCHANGE: LiteralString = """
    WITH said AS (
        INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason)
        VALUES (2, to_timestamp(%(at)s / 1000.0), 20, 5, 'a', 'test')
    )
    INSERT INTO pending (meter_id, from_at, to_at) SELECT 2, at, at FROM to_timestamp(%(at)s / 1000.0) AS at
"""


def _state_something(connection: psycopg.Connection, rng: random.Random) -> None:
    """Now and then a person decides about an event, reads a dial, or records an exchange, before or after the fact."""
    at = T0 + rng.randrange(17 * 15) * MIN + rng.choice([0, 5000])
    decision = rng.choice(["set_aside", "count", "reset", "restart"])
    match rng.randrange(12):
        case 0 | 1:
            connection.execute(_STATE_EVENT, {"salt": str(at), "decision": decision})
        case 2:
            connection.execute(_STATE_READING, {"at": at, "value": rng.choice([30.0, None, 50.0])})
        case 3:
            connection.execute(_STATE_EXCHANGE, {"at": at})


def _rebuilt(connection: psycopg.Connection, due_ms: int) -> list[Any]:
    """What comes out when everything right of the readings is deleted and computed again."""
    connection.execute("TRUNCATE consumption, pending, meter_event, rolled_meter")
    connection.execute("UPDATE rollup_progress SET closed_to = NULL, computed_to = NULL")
    _settle(connection, due_ms)
    return _consumption(connection)


def _factory(seed: int) -> list[Triple]:
    """Four meters with gaps, silence, falls and instants on and off the edges of quarters."""
    rng = random.Random(seed)
    readings: list[Triple] = []
    for meter, cadence in (("counter", 2), ("nasty", 3), ("slow", 35), ("interval", 20), ("rate", 7)):
        at, value = T0 + rng.choice([0, 0, 1234]), 990.0 if meter == "nasty" else 100.0
        while at < T0 + 16 * QUARTER_MS:
            value = round((value + rng.choice([0, 1, 1, 1]) * rng.random() * 5) % 1000, 2)
            if rng.random() < 0.03:
                value = 1.0
            # Now and then a glitch: the register is right again with the next reading.
            glitch = rng.choice([0.0, value + 400, value - 1, -2.0]) if rng.random() < 0.05 else value
            readings.append((meter, at, glitch))
            at += cadence * MIN * (rng.choice([1, 1, 1, 1, 1, 12]) if meter != "interval" else rng.choice([1, 1, 2]))
            at += rng.choice([0, 0, 777])
    return readings


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_arrival_gives_what_a_rebuild_gives(connection: psycopg.Connection, seed: int) -> None:
    rng = random.Random(1000 + seed)
    # Neighbours come in either order, some are late, a few very late; the roll-up runs in between.
    delays = [0] * 4 + [MIN] * 3 + [6 * MIN, 40 * MIN, 5 * 60 * MIN]
    arrivals = sorted(_factory(seed), key=lambda r: r[1] + rng.choice(delays) * rng.random())
    at = 0
    roll_up = RollUp()
    while at < len(arrivals):
        size = rng.randint(1, rng.choice([2, 8, 60]))
        batch = arrivals[at : at + size]
        _store(connection, batch)
        at += size
        if rng.random() < 0.2:
            roll_up = RollUp()  # as after a stop: what it remembered is gone
        _settle(connection, max(a for _, a, _ in batch) + rng.choice([0, 20_000, 20 * MIN]), roll_up)
        if rng.random() < 0.2:
            _settle(connection, T0, RollUp())  # another one works in between
        _state_something(connection, rng)
    due = T0 + 20 * QUARTER_MS
    _settle(connection, due)
    incremental, events = _consumption(connection), _events(connection)
    assert len(incremental) > 30
    rebuilt = rebuild(connection)
    assert (rebuilt.quarters, rebuilt.different_quarters) == (len(incremental), 0), rebuilt
    assert (rebuilt.events, rebuilt.different_events) == (len(events), 0), rebuilt
    some = rebuild(connection, meter_ids=[1, 2], from_ms=T0 + 4 * QUARTER_MS, to_ms=T0 + 9 * QUARTER_MS)
    assert some.quarters > 0
    assert some.is_identical, some
    assert {event[1] for event in events} & {"dip", "spike", "rollover", "reset"}
    assert incremental == _rebuilt(connection, due)
    assert events == _events(connection)


def test_a_late_reading_changes_its_neighbourhood_only(connection: psycopg.Connection) -> None:
    year = 365 * 96 * QUARTER_MS
    old = [("counter", T0 - year + i * 5 * MIN, 100.0 + i) for i in range(12) if i != 6]
    _store(connection, old + [("counter", T0 + i * 5 * MIN, 1000.0 + i) for i in range(12)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    before = _consumption(connection)
    _store(connection, [("counter", T0 - year + 30 * MIN, 106.9)])
    step = roll_up_once(connection, due_ms=T0 + 4 * QUARTER_MS)
    # The quarters that the neighbours stand in: 25 to 35 minutes past, of a year of 35,040 quarters.
    assert (step.recomputed, step.quarters) == (1, 2)
    after = _consumption(connection)
    assert [a for a, b in zip(after, before, strict=True) if a != b] == [after[1], after[2]]
    assert after == _rebuilt(connection, T0 + 4 * QUARTER_MS)


def test_a_year_of_silence_keeps_its_total_as_estimated(connection: psycopg.Connection) -> None:
    year = 365 * 96
    _store(connection, [("counter", T0, 0.0), ("counter", T0 + year * QUARTER_MS, 35040.0)])
    _settle(connection, T0 + (year + 1) * QUARTER_MS)
    rows = connection.execute("SELECT count(*), sum(measured), sum(estimated), sum(covered_ms) FROM consumption")
    assert rows.fetchone() == (year, 0, 35040 * SCALE, 0)


def test_a_silent_meter_has_no_consumption_and_no_zero(connection: psycopg.Connection) -> None:
    _store(connection, [("counter", T0, 1.0), ("counter", T0 + 5 * MIN, 2.0)])
    _settle(connection, T0 + 8 * QUARTER_MS)
    assert [row[2:] for row in _consumption(connection)] == [(SCALE, 0, 5 * MIN)]
    _store(connection, [("counter", T0 + 7 * QUARTER_MS + 10 * QUARTER_MS, 9.0)])
    _settle(connection, T0 + 20 * QUARTER_MS)
    assert sum(row[2] + row[3] for row in _consumption(connection)) == 8 * SCALE


def test_closing_waits_for_a_writer_that_saw_the_old_edge(connection: psycopg.Connection, database_url: str) -> None:
    """A reading that is being written while its quarter closes is counted, or leaves a note: never neither."""
    import threading

    _store(connection, [("counter", T0, 1.0)])
    _settle(connection, T0 + QUARTER_MS)
    with psycopg.connect(database_url) as writer:
        writer.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLUP_GATE])
        closing = threading.Thread(
            target=lambda: _settle_apart(database_url, T0 + 4 * QUARTER_MS), name="closing", daemon=True
        )
        closing.start()
        wait_for(
            lambda: (
                connection.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchone()
                == (1,)
            ),
            "the closing to wait",
        )
        writer.execute(
            "INSERT INTO reading SELECT id, to_timestamp(%s / 1000.0), 3.0, 0 FROM meter WHERE key = 'counter'",
            [T0 + 20 * MIN],
        )
    closing.join(30)
    assert sum(row[2] + row[3] for row in _consumption(connection)) == 2 * SCALE


def _settle_apart(database_url: str, due_ms: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        _settle(connection, due_ms)


def test_a_clock_that_goes_back_does_not_open_what_is_closed(connection: psycopg.Connection) -> None:
    _store(connection, [("counter", T0, 1.0), ("counter", T0 + QUARTER_MS, 2.0)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    step = roll_up_once(connection, due_ms=T0 + 2 * QUARTER_MS)
    assert step.computed_to_ms == T0 + 4 * QUARTER_MS


def test_a_stop_between_closing_and_computing_loses_nothing(connection: psycopg.Connection) -> None:
    _store(connection, [("counter", T0 + i * 5 * MIN, float(i)) for i in range(13)])
    # As if killed right after the edge had moved.
    connection.execute("UPDATE rollup_progress SET closed_to = to_timestamp(%s / 1000.0)", [T0 + 4 * QUARTER_MS])
    _store(connection, [("slow", T0 + 5 * MIN, 1.0), ("slow", T0 + 50 * MIN, 46.0)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    assert _consumption(connection) == _rebuilt(connection, T0 + 4 * QUARTER_MS)
    assert sum(row[2] + row[3] for row in _consumption(connection) if row[0] == "counter") == 12 * SCALE


def test_a_neighbour_that_comes_after_the_edge_was_closed_still_counts(connection: psycopg.Connection) -> None:
    edge = T0 + QUARTER_MS
    _store(
        connection,
        [("counter", edge - 600_000, 0.0), ("counter", edge - 100_000, 10.0), ("counter", edge + 15_000, 133.0)],
    )
    roll_up_once(connection, due_ms=edge)
    # Newer than the edge, so it leaves no note; yet it says how the quarter before the edge ended.
    _store(connection, [("counter", edge + 5_000, 20.0), ("counter", edge + QUARTER_MS + 30_000, 140.0)])
    _settle(connection, edge + QUARTER_MS)
    incremental = _consumption(connection)
    assert incremental == _rebuilt(connection, edge + QUARTER_MS)
    assert incremental[0][2] == round((10 + 10 * 100_000 / 105_000) * SCALE)


def test_a_roll_up_that_waits_its_turn_holds_up_no_writer(connection: psycopg.Connection, database_url: str) -> None:
    _store(connection, [("counter", T0, 1.0)])
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_TURN])
        other.execute("UPDATE rollup_progress SET computed_to = computed_to")
        step = roll_up_once(connection, due_ms=T0 + 4 * QUARTER_MS)
        assert (step.computed_to_ms, step.quarters) == (0, 0)
        _store(connection, [("counter", T0 + 5 * MIN, 2.0)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    assert sum(row[2] for row in _consumption(connection)) == SCALE


def test_a_rebuild_in_the_middle_of_a_quarter_agrees(connection: psycopg.Connection) -> None:
    """Between two completions readings are followed already: what they tell, and what is open, is no difference."""
    roll_up = RollUp()
    readings = [("counter", T0 + i * 5 * MIN, float(i)) for i in range(40)]
    glitches = [("nasty", T0 + i * 3 * MIN, 500.0 if i % 9 == 4 else 10.0 + i) for i in range(66)]
    for minute in range(0, 190, 4):
        now = T0 + minute * MIN
        due = [r for r in readings + glitches if now - 4 * MIN <= r[1] < now]
        if due:
            _store(connection, due)
        _settle(connection, now, roll_up)
        rebuilt = rebuild(connection)
        assert rebuilt.is_identical, (minute, rebuilt)


def test_a_rebuild_finds_and_mends_what_is_wrong(connection: psycopg.Connection) -> None:
    _store(connection, [("counter", T0 + i * 5 * MIN, float(i)) for i in range(13)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    right = _consumption(connection)
    connection.execute("UPDATE consumption SET measured = measured + 1 WHERE quarter = to_timestamp(%s / 1000.0)", [T0])
    connection.execute("DELETE FROM consumption WHERE quarter = to_timestamp(%s / 1000.0)", [T0 + QUARTER_MS])
    rebuilt = rebuild(connection)
    assert (rebuilt.quarters, rebuilt.different_quarters) == (4, 2)
    assert _consumption(connection) == right


def test_an_exchange_before_the_first_reading_of_all_counts_in_a_rebuild_too(connection: psycopg.Connection) -> None:
    """A meter is put in, its first register written down; it is heard for the first time hours later."""
    connection.execute(_STATE_EXCHANGE, {"at": T0 - 6 * QUARTER_MS})
    _store(connection, [("nasty", T0 + i * 5 * MIN, 25.0 + i) for i in range(13)])
    _settle(connection, T0 + 4 * QUARTER_MS)
    right = _consumption(connection)
    assert sum(row[2] + row[3] for row in right) == (25 + 12 - 5) * SCALE
    assert rebuild(connection).is_identical
    assert _rebuilt(connection, T0 + 4 * QUARTER_MS) == right


def test_a_decision_that_was_narrowed_is_void_beyond_its_new_end(connection: psycopg.Connection) -> None:
    """Hours are set aside by mistake, then only the first reading: what comes late beyond that finds no trace of it."""
    _store(connection, [("rate", T0 + i * 5 * MIN, 4.0) for i in range(16 * 24)])
    _settle(connection, T0 + 32 * 60 * MIN)
    meter = connection.execute("SELECT id FROM meter WHERE key = 'rate'").fetchone()
    for until in (T0 + 20 * 60 * MIN, T0):
        connection.execute(
            """
            INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason)
            SELECT id, 'spike', to_timestamp(%(at)s / 1000.0), to_timestamp(%(until)s / 1000.0), 'confirmed',
                   'set_aside', 'a', 'test' FROM meter WHERE key = 'rate'
            """,
            {"at": T0, "until": until},
        )
        connection.execute(
            "INSERT INTO pending (meter_id, from_at, to_at) SELECT %s, to_timestamp(%s / 1000.0), "
            "to_timestamp(%s / 1000.0)",
            [*(meter or ()), T0, T0 + 20 * 60 * MIN],
        )
        _settle(connection, T0 + 32 * 60 * MIN)
    _store(connection, [("rate", T0 + 20 * 60 * MIN + 6 * MIN, 4.0)])
    _settle(connection, T0 + 32 * 60 * MIN)
    kept = _consumption(connection), _events(connection)
    assert rebuild(connection).is_identical
    assert (_rebuilt(connection, T0 + 32 * 60 * MIN), _events(connection)) == kept


def test_a_meter_that_stands_still_across_a_silence_is_told_whole(connection: psycopg.Connection) -> None:
    """The first half of the time is followed, the second judged, as the meter was silent in between."""
    minutes = [0, 5, 10, 15, 30, 75, 120]
    values = [7.0, 8.0, 9.0, 9.0, 9.0, 9.0, 9.5]
    # Days of little make the slices long, so that both halves stand in one.
    _store(connection, [("counter", T0 - 3 * 1440 * MIN, 1.0)])
    _store(connection, [("nasty", T0 + m * MIN, v) for m, v in zip(minutes, values, strict=True)])
    _settle(connection, T0 + 100 * MIN)
    row = connection.execute("SELECT at, until FROM meter_event WHERE kind = 'frozen'").fetchone()
    assert row is not None
    assert [round(instant.timestamp() * 1000) for instant in row] == [T0 + 10 * MIN, T0 + 75 * MIN]
    assert rebuild(connection).is_identical


def test_what_was_read_ahead_is_not_believed_by_whoever_begins_again(
    connection: psycopg.Connection, database_url: str
) -> None:
    # Of what came late since, somebody else may have taken off the notes.
    prefetch = Prefetch(lambda: psycopg.connect(database_url, autocommit=True))
    prefetch.fetch(T0, T0 + MIN)
    RollUp(prefetch=prefetch).step(connection, due_ms=T0)
    assert prefetch.take(T0, T0 + MIN) is None
    prefetch.fetch(T0, T0 + MIN)
    assert prefetch.take(T0, T0 + MIN) is not None
    prefetch.close()
