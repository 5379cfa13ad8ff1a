"""Replaying the quarantine: nothing is lost, nothing is there twice, and the ledger stays right."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from api.site_model import apply_site_model
from collector import replay as replay_module
from collector.batch import assemble
from collector.collector import Collector
from collector.connection import connect
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.replay import is_replay_asked_for, replay_all, replay_step
from collector.store import write_batch
from deploy.cli import main
from schemas.configuration import parse_configuration
from schemas.locks import ROLLUP_GATE
from schemas.quarantine import Reason
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from tests.integration.collector.conftest import (
    NOW_MS,
    SITE,
    Publisher,
    query,
    read_ledger,
    read_quarantine,
    readings,
    wait_for,
)

pytestmark = pytest.mark.stack
TOLERANCE_MS = 300_000

# Of each ledger entry: what it counts as quarantined, beside what the entries that wait are counted for.
BALANCE = """
    SELECT l.readings, l.stored, l.repeated, l.quarantined,
           (SELECT coalesce(sum(q.counted), 0) FROM quarantine AS q
            WHERE (q.organisation, q.site, q.agent, coalesce(q.epoch, '')) = (l.organisation, l.site, l.agent, l.epoch)
              AND q.replayed_at IS NULL)
    FROM ledger AS l ORDER BY l.agent, l.epoch
