"""`afkobling bench ingest` and `latency` measure what they say, with real processes, on a small scale."""

from __future__ import annotations

import psycopg
import pytest

from deploy.bench import ingest, latency
from deploy.bench.courier import Courier, ready_made
from deploy.bench.load import Encoding, Shape
from deploy.bench.processes import servers_used
from schemas.errors import TransientError

pytestmark = pytest.mark.stack


def test_a_case_stores_everything_and_says_what_it_cost(database_url: str, broker_url: str) -> None:
    load = ingest._load(Shape.WIDE, 10, Encoding.JSON, 20_000)
    case = ingest._measure(load, 2, database_url, broker_url)
    assert (case.readings, case.collectors) == (20_000, 2)
    assert case.ratio == pytest.approx(case.readings_per_s / case.raw_copy_rows_per_s, abs=0.002)
    assert case.messages_per_s == pytest.approx(case.readings_per_s / 10, abs=1)
    assert case.collectors_us_per_message == pytest.approx(1e6 * case.collectors_cpu_s / 2_000, rel=0.1, abs=10)
    assert case.publishers_cpu_s > 0
    assert case.peak_mb > 20


def test_latency_is_that_of_every_reading_that_was_sent(
    database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "_WARM_UP_S", 0.5)
    case = latency._measure(database_url, broker_url, 2_000, 3)
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM reading JOIN meter ON meter.id = meter_id WHERE meter.key = 'agent-200-m0'"
        ).fetchone()
    assert found is not None
    assert 0 < case.probes <= found[0]
    assert 0 < case.median_ms <= case.p90_ms <= case.p99_ms <= case.longest_ms
    assert case.readings_per_s == 2_000
    assert case.resolution_ms > 0


def test_the_servers_work_is_theirs(database_url: str, broker_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        before = servers_used(connection, broker_url)
        connection.execute("SELECT sum(i) FROM generate_series(1, 2000000) AS i")
        used = servers_used(connection, broker_url).since(before)
        elsewhere = servers_used(connection, "mqtt://127.0.0.1:1").broker_cpu_s
    assert used.database_cpu_s is not None
    assert used.database_cpu_s > 0
    assert used.broker_cpu_s is not None
    assert elsewhere is None


def test_a_publisher_hears_when_the_broker_is_away() -> None:
    with pytest.raises(OSError):  # noqa: PT011 - what the system calls it
        Courier("mqtt://127.0.0.1:1", window=1)


def test_a_courier_sends_all_within_its_window(broker_url: str) -> None:
    import uuid

    topic = f"test/{uuid.uuid4().hex}"
    got: list[bytes] = []
    courier = Courier(broker_url, window=3, topics=[topic], on_message=lambda message: got.append(message.payload))
    courier.send([ready_made(topic, str(i).encode(), "text/plain") for i in range(50)])
    courier.settle(30)
    for _ in range(100):
        if len(got) == 50:
            break
        courier.work(0.1)
    assert got == [str(i).encode() for i in range(50)]
    courier._unanswered = 1
    with pytest.raises(TransientError, match="unanswered"):
        courier.settle(0)
    courier.close()
