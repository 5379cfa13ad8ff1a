"""Messages that ought not to be: none of any kind stops the collector, and none takes a good reading along."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from collector.collector import Collector
from schemas.quarantine import Reason
from schemas.topics import Kind
from schemas.wire import ARROW_TYPE
from tests.integration.collector.conftest import (
    NOW_MS,
    Publisher,
    query,
    read_ledger,
    read_quarantine,
    readings,
    wait_for,
)

pytestmark = pytest.mark.stack
Start = Callable[..., Collector]

RUN = {"run": "r1", "line": "press", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
RUNS = {"v": 1, "epoch": "E1", "seq": 1, "sent_at": NOW_MS, "runs": [RUN]}
STATUS = {"v": 1, "state": "online", "at": NOW_MS}
OFFER = {"meter": "power", "resource": "energy", "unit": "kWh", "kind": "counter"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Kind.RUNS, {**RUNS, "runs": [{**RUN, "run": "a\0b"}]}),
        (Kind.RUNS, {**RUNS, "runs": [{**RUN, "order": "a\0b"}]}),
        (Kind.RUNS, {**RUNS, "runs": [{**RUN, "start": -(2**70)}]}),
        (Kind.RUNS, {**RUNS, "runs": [{**RUN, "end": 6 * 10**15}]}),
        (Kind.RUNS, {**RUNS, "sent_at": 10**17}),
        (Kind.RUNS, {**RUNS, "runs": [{**RUN, "end": NOW_MS + 86_400_000}]}),
        (Kind.STATUS, {**STATUS, "version": "\0"}),
        (Kind.STATUS, {**STATUS, "at": 2**70}),
        (Kind.STATUS, {**STATUS, "outbox": {"epoch": "E1", "last_seq": 10**40}}),
        (Kind.METERS, {"v": 1, "at": NOW_MS, "meters": [{**OFFER, "carrier": "a\0"}]}),
        (Kind.METERS, {"v": 1, "at": 10**17, "meters": [OFFER]}),
        (Kind.READINGS, {**readings(1, [("power", 5, 1.0)]), "epoch": "E1\n"}),
        (Kind.READINGS, {**readings(1, [("power", 5, 1.0)]), "quality": [70_000]}),
    ],
)
def test_no_message_of_any_kind_stops_the_collector(
    database_url: str, publisher: Publisher, start_collector: Start, kind: Kind, message: dict[str, Any]
) -> None:
    collector = start_collector()
    publisher.publish(message, topic=publisher.address.topic(kind))
    publisher.publish(readings(1, [("power", 1, 2.0)], epoch="E2"))
    wait_for(lambda: publisher.stored_seq("E2") == 1, "the reading behind it")
    assert len(read_quarantine(database_url)) == 1
    assert collector.problems() == []


def test_what_the_database_refuses_is_found_and_set_aside(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    """Whatever the checks may have overlooked: here a rule that only the database knows."""
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE run ADD CHECK (key <> 'r1')")
    start_collector(batch_age_ms=500)
    for seq in range(1, 8):
        publisher.publish(readings(seq, [("power", 100 - seq, float(seq))]))
    publisher.publish({**RUNS, "seq": 8}, topic=publisher.address.topic(Kind.RUNS))
    publisher.publish(readings(9, [("power", 1, 9.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 9, "all confirmed")
    assert [row[0] for row in read_quarantine(database_url)] == [Reason.UNSTORABLE]
    assert read_ledger(database_url) == [("E1", 9, 8, 8, 0, 0)]


def test_a_number_used_twice_loses_no_reading(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    """A copied memory card: the same epoch and seq, other readings."""
    start_collector()
    publisher.publish(readings(1, [("power", 20, 1.0)]))
    wait_for(lambda: len(publisher.stored) == 1, "the first")
    publisher.publish(readings(1, [("power", 20, 1.0), ("power", 10, 2.0)]))
    wait_for(lambda: len(publisher.stored) == 2, "the second")
    assert query(database_url, "SELECT value FROM reading ORDER BY value") == [(1.0,), (2.0,)]
    assert read_ledger(database_url) == [("E1", 1, 2, 2, 0, 0)]


def test_an_agent_older_than_the_database_is_not_stalled(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    """A new database, or one from a backup: what was confirmed before is nowhere to be had again."""
    start_collector()
    publisher.publish(readings(1001, [("power", 20, 1.0)]))
    wait_for(lambda: read_ledger(database_url) == [("E1", 0, 1, 1, 0, 0)], "a hole of a thousand")
    outbox = {"epoch": "E1", "last_seq": 1001, "stored_seq": 1000, "readings": 1}
    publisher.publish({**STATUS, "outbox": outbox}, topic=publisher.address.topic(Kind.STATUS))
    wait_for(lambda: publisher.stored_seq("E1") == 1001, "confirmed up to the newest")
    assert query(database_url, "SELECT adopted, stored_seq FROM ledger") == [(1000, 1001)]
    assert query(database_url, "SELECT count(*) FROM ledger_ahead") == [(0,)]


def _arrow(**changes: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "meter": pa.array(["power"]).dictionary_encode(),
        "unit": pa.array(["kWh"]).dictionary_encode(),
        "at": pa.array([NOW_MS - 1000], pa.timestamp("ms", tz="UTC")),
        "value": pa.array([1.0]),
        "quality": pa.array([0], pa.int16()),
    }
    return pa.table({**columns, **changes})


def _stream(table: pa.Table, metadata: dict[bytes, bytes] | None = None) -> bytes:
    header = {b"v": b"1", b"epoch": b"A", b"seq": b"1", b"sent_at": b"1"} | (metadata or {})
    table = table.replace_schema_metadata(header)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _indices(*values: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), pa.array(["power"]), safe=False)


def _text(body: bytes, end: int | None = None) -> Any:
    """A column of one text whose bytes nobody has checked; `end` may lie far outside of them."""
    offsets = struct.pack("<ii", 0, len(body) if end is None else end)
    return pa.StringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(body))


def _torn() -> bytes:
    """A stream whose text column says that it is longer than its bytes are."""
    whole = _stream(_arrow(meter=pa.array(["power"])))
    offsets = struct.pack("<ii", 0, 5)
    assert whole.count(offsets) >= 1
    return whole.replace(offsets, struct.pack("<ii", 0, 2**30), 1)


@pytest.mark.parametrize(
    "body",
    [
        _stream(_arrow(), {b"epoch": b"\xff"}),
        _stream(_arrow(), {b"\xfe": b"x"}),
        _stream(_arrow(meter=_indices(5))),
        _stream(_arrow(meter=_indices(-1))),
        _stream(_arrow(meter=pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array([None], pa.string())))),
        _stream(_arrow(meter=_text(b"\xff\xfe"))),
        _torn(),
        _stream(_arrow(value=pa.array([None], pa.float64()))),
        _stream(_arrow(value=pa.array(["1.0x"]))),
        _stream(_arrow(), {b"epoch": b"A\n"}),
        _stream(_arrow(), {b"seq": b"0"}),
        _stream(_arrow().drop_columns(["at"])),
        b"",
        b"\xff\xff\xff\xff",
    ],
)
def test_broken_arrow_streams_stop_nobody(
    database_url: str, publisher: Publisher, start_collector: Start, body: bytes
) -> None:
    start_collector()
    publisher.publish(body, ContentType=ARROW_TYPE)
    publisher.publish(readings(1, [("power", 1, 2.0)], epoch="E2"))
    wait_for(lambda: publisher.stored_seq("E2") == 1, "the reading behind it")
    assert [row[0] for row in read_quarantine(database_url)] == [Reason.MALFORMED]
