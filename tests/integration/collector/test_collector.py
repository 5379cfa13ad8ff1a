"""The collector on the real broker and the real TimescaleDB."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from collector.collector import Collector
from schemas import arrow
from schemas.quarantine import Reason
from schemas.topics import AgentAddress, Kind, alerts_topic
from schemas.wire import ARROW_TYPE, MAX_PAYLOAD_BYTES
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


def test_readings_are_stored_then_confirmed(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    start_collector()
    publisher.publish(readings(1, [("power", 20, 1.0), ("water", 20, 5.0), ("power", 10, 1.5)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    rows = query(database_url, "SELECT key, value FROM reading JOIN meter ON meter.id = meter_id ORDER BY key, at")
    assert rows == [("power", 1.0), ("power", 1.5), ("water", 5.0)]
    assert read_ledger(database_url) == [("E1", 1, 3, 3, 0, 0)]


def test_a_redelivered_message_is_a_no_op_and_is_confirmed_again(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    collector = start_collector()
    message = readings(1, [("power", 20, 1.0)])
    publisher.publish(message)
    wait_for(lambda: len(publisher.stored) == 1, "first confirmation")
    publisher.publish(message)
    wait_for(lambda: len(publisher.stored) == 2, "second confirmation")
    assert read_ledger(database_url) == [("E1", 1, 1, 1, 0, 0)]
    assert collector.metrics.redelivered._value.get() == 1


def test_a_hole_holds_the_confirmation_back_until_it_is_filled(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    for seq in (1, 3, 4):
        publisher.publish(readings(seq, [("power", 100 - seq, float(seq))]))
    wait_for(lambda: read_ledger(database_url) == [("E1", 1, 3, 3, 0, 0)], "three messages in the ledger")
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    assert query(database_url, "SELECT seq FROM ledger_ahead ORDER BY seq") == [(3,), (4,)]
    publisher.publish(readings(2, [("power", 98, 2.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 4, "stored 4")
    assert query(database_url, "SELECT seq FROM ledger_ahead") == []


def test_another_value_for_the_same_instant_goes_to_quarantine(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    publisher.publish(readings(1, [("power", 20, 7.0), ("water", 20, 7.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    # In one message: the same again, another value for water, and a new instant given twice.
    publisher.publish(
        readings(
            2, [("power", 20, 7.0), ("water", 20, 8.0), ("power", 10, 9.0), ("power", 10, 9.0), ("power", 10, 9.5)]
        )
    )
    wait_for(lambda: publisher.stored_seq("E1") == 2, "stored 2")
    assert read_ledger(database_url) == [("E1", 2, 7, 3, 2, 2)]
    [(reason, count, detail)] = read_quarantine(database_url)
    assert (reason, count) == (Reason.CONFLICT, 2)
    assert "water" in detail
    assert query(database_url, "SELECT value FROM reading ORDER BY value") == [(7.0,), (7.0,), (9.0,)]
    [(payload,)] = query(database_url, "SELECT payload FROM quarantine")
    assert b'"value":[8.0,9.5]' in payload
    assert b'"meters":["power","water"]' in payload


POISON: list[tuple[str, Reason, Any]] = [
    ("unknown meter", Reason.UNKNOWN_METER, readings(1, [("steam", 5, 1.0)])),
    ("wrong unit", Reason.WRONG_UNIT, readings(1, [("power", 5, 1.0)], units={"power": "MWh"})),
    ("far future", Reason.FUTURE, readings(1, [("power", -3600, 1.0)])),
    ("clock not set", Reason.TOO_OLD, readings(1, [("power", NOW_MS // 1000 - 60, 1.0)])),
    ("too large a value", Reason.OUT_OF_RANGE, readings(1, [("power", 5, 1e300)])),
    ("not a number", Reason.NOT_A_NUMBER, readings(1, [("power", 5, float("nan"))])),
    ("wrong version", Reason.WRONG_VERSION, {**readings(1, [("power", 5, 1.0)]), "v": 2}),
    ("columns disagree", Reason.MALFORMED, {**readings(1, [("power", 5, 1.0)]), "value": []}),
    ("points outside", Reason.MALFORMED, {**readings(1, [("power", 5, 1.0)]), "meter": [7]}),
    ("instant too large", Reason.MALFORMED, {**readings(1, [("power", 5, 1.0)]), "at": [10**30]}),
    ("text for a value", Reason.MALFORMED, {**readings(1, [("power", 5, 1.0)]), "value": ["1.0"]}),
    ("nul in a meter's name", Reason.UNKNOWN_METER, readings(1, [("po\0wer", 5, 1.0)])),
    ("oversized", Reason.OVERSIZED, {**readings(1, [("power", 5, 1.0)]), "x": "y" * MAX_PAYLOAD_BYTES}),
]


@pytest.mark.parametrize(("reason", "message"), [(r, m) for _, r, m in POISON], ids=[name for name, _, _ in POISON])
def test_poison_goes_to_quarantine_and_stalls_nothing(
    database_url: str, publisher: Publisher, start_collector: Start, reason: Reason, message: dict[str, Any]
) -> None:
    collector = start_collector()
    publisher.publish(message)
    publisher.publish(readings(2, [("power", 1, 2.0)]))
    # Its place in the ledger is kept, so the agent can go on: both are confirmed.
    wait_for(lambda: publisher.stored_seq("E1") == 2, "both confirmed")
    [(found, count, detail)] = read_quarantine(database_url)
    assert (found, count) == (reason, 1)
    assert len(detail) > 20
    assert read_ledger(database_url) == [("E1", 2, 2, 1, 0, 1)]
    assert collector.metrics.quarantined.labels(reason)._value.get() == 1


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("{org}/hall/cabinet/readings", b"{not json", Reason.MALFORMED),
        ("{org}/hall/cabinet/readings", b"", Reason.MALFORMED),
        ("{org}/hall/cabinet/readings", b"\xff\xfe\x00", Reason.MALFORMED),
        ("{org}/hall/cabinet/readings", b"[" * 100_000, Reason.MALFORMED),
        ("{org}/hall/cabinet/gossip", b"{}", Reason.FOREIGN_TOPIC),
        ("{org}/Hall/cabinet/readings", b"{}", Reason.FOREIGN_TOPIC),
        ("{org}/hall/readings", b"{}", Reason.FOREIGN_TOPIC),
        ("{org}/hall/cabinet/runs", b"{}", Reason.MALFORMED),
        ("{org}/hall/cabinet/status", b'{"v": 1}', Reason.MALFORMED),
    ],
)
def test_what_is_no_message_is_kept_whole(
    database_url: str,
    publisher: Publisher,
    start_collector: Start,
    topic: str,
    payload: bytes,
    reason: Reason,
) -> None:
    start_collector()
    full = "afkobling/v1/" + topic.format(org=publisher.address.organisation)
    for _ in range(2):
        publisher.publish(payload, topic=full)
    wait_for(lambda: query(database_url, "SELECT sum(times) FROM quarantine") == [(2,)], "both counted")
    assert query(database_url, "SELECT reason, payload, topic FROM quarantine") == [(reason, payload, full)]


def test_an_unknown_agent_is_confirmed_as_its_readings_are_kept(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    stranger = AgentAddress(organisation=publisher.address.organisation, site="hall", agent="stranger")
    publisher.publish(readings(1, [("power", 1, 1.0), ("water", 1, 1.0)]), topic=stranger.topic(Kind.READINGS))
    wait_for(lambda: read_ledger(database_url) == [("E1", 1, 2, 0, 0, 2)], "in the ledger as quarantined")
    assert [row[:2] for row in read_quarantine(database_url)] == [(Reason.UNKNOWN_AGENT, 2)]


def test_one_bad_reading_does_not_take_the_good_ones_along(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    publisher.publish(
        readings(1, [("power", 3, 1.0), ("steam", 3, 1.0), ("power", 2, float("inf")), ("water", 3, 2.0)])
    )
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    assert read_ledger(database_url) == [("E1", 1, 4, 2, 0, 2)]
    assert {row[:2] for row in read_quarantine(database_url)} == {(Reason.UNKNOWN_METER, 1), (Reason.NOT_A_NUMBER, 1)}


def test_a_meter_added_later_is_taken_from_then_on(
    database_url: str, publisher: Publisher, start_collector: Start, site: Any
) -> None:
    from api.site_model import apply_site_model

    start_collector()
    publisher.publish(readings(1, [("steam", 3, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    steam = site.meters[0].model_copy(update={"id": "steam"})
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, site.model_copy(update={"meters": [*site.meters, steam]}))
    publisher.publish(readings(2, [("steam", 2, 2.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 2, "stored 2")
    assert read_ledger(database_url) == [("E1", 2, 2, 1, 0, 1)]


def test_plain_readings_and_arrow_streams(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    start_collector()
    publisher.publish({"meter": "power", "at": NOW_MS - 5000, "value": 3.5, "unit": "kWh"})
    table = pa.table(
        {
            "meter": ["power", "water", "power"],
            "unit": ["kWh", "m3", "kWh"],
            "at": pa.array([NOW_MS - 4000, NOW_MS - 4000, NOW_MS - 3000], pa.timestamp("ms", tz="UTC")),
            "value": [4.0, 1.0, 4.5],
            "quality": pa.array([0, 0, 1], pa.int16()),
        }
    )
    body = arrow.encode_readings(table, epoch="A", seq=1, sent_at=NOW_MS)
    publisher.publish(body, ContentType=ARROW_TYPE)
    publisher.publish(body[:80], ContentType=ARROW_TYPE)
    wait_for(lambda: publisher.stored_seq("A") == 1, "stored 1")
    wait_for(lambda: len(read_quarantine(database_url)) == 1, "the torn stream in quarantine")
    assert query(database_url, "SELECT value, quality FROM reading ORDER BY at, value") == [
        (3.5, 0), (1.0, 0), (4.0, 0), (4.5, 1),
    ]  # fmt: skip


def test_runs_replace_earlier_words_and_unknown_ones_are_refused(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    runs = publisher.address.topic(Kind.RUNS)
    span = {"run": "r1", "line": "press", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
    head = {"v": 1, "epoch": "E1", "sent_at": NOW_MS}
    publisher.publish({**head, "seq": 1, "runs": [span]}, topic=runs)
    publisher.publish({**head, "seq": 2, "sent_at": NOW_MS + 1, "runs": [{**span, "end": NOW_MS}]}, topic=runs)
    publisher.publish({**head, "seq": 3, "runs": [{**span, "order": "stale"}]}, topic=runs)
    publisher.publish({**head, "seq": 4, "runs": [{**span, "run": "r2", "line": "saw"}]}, topic=runs)
    wait_for(lambda: publisher.stored_seq("E1") == 4, "stored 4")
    assert query(database_url, "SELECT key, order_number, end_at IS NULL FROM run") == [("r1", None, False)]
    assert [row[:2] for row in read_quarantine(database_url)] == [(Reason.UNKNOWN_LINE, 0)]


def test_a_cancelled_run_is_removed_and_late_words_about_it_stay_out(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    runs = publisher.address.topic(Kind.RUNS)
    span = {"run": "r1", "line": "press", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
    cancelled = {**span, "cancelled": True}
    # r2 is cancelled before anybody has heard of it; what was cancelled is not cancelled by an older word.
    said = [
        (0, [span]),
        (2, [cancelled, {**cancelled, "run": "r2"}]),
        (0, [span]),
        (1, [{**span, "run": "r2"}, {**span, "run": "r3"}]),
        (3, [{**span, "run": "r4"}]),
        (2, [{**cancelled, "run": "r4"}]),
    ]
    for seq, (later_ms, spans) in enumerate(said, start=1):
        message = {"v": 1, "epoch": "E1", "seq": seq, "sent_at": NOW_MS + later_ms, "runs": spans}
        publisher.publish(message, topic=runs)
        wait_for(lambda seq=seq: publisher.stored_seq("E1") == seq, f"stored {seq}")  # type: ignore[misc]
    assert query(database_url, "SELECT key FROM run ORDER BY key") == [("r3",), ("r4",)]
    assert query(database_url, "SELECT key, state FROM run_version ORDER BY key, id") == [
        ("r1", "running"), ("r1", None), ("r2", None),
    ]  # fmt: skip
    message = {"v": 1, "epoch": "E1", "seq": 7, "sent_at": NOW_MS + 9, "runs": [span, {**cancelled, "run": "r3"}]}
    publisher.publish(message, topic=runs)
    wait_for(lambda: publisher.stored_seq("E1") == 7, "stored 7")
    assert query(database_url, "SELECT key FROM run ORDER BY key") == [("r1",), ("r4",)]


def test_what_an_agent_repeats_is_no_new_version_and_what_a_person_said_is_kept(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    runs = publisher.address.topic(Kind.RUNS)
    span = {"run": "r1", "line": "press", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
    head = {"v": 1, "epoch": "E1", "sent_at": NOW_MS}
    publisher.publish({**head, "seq": 1, "runs": [span]}, topic=runs)
    publisher.publish({**head, "seq": 2, "runs": [span]}, topic=runs)
    wait_for(lambda: publisher.stored_seq("E1") == 2, "stored 2")
    assert query(database_url, "SELECT count(*) FROM run_version") == [(0,)]
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE run SET order_number = 'A7', author = 'Anna', reason = 'the shift book'")
    publisher.publish({**head, "seq": 3, "sent_at": NOW_MS + 1, "runs": [span]}, topic=runs)
    wait_for(lambda: publisher.stored_seq("E1") == 3, "stored 3")
    assert query(database_url, "SELECT order_number, author FROM run") == [(None, None)]
    assert query(database_url, "SELECT order_number, author FROM run_version ORDER BY id") == [
        (None, None), ("A7", "Anna"),
    ]  # fmt: skip


def test_the_last_will_keeps_what_the_agent_said_before(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    status = publisher.address.topic(Kind.STATUS)
    publisher.publish(
        {"v": 1, "state": "online", "at": NOW_MS, "outbox": {"epoch": "E1", "readings": 12}}, topic=status
    )
    publisher.publish({"v": 1, "state": "offline", "at": NOW_MS}, topic=status)
    wait_for(
        lambda: (
            # The broker keeps what agents of other tests said of themselves, and tells every collector.
            query(
                database_url,
                "SELECT status->>'state', status->'outbox'->>'readings' FROM agent_report WHERE organisation = %s",
                publisher.address.organisation,
            )
            == [("offline", "12")]
        ),
        "offline with the outbox's last count",
    )


def _clocks(database_url: str, publisher: Publisher) -> list[Any]:
    """State, how far the agent's clock is ahead, and when it was heard (ms), as is known of this test's agent."""
    return query(
        database_url,
        "SELECT status->>'state', clock_ahead_ms, (extract(epoch FROM heard_at) * 1000)::int8 FROM agent_report "
        "WHERE organisation = %s",
        publisher.address.organisation,
    )


def test_an_agent_s_clock_is_compared_with_ours_when_it_speaks(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    status, outbox = publisher.address.topic(Kind.STATUS), {"epoch": "E1"}
    publisher.publish({"v": 1, "state": "online", "at": NOW_MS + 240_000, "outbox": outbox}, topic=status)
    wait_for(lambda: _clocks(database_url, publisher) == [("online", 240_000, NOW_MS)], "a clock ahead")
    # The last will was written when the agent connected: its instant says nothing of the clock.
    publisher.publish({"v": 1, "state": "offline", "at": NOW_MS - 9_000_000}, topic=status)
    wait_for(lambda: _clocks(database_url, publisher) == [("offline", 240_000, NOW_MS)], "offline, the clock as before")


def test_a_status_that_the_broker_had_kept_says_nothing_of_the_clock(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    topic = publisher.address.topic(Kind.STATUS)
    kept = {"v": 1, "state": "online", "at": NOW_MS - 86_400_000, "outbox": {"epoch": "E1"}}
    publisher.client.publish(topic, json.dumps(kept), qos=1, retain=True).wait_for_publish(30)
    start_collector()
    wait_for(lambda: _clocks(database_url, publisher) == [("online", None, None)], "the kept status")
    publisher.client.publish(topic, b"", qos=1, retain=True).wait_for_publish(30)


def test_alerts_at_the_broker_are_not_for_the_collector(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    start_collector()
    publisher.publish(b"{}", topic=alerts_topic(publisher.address.organisation, "hall"))
    publisher.publish(readings(1, [("power", 20, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "what came after it")
    assert read_quarantine(database_url) == []


def test_two_collectors_share_a_subscription(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    first, second = (start_collector(share_group=publisher.address.organisation) for _ in range(2))
    for seq in range(1, 201):
        publisher.publish(readings(seq, [("power", 1000 - seq, float(seq))]))
    wait_for(lambda: publisher.stored_seq("E1") == 200, "all confirmed")
    assert read_ledger(database_url) == [("E1", 200, 200, 200, 0, 0)]
    taken = [c.metrics.stored._value.get() for c in (first, second)]
    assert sum(taken) == 200
    assert min(taken) > 0


def test_the_database_going_away_loses_nothing(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    collector = start_collector()
    publisher.publish(readings(1, [("power", 100, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "stored 1")
    for seq in range(2, 52):
        publisher.publish(readings(seq, [("power", 100 - seq, float(seq))]))
        if seq % 10 == 0:
            query(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'afkobling-collector'",
            )
    wait_for(lambda: publisher.stored_seq("E1") == 51, "all confirmed")
    assert read_ledger(database_url) == [("E1", 51, 51, 51, 0, 0)]
    assert collector.metrics.retries._value.get() > 0


def test_without_a_schema_it_says_what_to_do(stack: Any, tmp_path: Path) -> None:
    from collector.connection import connect
    from collector.errors import SetupError

    with pytest.raises(SetupError, match="afkobling db migrate"):
        connect(stack.database_url.rsplit("/", 1)[0] + "/postgres", role="collector")