"""


@pytest.fixture
def connection(database_url: str) -> Any:
    with connect(database_url, role="test") as opened:
        yield opened


def topic(address: AgentAddress, kind: Kind = Kind.READINGS) -> str:
    return address.topic(kind)


def deliver(connection: psycopg.Connection, *messages: dict[str, Any] | bytes, to: str) -> None:
    """Write messages as a collector would, in one batch."""
    decoded = [
        decode(Incoming(topic=to, payload=m if isinstance(m, bytes) else json.dumps(m).encode())) for m in messages
    ]
    index = load_meter_index(connection)
    batch = assemble(decoded, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)
    write_batch(connection, batch, model_version=index.version)


def ask(database_url: str, **filters: Any) -> int:
    columns = ["organisation", "site", "agent", "meters", "reason", "entry"]
    [(number,)] = query(
        database_url,
        f"INSERT INTO quarantine_replay ({', '.join(columns)}) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
        *(filters.get(column) for column in columns),
    )
    return int(number)


def replay(connection: psycopg.Connection, database_url: str, **filters: Any) -> tuple[int, int, int, dict[str, int]]:
    """Tried, stored, repeated, refused."""
    number = ask(database_url, **filters)
    replay_all(connection, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)
    [row] = query(
        database_url,
        "SELECT tried, stored, repeated, refused FROM quarantine_replay WHERE id = %s AND finished_at IS NOT NULL",
        number,
    )
    return row  # type: ignore[no-any-return]


def add_meter(
    database_url: str, site: SiteModel, *meters: str, line: str | None = None, agent: str = "cabinet"
) -> None:
    """Add meters (in kWh), and a line."""
    text = SITE.format(organisation=site.organisation.id)
    for meter in meters:
        text += f"  - {{id: {meter}, agent: {agent}, resource: energy, carrier: steam, unit: kWh, kind: counter}}\n"
    if line:
        text = text.replace("lines: [", f"lines: [{{id: {line}}}, ")
    if agent != "cabinet":
        text = text.replace("agents: [", f"agents: [{{id: {agent}}}, ")
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, parse_configuration(text, name="site.yaml", model=SiteModel))


def stored(database_url: str) -> list[Any]:
    return query(
        database_url, "SELECT key, value FROM reading JOIN meter ON meter.id = meter_id ORDER BY key, reading.at"
    )


def waiting(database_url: str) -> list[Any]:
    """Reason and readings of what waits."""
    return query(database_url, "SELECT reason, readings FROM quarantine WHERE replayed_at IS NULL ORDER BY id")


def test_what_waits_is_stored_once_its_meter_is_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("power", 20, 1.0), ("steam", 20, 5.0), ("steam", 10, 6.0)]), to=topic(address))
    assert read_ledger(database_url) == [("E1", 1, 3, 1, 0, 2)]
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNKNOWN_METER: 2})
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 2, 0, {})
    assert stored(database_url) == [("power", 1.0), ("steam", 5.0), ("steam", 6.0)]
    assert read_ledger(database_url) == [("E1", 1, 3, 3, 0, 0)]
    # The row stays as a trace, and is not tried again.
    assert query(
        database_url,
        "SELECT replayed_at IS NOT NULL, stored, repeated, counted, octet_length(payload) > 0 FROM quarantine",
    ) == [(True, 2, 0, 0, True)]
    assert query(database_url, "SELECT count(*) FROM quarantine_meter") == [(0,)]
    assert replay(connection, database_url) == (0, 0, 0, {})


def test_what_is_left_over_waits_as_an_entry_of_its_own(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 20, 5.0), ("heat", 20, 7.0), ("heat", 10, 8.0)]), to=topic(address))
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url, meters=["steam"]) == (1, 1, 0, {Reason.UNKNOWN_METER: 2})
    assert read_ledger(database_url) == [("E1", 1, 3, 1, 0, 2)]
    [(first, payload), (second, left)] = query(database_url, "SELECT id, payload FROM quarantine ORDER BY id")
    assert payload == b""
    assert json.loads(left)["value"] == [7.0, 8.0]
    assert query(database_url, "SELECT left_of, counted FROM quarantine WHERE id = %s", second) == [(first, 2)]
    assert query(database_url, "SELECT meter, readings, last_value FROM quarantine_meter") == [("heat", 2, 8.0)]
    add_meter(database_url, site, "steam", "heat")
    assert replay(connection, database_url, meters=["heat"]) == (1, 2, 0, {})
    assert query(database_url, BALANCE) == [(3, 3, 0, 0, 0)]


def test_a_conflict_stays_one_however_often_it_is_replayed(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("power", 20, 1.0)]), to=topic(address))
    deliver(connection, readings(2, [("power", 20, 2.0), ("water", 5, float("nan"))]), to=topic(address))
    before = read_ledger(database_url)
    for _ in range(3):
        assert replay(connection, database_url) == (2, 0, 0, {Reason.CONFLICT: 1, Reason.NOT_A_NUMBER: 1})
    assert query(database_url, "SELECT count(*), sum(times), sum(counted) FROM quarantine") == [(2, 2, 2)]
    assert query(database_url, "SELECT tried_at IS NOT NULL, replayed_at FROM quarantine") == [(True, None)] * 2
    assert read_ledger(database_url) == before
    assert stored(database_url) == [("power", 1.0)]


def test_another_reason_the_second_time(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 20, 5.0)], units={"steam": "MWh"}), to=topic(address))
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 0, 0, {Reason.WRONG_UNIT: 1})
    assert waiting(database_url) == [(Reason.WRONG_UNIT, 1)]
    assert query(database_url, BALANCE) == [(1, 0, 0, 1, 1)]


def test_a_plain_reading_that_came_three_times_is_stored_once(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    plain = {"meter": "steam", "at": NOW_MS - 1000, "value": 4.0, "unit": "kWh"}
    for _ in range(3):
        deliver(connection, plain, to=topic(address))
    assert query(database_url, BALANCE) == [(3, 0, 0, 3, 3)]
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 1, 0, {})
    assert query(database_url, BALANCE) == [(3, 1, 2, 0, 0)]
    assert query(database_url, "SELECT messages FROM ledger") == [(3,)]


def test_an_agent_that_was_not_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    other = AgentAddress(organisation=address.organisation, site=address.site, agent="shed")
    deliver(connection, readings(1, [("steam", 20, 5.0), ("heat", 20, 1.0)]), to=topic(other))
    add_meter(database_url, site, "steam", agent="shed")
    assert replay(connection, database_url, agent="shed") == (1, 1, 0, {Reason.UNKNOWN_METER: 1})
    assert query(database_url, BALANCE) == [(2, 1, 0, 1, 1)]


def test_runs_of_a_line_that_was_not_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    span = {"run": "r1", "line": "saw", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
    head = {"v": 1, "epoch": "E1", "sent_at": NOW_MS}
    deliver(connection, {**head, "seq": 1, "runs": [span]}, to=topic(address, Kind.RUNS))
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNKNOWN_LINE: 1})
    add_meter(database_url, site, line="saw")
    # A later word about it came the ordinary way.
    deliver(
        connection,
        {**head, "seq": 2, "sent_at": NOW_MS + 1, "runs": [{**span, "end": NOW_MS}]},
        to=topic(address, Kind.RUNS),
    )
    assert replay(connection, database_url) == (1, 0, 0, {})
    assert query(database_url, "SELECT key, end_at IS NULL FROM run") == [("r1", False)]
    assert waiting(database_url) == []


def test_offers_and_status_that_were_refused_do_not_replace_later_ones(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    def offer(at: int, meter: str) -> dict[str, Any]:
        return {
            "v": 1,
            "at": at,
            "meters": [{"meter": meter, "resource": "energy", "unit": "kWh", "kind": "counter"}],
        }

    deliver(connection, offer(NOW_MS, "new"), to=topic(address, Kind.METERS))
    for at, meter in ((NOW_MS - 1, "old"), (NOW_MS + 1, "newest")):
        connection.execute(
            """
            INSERT INTO quarantine (reason, detail, topic, organisation, site, agent, readings, content_type, payload,
                                    digest)
            VALUES ('refused by the database', '', %s, %s, %s, %s, 0, 'application/json', %s, %s)
            """,
            [
                topic(address, Kind.METERS),
                address.organisation,
                address.site,
                address.agent,
                json.dumps(offer(at, meter)).encode(),
                meter.encode(),
            ],
        )
    held = "SELECT offered_meters -> 'meters' -> 0 ->> 'meter' FROM agent_report"
    [(first,)] = query(database_url, "SELECT min(id) FROM quarantine")
    replay(connection, database_url, entry=first)
    assert query(database_url, held) == [("new",)]
    replay(connection, database_url)
    assert query(database_url, held) == [("newest",)]
    assert waiting(database_url) == []


@pytest.mark.parametrize("payload", [b"{not json", b"\xff\x00", b'{"v": 2, "epoch": "E1", "seq": 1, "at": [1, 2]}'])
def test_what_is_no_message_stays_as_it_is(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, payload: bytes
) -> None:
    deliver(connection, payload, to=topic(address))
    deliver(connection, payload, to="afkobling/v1/nonsense")
    before = query(database_url, "SELECT id, reason, payload, times, counted, replayed_at FROM quarantine ORDER BY id")
    ledger = query(database_url, BALANCE)
    replay(connection, database_url)
    assert before == query(
        database_url, "SELECT id, reason, payload, times, counted, replayed_at FROM quarantine ORDER BY id"
    )
    assert query(database_url, BALANCE) == ledger


def test_a_redelivery_between_adoption_and_replay_counts_once(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    message = readings(1, [("power", 20, 1.0), ("steam", 20, 5.0), ("heat", 20, 5.0)])
    deliver(connection, message, to=topic(address))
    add_meter(database_url, site, "steam")
    deliver(connection, message, to=topic(address))
    assert query(database_url, BALANCE)[0][:4] == (3, 2, 0, 1)
    add_meter(database_url, site, "steam", "heat")
    replay(connection, database_url)
    assert query(database_url, BALANCE) == [(3, 3, 0, 0, 0)]
    assert waiting(database_url) == []


def test_what_is_refused_again_after_it_was_replayed_waits_again(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    plain = {"meter": "steam", "at": NOW_MS - 1000, "value": 4.0, "unit": "kWh"}
    deliver(connection, plain, to=topic(address))
    add_meter(database_url, site, "steam")
    replay(connection, database_url)
    query(database_url, "DELETE FROM reading RETURNING 1")
    query(database_url, "DELETE FROM meter WHERE key = 'steam' RETURNING 1")
    deliver(connection, plain, to=topic(address))
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)]
    assert query(database_url, BALANCE) == [(2, 1, 0, 1, 1)]
    assert query(database_url, "SELECT meter FROM quarantine_meter") == [("steam",)]


def test_late_readings_leave_a_note_for_the_roll_up(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 3600, 5.0)]), to=topic(address))
    connection.execute("UPDATE rollup_progress SET closed_to = to_timestamp(%s / 1000.0)", [NOW_MS - 60_000])
    add_meter(database_url, site, "steam")
    replay(connection, database_url)
    assert query(database_url, "SELECT count(*) FROM pending JOIN meter ON meter.id = meter_id AND key = 'steam'") == [
        (1,)
    ]


def test_many_entries_go_in_steps_that_can_be_cut_off(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_module, "_MOST_ENTRIES", 7)
    for seq in range(1, 31):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    add_meter(database_url, site, "steam")
    number = ask(database_url)
    index = load_meter_index(connection)

    def step() -> Any:
        return replay_step(connection, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)

    assert step().tried == 7
    # Cut off at the last statement: nothing of the step is done.
    sound, broken = replay_module._ADVANCE, "SELECT 1 / 0 -- %(id)s"
    monkeypatch.setattr(replay_module, "_ADVANCE", broken)
    with pytest.raises(psycopg.errors.DivisionByZero):
        step()
    assert query(database_url, BALANCE) == [(30, 7, 0, 23, 23)]
    assert len(stored(database_url)) == 7
    monkeypatch.setattr(replay_module, "_ADVANCE", sound)
    while (found := step()) is not None and not found.is_finished:
        assert found.tried <= 7
    assert query(database_url, "SELECT tried, stored, repeated FROM quarantine_replay WHERE id = %s", number) == [
        (30, 30, 0)
    ]
    assert query(database_url, BALANCE) == [(30, 30, 0, 0, 0)]
    assert step() is None
    assert not is_replay_asked_for(connection)


def test_bytes_are_bounded_too(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seq in range(1, 4):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    monkeypatch.setattr(replay_module, "_MOST_BYTES", 10)
    number = ask(database_url)
    index = load_meter_index(connection)
    for _ in range(3):
        found = replay_step(connection, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS, request=number)
        assert found is not None
        assert found.tried == 1


def test_what_the_database_refuses_is_found_among_the_others(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    for seq in range(1, 10):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    add_meter(database_url, site, "steam")
    connection.execute("ALTER TABLE reading ADD CHECK (value <> 4)")
    assert replay(connection, database_url) == (9, 8, 0, {Reason.UNSTORABLE: 1})
    assert waiting(database_url) == [(Reason.UNSTORABLE, 1)]
    assert query(database_url, BALANCE) == [(9, 8, 0, 1, 1)]
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNSTORABLE: 1})
    assert waiting(database_url) == [(Reason.UNSTORABLE, 1)]


def test_two_replays_at_once(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_module, "_MOST_ENTRIES", 5)
    for seq in range(1, 61):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq)), ("heat", 5, 1.0)]), to=topic(address))
    add_meter(database_url, site, "steam")
    numbers = [ask(database_url), ask(database_url, agent="cabinet")]

    def work(number: int) -> None:
        with connect(database_url, role="test") as mine:
            replay_all(mine, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)

    threads = [threading.Thread(target=work, args=(number,)) for number in (*numbers, *numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert query(database_url, "SELECT count(*) FROM quarantine_replay WHERE finished_at IS NULL") == [(0,)]
    assert query(database_url, "SELECT sum(stored), sum(repeated) FROM quarantine_replay") == [(60, 0)]
    assert query(database_url, BALANCE) == [(120, 60, 0, 60, 60)]
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)] * 60


def test_a_batch_checked_by_the_old_model_is_waited_for(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    """What was refused by the model from before the adoption, and commits after it, is replayed as well."""
    index = load_meter_index(connection)
    with psycopg.connect(database_url) as slow:
        # As `write_batch` begins: the gate, then a look at the model.
        slow.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLUP_GATE])
        add_meter(database_url, site, "steam")
        number = ask(database_url)
        done = threading.Event()

        def work() -> None:
            with connect(database_url, role="test") as mine:
                replay_all(mine, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        wait_for(
            lambda: (
                query(
                    database_url,
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted",
                    ROLLUP_GATE,
                )
                == [(1,)]
            ),
            "the replay to wait at the gate",
        )
        message = decode(Incoming(topic=topic(address), payload=json.dumps(readings(1, [("steam", 9, 1.0)])).encode()))
        batch = assemble([message], index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)
        [(version,)] = slow.execute("SELECT version FROM model_version").fetchall()
        write_batch(slow, batch, model_version=version)
        slow.commit()
    thread.join(60)
    assert done.is_set()
    assert stored(database_url) == [("steam", 1.0)]
    assert waiting(database_url) == []


def test_the_collector_takes_up_what_was_asked_for(
    database_url: str,
    site: SiteModel,
    publisher: Publisher,
    start_collector: Callable[..., Collector],
) -> None:
    collector = start_collector()
    for seq in range(1, 6):
        publisher.publish(readings(seq, [("steam", 100 - seq, float(seq)), ("power", 100 - seq, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 5, "all confirmed")
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)] * 5
    add_meter(database_url, site, "steam")
    number = ask(database_url, organisation=site.organisation.id)
    finished = "SELECT stored FROM quarantine_replay WHERE id = %s AND finished_at IS NOT NULL"
    wait_for(lambda: query(database_url, finished, number) == [(5,)], "the replay's end")
    assert read_ledger(database_url) == [("E1", 5, 10, 10, 0, 0)]
    assert collector.metrics.replayed._value.get() == 5
    # It goes on with what is new.
    publisher.publish(readings(6, [("steam", 1, 9.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 6, "stored 6")
    assert read_ledger(database_url) == [("E1", 6, 11, 11, 0, 0)]


@pytest.mark.parametrize("seed", range(6))
def test_every_reading_is_stored_or_in_quarantine_once(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    """Known and unknown meters and agents, broken values, redeliveries and two epochs, adopted one after the other."""
    chance = random.Random(seed)
    agents = {
        name: AgentAddress(organisation=address.organisation, site="hall", agent=name) for name in ("cabinet", "shed")
    }
    meters = {"cabinet": ["power", "water", "steam", "heat"], "shed": ["s1", "s2"]}
    units = {meter: "m3" if meter == "water" else "kWh" for names in meters.values() for meter in names}
    sent: Counter[tuple[str, str, int, float | None]] = Counter()
    epochs = {(agent, epoch): 0 for agent in agents for epoch in ("E1", "E2")}
    history: list[tuple[str, dict[str, Any]]] = []

    def send() -> None:
        (agent, epoch), seq = chance.choice(list(epochs.items()))
        rows = [
            (
                chance.choice(meters[agent]),
                chance.randrange(40),
                chance.choice([1.0, 2.0, float(seq), math.nan if chance.random() < 0.2 else 3.0]),
            )
            for _ in range(chance.randrange(1, 8))
        ]
        epochs[agent, epoch] = seq + 1
        message = readings(seq + 1, rows, epoch=epoch, units=units)
        history.append((agent, message))
        for meter, seconds, value in rows:
            sent[agent, meter, NOW_MS - 1000 * seconds, None if math.isnan(value) else value] += 1
        deliver(connection, message, to=topic(agents[agent]))

    def check(*, is_redelivered: bool = False) -> None:
        accounts = query(database_url, BALANCE)
        assert all(quarantined == counted for *_, quarantined, counted in accounts)
        assert sum(row[0] for row in accounts) == sum(sent.values())
        kept = Counter(
            query(
                database_url,
                "SELECT agent.key, meter.key, (extract(epoch FROM at) * 1000)::int8, value "
                "FROM reading JOIN meter ON meter.id = meter_id JOIN agent ON agent.id = agent_id",
            )
        )
        refused: Counter[Any] = Counter()
        for agent, payload in query(database_url, "SELECT agent, payload FROM quarantine WHERE replayed_at IS NULL"):
            body = json.loads(payload)
            for i, at, value in zip(body["meter"], body["at"], body["value"], strict=True):
                refused[agent, body["meters"][i], at, None if math.isnan(value) else value] += 1
        # Each distinct reading is in one place; what was sent more than once is stored once, or waits as often. What is
        # delivered again and in conflict again may stand in a second entry, which counts for nothing.
        assert max(kept.values(), default=0) <= 1
        assert set(kept) | set(refused) == set(sent)
        assert not set(kept) & set(refused)
        assert all(count == sent[key] or (is_redelivered and count > sent[key]) for key, count in refused.items())

    unknown = [("cabinet", "steam"), ("cabinet", "heat"), ("shed", "s1"), ("shed", "s2")]
    chance.shuffle(unknown)
    for _ in range(15):
        send()
    check()
    for adopted, (agent, meter) in enumerate(unknown):
        for _ in range(3):
            send()
        command = ["meters", "adopt", agent, meter, "--resource", "energy", "--kind", "counter", "--carrier", "steam"]
        assert main([*command, "--site", f"{address.organisation}/hall", "--database-url", database_url]) == 0
        assert f"set up meter {meter}" in capsys.readouterr().out
        check(is_redelivered=adopted > 0)
        old_agent, message = chance.choice(history)
        deliver(connection, message, to=topic(agents[old_agent]))
        check(is_redelivered=True)
    left = dict(
        query(database_url, "SELECT reason, count(*) FROM quarantine WHERE replayed_at IS NULL GROUP BY reason")
    )
    assert set(left) <= {Reason.CONFLICT, Reason.NOT_A_NUMBER}
    assert read_quarantine(database_url)
