"""The agent against the real broker: nothing is let go before the collector has it, whatever happens to the broker."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from edge.configuration import BatchSettings, OutboxSettings, TlsSettings
from edge.outbox import WhenFull
from schemas.topics import Kind
from schemas.wire import JSON_TYPE, Meters

from .conftest import ADDRESS, Broker, Collector, Running, free_port, until

pytestmark = pytest.mark.stack
Run = Callable[..., AbstractAsyncContextManager[Running]]


async def all_confirmed(running: Running, messages: int) -> None:
    await until(lambda: running.count("messages_confirmed_total") == messages, f"{messages} messages confirmed")


async def test_stored_lets_go_and_a_clean_stop_says_so(run: Run, broker: Broker, collector: Collector) -> None:
    async with run(broker) as running:
        running.driver.give(*range(100))
        await all_confirmed(running, 100)
        assert running.count("outbox_messages") == 0
        assert collector.values() == list(range(100))
        assert sorted(collector.seqs()) == list(range(1, 101))
        status = collector.last_status()
        assert status is not None
        assert (status.state, status.version is not None) == ("online", True)
        meters = Meters.model_validate_json(collector.of(Kind.METERS)[0].payload)
        assert meters.meters == running.driver.offers()
        assert await running.stopped() == 0
    await until(lambda: (s := collector.last_status()) is not None and s.state == "offline", "offline said")
    last = collector.last_status()
    assert last is not None
    assert last.outbox is not None
    assert (last.outbox.last_seq, last.outbox.stored_seq, last.outbox.waiting) == (100, 100, 0)
    assert {arrival.content_type for arrival in collector.arrivals if arrival.kind is not Kind.STORED} == {JSON_TYPE}
    late = Collector(broker)
    late.start()
    await until(lambda: len(late.arrivals) >= 3, "stored, status and meters retained")
    assert {arrival.kind for arrival in late.arrivals if arrival.retained} == {Kind.STATUS, Kind.METERS, Kind.STORED}
    late.stop()


async def test_the_last_batch_is_flushed_and_drained_at_a_stop(run: Run, broker: Broker, collector: Collector) -> None:
    batch = BatchSettings(readings=1_000, age="10min")
    async with run(broker, batch=batch) as running:
        running.driver.give(1, 2, 3)
        await until(lambda: running.count("readings_taken_total", driver="d") == 3, "taken")
        await running.stopped()
        assert collector.values() == [1, 2, 3]
        assert running.count("outbox_messages") == 0


async def test_no_further_ahead_than_the_window_and_again_after_a_while(
    run: Run, broker: Broker, collector: Collector
) -> None:
    collector.confirms = False
    async with run(broker, window=5, resend_after=300) as running:
        running.driver.give(*range(20))
        await until(lambda: running.count("messages_appended_total") == 20, "kept")
        await until(lambda: collector.seqs().count(1) >= 3, "published again")
        # Nothing is confirmed: the first, and a few of the newest ahead of it.
        assert len(set(collector.seqs())) <= 3
        assert running.count("messages_resent_total") >= 2
        assert running.count("messages_confirmed_total") == 0
        collector.confirms = True
        await all_confirmed(running, 20)
        assert collector.values() == list(range(20))


async def test_a_killed_broker_loses_nothing(run: Run, broker: Broker, collector: Collector) -> None:
    collector.confirms = False
    async with run(broker) as running:
        running.driver.give(*range(30))
        await until(lambda: len(collector.seqs()) >= 3, "published")
        broker.kill()
        await until(lambda: running.count("broker_online") == 0, "offline")
        running.driver.give(*range(30, 60))
        await until(lambda: running.count("messages_appended_total") == 60, "kept while the broker is away")
        collector.confirms = True
        broker.start()
        await all_confirmed(running, 60)
        assert collector.values() == list(range(60))
        assert running.count("broker_connections_total") >= 2


async def test_it_waits_for_a_broker_that_is_not_there_yet(run: Run, stopped_broker: Broker) -> None:
    async with run(stopped_broker) as running:
        running.driver.give(1)
        await until(lambda: running.count("broker_connection_failures_total") >= 2, "failures counted")
        stopped_broker.start()
        collector = Collector(stopped_broker)
        collector.start()
        await until(lambda: running.count("broker_online") == 1, "online")
        await running.stopped()
        collector.stop()


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(run: Run, stopped_broker: Broker) -> None:
    async with run(stopped_broker) as running:
        running.driver.give(1)
        await until(lambda: running.count("messages_appended_total") == 1, "kept")
        assert await running.stopped() == 0
        assert running.count("outbox_messages") == 1


async def test_strange_confirmations_are_ignored(run: Run, broker: Broker, collector: Collector) -> None:
    collector.confirms = False
    collector.say_stored("another-epoch", 7)
    async with run(broker) as running:
        running.driver.give(1, 2, 3)
        await until(lambda: len(collector.seqs()) >= 2, "published")
        epoch = collector.batches()[0].epoch
        collector.say_stored(epoch, 4_000)
        collector._client.publish(ADDRESS.topic(Kind.STORED), b"not json", qos=1)
        await until(lambda: running.count("stored_ignored_total") >= 3, "ignored and counted")
        assert running.count("outbox_messages") == 3
        collector.say_stored(epoch, 2)
        await all_confirmed(running, 2)
        assert running.count("outbox_messages") == 1
        collector.say_stored(epoch, 3)
        await all_confirmed(running, 3)


async def test_nobody_listening_is_seen_and_tried_again(run: Run, broker: Broker) -> None:
    async with run(broker, resend_after=200) as running:
        running.driver.give(1)
        await until(lambda: running.count("broker_refusals_total", reason="No matching subscribers") >= 2, "seen")
        collector = Collector(broker)
        collector.start()
        await all_confirmed(running, 1)
        assert collector.values() == [1]
        collector.stop()


async def test_a_broker_that_forbids_is_seen(run: Run, stopped_broker: Broker) -> None:
    acl = stopped_broker.folder / "acl"
    acl.write_text("topic read #\n")
    stopped_broker.settings = f"acl_file {acl}\n"
    stopped_broker.start()
    async with run(stopped_broker, resend_after=200) as running:
        running.driver.give(1)
        await until(lambda: running.count("broker_refusals_total", reason="Not authorized") >= 3, "seen")
        assert running.count("outbox_messages") == 1


async def test_a_broker_that_refuses_the_connection_is_seen(run: Run, stopped_broker: Broker) -> None:
    stopped_broker.settings = "allow_anonymous false\n"
    stopped_broker.start()
    async with run(stopped_broker) as running:
        await until(lambda: running.count("broker_connection_failures_total") >= 2, "seen")
        assert running.count("broker_connections_total") == 0


async def test_a_small_receive_maximum_is_kept(run: Run, stopped_broker: Broker) -> None:
    stopped_broker.settings = "max_inflight_messages 5\n"
    stopped_broker.start()
    collector = Collector(stopped_broker)
    collector.start()
    async with run(stopped_broker) as running:
        running.driver.give(*range(200))
        await all_confirmed(running, 200)
        assert running.count("broker_connections_total") == 1
    collector.stop()


async def test_what_is_too_large_for_the_broker_goes_out_in_parts(run: Run, stopped_broker: Broker) -> None:
    stopped_broker.settings = "max_packet_size 1000\n"
    stopped_broker.start()
    collector = Collector(stopped_broker)
    collector.start()
    async with run(stopped_broker, batch=BatchSettings(readings=100, age="100ms")) as running:
        running.driver.give(*range(100))
        await until(lambda: running.count("messages_appended_total") == 1, "kept")
        running.driver.give(*range(100, 300))
        await until(lambda: running.count("outbox_messages") == 0, "all confirmed")
        # The first message is an empty one now, and what it held comes behind.
        assert sorted(collector.values()) == list(range(300))
        assert next(batch.at for batch in collector.batches() if batch.seq == 1) == []
        assert running.count("messages_split_total") >= 3
        assert running.count("broker_connections_total") == 1
        assert running.counters.problems() == []
    collector.stop()


async def test_what_cannot_be_split_is_told_and_goes_out_when_the_broker_takes_more(
    run: Run, stopped_broker: Broker
) -> None:
    stopped_broker.settings = "max_packet_size 260\n"
    stopped_broker.start()
    async with run(stopped_broker) as running:
        running.driver.give(1, 2, 3)
        await until(lambda: any("is larger than the broker accepts" in p for p in running.counters.problems()), "told")
        assert running.count("broker_connections_total") == 1
        assert running.count("outbox_messages") == 3
        stopped_broker.kill()
        stopped_broker.settings = ""
        stopped_broker.start()
        collector = Collector(stopped_broker)
        collector.start()
        await all_confirmed(running, 3)
        assert sorted(collector.values()) == [1, 2, 3]
        await until(lambda: running.counters.problems() == [], "all is well again")
        collector.stop()


async def test_an_offer_that_is_too_large_is_told_and_stops_no_reading(run: Run, stopped_broker: Broker) -> None:
    stopped_broker.settings = "max_packet_size 700\n"
    stopped_broker.start()
    collector = Collector(stopped_broker)
    collector.start()
    async with run(stopped_broker, offers=50) as running:
        running.driver.give(1, 2, 3)
        await all_confirmed(running, 3)
        assert any("what this agent offers" in problem for problem in running.counters.problems())
        assert running.count("broker_connections_total") == 1
        assert collector.of(Kind.METERS) == []
    collector.stop()


async def test_the_newest_is_seen_before_the_backlog_is_through(run: Run, broker: Broker, collector: Collector) -> None:
    """An agent that was away for long: what happens now comes first, and is not sent twice."""
    collector.confirms = False
    async with run(broker) as running:
        running.driver.give(*range(500))
        await until(lambda: running.count("messages_appended_total") == 500, "a backlog")
        collector.confirms = True
        collector.say_stored(collector.batches()[0].epoch, 1)
        running.driver.give(500)
        await until(lambda: 501 in collector.seqs(), "the newest")
        before = collector.seqs().index(501)
        await all_confirmed(running, 501)
        assert len(set(collector.seqs()[:before])) < 500
        assert collector.values() == list(range(501))
        assert collector.seqs().count(501) == 1


async def test_a_full_outbox_gives_up_the_oldest_and_tells(run: Run, stopped_broker: Broker, tmp_path: Path) -> None:
    outbox = OutboxSettings(path=tmp_path / "outbox.sqlite").model_copy(update={"max_size": 5_000})
    async with run(stopped_broker, outbox=outbox) as running:
        running.driver.give(*range(100))
        await until(lambda: running.count("messages_appended_total") == 100, "kept or given up")
        dropped = int(running.count("outbox_dropped_readings"))
        assert dropped > 0
        stopped_broker.start()
        collector = Collector(stopped_broker)
        collector.start()
        await all_confirmed(running, 100)
        assert sorted(set(collector.seqs())) == list(range(1, 101))
        assert collector.values() == list(range(dropped, 100))
        status = collector.last_status()
        assert status is not None
        assert status.outbox is not None
        assert status.outbox.dropped_readings == dropped
        collector.stop()


async def test_a_full_outbox_that_stops_reading_holds_the_driver(
    run: Run, stopped_broker: Broker, tmp_path: Path
) -> None:
    outbox = OutboxSettings(path=tmp_path / "outbox.sqlite", when_full=WhenFull.STOP_READING)
    async with run(stopped_broker, outbox=outbox.model_copy(update={"max_size": 3_000})) as running:
        running.driver.give(*range(400))
        await until(lambda: running.count("outbox_failures_total") > 0, "held")
        await until(lambda: 0 < running.driver.given.qsize() < 400, "the driver waits")
        stopped_broker.start()
        collector = Collector(stopped_broker)
        collector.start()
        await all_confirmed(running, 400)
        assert collector.values() == list(range(400))
        assert running.count("outbox_dropped_readings") == 0
        collector.stop()


async def test_an_end_by_itself_waits_for_all_to_be_stored(run: Run, broker: Broker, collector: Collector) -> None:
    collector.confirms = False
    async with run(broker, until_stored=True) as running:
        running.driver.give(1, 2, 3)
        running.driver.given.put_nowait(None)
        await until(lambda: len(collector.seqs()) >= 2, "the first and the newest published")
        await asyncio.sleep(0.2)
        assert not running.task.done()
        collector.say_stored(collector.batches()[0].epoch, 3)
        async with asyncio.timeout(60):
            assert await running.task == 0


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_certificates_on_both_sides(run: Run, stopped_broker: Broker, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    for name in ("ca.pem", "broker.pem", "broker.key"):
        shutil.copy(tmp_path / name, stopped_broker.folder)
        (stopped_broker.folder / name).chmod(0o644)
    folder, port = stopped_broker.folder, free_port()
    stopped_broker.settings = (
        f"listener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\n"
        f"keyfile {folder}/broker.key\nrequire_certificate true\n"
    )
    stopped_broker.start()
    collector = Collector(stopped_broker)
    collector.start()
    url = f"mqtts://127.0.0.1:{port}"
    ours = TlsSettings(authority=tmp_path / "ca.pem", certificate=tmp_path / "agent.pem", key=tmp_path / "agent.key")
    async with run(stopped_broker, url=url, tls=ours) as running:
        running.driver.give(1, 2, 3)
        await all_confirmed(running, 3)
    collector.stop()
    for wrong in (TlsSettings(), TlsSettings(authority=tmp_path / "ca.pem"), TlsSettings(authority=tmp_path / "none")):
        async with run(stopped_broker, url=url, tls=wrong) as running:
            await failed_to_connect(running)


async def failed_to_connect(running: Running) -> None:
    await until(lambda: running.count("broker_connection_failures_total") >= 1, "refused")
    assert running.count("broker_connections_total") == 0


def make_certificates(folder: Path) -> None:
    """An authority, and what it has signed for the broker and for the agent."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("this machine has no openssl to make certificates with")

    def make(name: str, subject: str, *options: str) -> None:
        certificate, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        arguments = [*new, "-subj", f"/CN={subject}", *options, "-out", certificate, "-keyout", key]
        subprocess.run([openssl, "req", "-x509", *arguments], check=True, capture_output=True)

    make("ca", "our authority")
    signed = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")]
    make("broker", "broker", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE", *signed)
    make("agent", "cabinet-1", "-addext", "basicConstraints=CA:FALSE", *signed)
