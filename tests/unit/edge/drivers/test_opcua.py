"""The driver against a server on loopback, beyond what the contract suite asks of every driver."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy2
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError
from structlog.testing import capture_logs

from edge.devices.line import Line, State
from edge.devices.opcua import NAMESPACE, OpcUaDevice
from edge.drivers import DriverContext, now_ms
from edge.drivers.contract.seen import Seen, reading
from edge.drivers.opcua.driver import OpcUaDriver
from edge.drivers.opcua.settings import OpcUaSettings
from edge.drivers.opcua.values import Sample
from edge.drivers.pacing import sleep_unless
from edge.errors import EdgePermanentError
from schemas.resources import Quality

METER = {"unit": "kWh", "resource": "energy", "kind": "counter"}


def settings(device: OpcUaDevice | None, **more: Any) -> OpcUaSettings:
    entry: dict[str, Any] = {
        "name": "oven",
        "driver": "opcua",
        "endpoint": "opc.tcp://127.0.0.1:1" if device is None else device.endpoint,
        "every": "50ms",
        "repeat": "10s",
        "timeout": "1s",
        "longest_wait": "50ms",
        "meters": {"oven-energy": {"node": "ns=2;s=Energy", **METER}},
    }
    return OpcUaSettings.model_validate(entry | more)


def seen_by(folder: Path, given: OpcUaSettings, *, now_ms: Callable[[], int] = now_ms) -> Seen:
    def count() -> None:
        seen.failures += 1

    context = DriverContext(agent="cabinet-1", folder=folder, count_failure=count, now_ms=now_ms)
    seen = Seen(driver=OpcUaDriver(given, context))
    return seen


async def said_in_the_log(logs: list[Any], found: Callable[[Mapping[str, Any]], bool], seen: Seen) -> None:
    await seen.until(lambda: any(found(line) for line in logs), "a line in the log")


async def test_a_node_that_is_unknown_is_named_and_read_once_it_is_there(tmp_path: Path) -> None:
    device = OpcUaDevice(["Energy"])
    await device.start()
    meters = {key: {"node": f"ns=2;s={node}", **METER} for key, node in (("a", "Energy"), ("b", "Later"))}
    seen = seen_by(tmp_path, settings(device, meters=meters, repeat="100ms"))
    try:
        with capture_logs() as logs:
            async with reading(seen):
                await seen.until(lambda: "a" in seen.values() and seen.failures > 0, "the other meter, and a failure")
                assert "b" not in seen.values()
                await device.add("Later", 42.0)
                await seen.until(lambda: seen.values().get("b") == 42.0, "the node that came later")
        refused = [line for line in logs if line["action"] == "driver.refused"]
        assert [(line["meter"], line["node"]) for line in refused] == [("b", "ns=2;s=Later")]
        assert "no such node" in refused[0]["reason"]
    finally:
        await device.stop()


async def test_a_subscription_that_the_server_forgot_is_made_again(tmp_path: Path) -> None:
    device = OpcUaDevice(["Energy"])
    await device.start()
    seen = seen_by(tmp_path, settings(device, repeat="200ms"))
    try:
        async with reading(seen):
            await device.say("Energy", 1.0)
            await seen.until(lambda: seen.values().get("oven-energy") == 1.0, "the first value")
            await device.drop_subscriptions()
            # The reads each `repeat` go on; what changes and changes back in between comes by subscription only.
            value = 10.0
            while not {("oven-energy", value), ("oven-energy", value + 1)} <= seen.all_values():
                value += 2
                await device.say("Energy", value)
                await asyncio.sleep(0.07)
                await device.say("Energy", value + 1)
                await asyncio.sleep(0.07)
                assert value < 1_000
    finally:
        await device.stop()


async def test_a_server_that_refuses_subscriptions_is_asked_more_and_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncua.ua.uaerrors import BadTooManySubscriptions

    async def refuse(*_: Any) -> None:
        raise BadTooManySubscriptions

    waits: list[float] = []

    async def note(stop: asyncio.Event, wait_s: float) -> bool:
        waits.append(wait_s)
        return await sleep_unless(stop, 0)

    monkeypatch.setattr("edge.drivers.opcua.driver.sleep_unless", note)
    device = OpcUaDevice(["Energy"])
    await device.start()
    server: Any = device._server
    monkeypatch.setattr(server.iserver.subscription_service, "create_subscription", refuse)
    seen = seen_by(tmp_path, settings(device, longest_wait="1min"))
    try:
        with capture_logs() as logs:
            async with reading(seen):
                await seen.until(lambda: len(waits) > 2, "three attempts")
        assert waits[2] >= 4
        assert [line["action"] for line in logs] == ["driver.away"]
        assert seen.values() == {"oven-energy": 0.0}
    finally:
        await device.stop()


async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    device = OpcUaDevice(["Energy"])
    await device.start()
    back_ms = 0
    seen = seen_by(tmp_path, settings(device, repeat="100ms"), now_ms=lambda: now_ms() - back_ms)
    try:
        async with reading(seen):
            await seen.until(lambda: len(seen.taken) > 1, "the first readings")
            back_ms = 3_600_000
            before = len(seen.taken)
            await seen.until(lambda: len(seen.taken) > before + 2, "readings of a value that stands still")
    finally:
        await device.stop()


async def test_no_request_asks_for_more_than_a_small_server_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"E{i}" for i in range(120)]
    device = OpcUaDevice(names)
    await device.start()
    server: Any = device._server
    service = server.iserver.subscription_service
    taken: list[int] = []
    create = service.create_monitored_items

    async def note(request: Any) -> Any:
        taken.append(len(request.ItemsToCreate))
        return await create(request)

    monkeypatch.setattr(service, "create_monitored_items", note)
    meters = {name.lower(): {"node": f"ns=2;s={name}", **METER} for name in names}
    seen = seen_by(tmp_path, settings(device, meters=meters))
    try:
        async with reading(seen):
            await seen.until(lambda: sum(taken) == len(names), "all nodes subscribed to")
        assert max(taken) <= 100
    finally:
        await device.stop()


def test_changes_that_came_at_one_instant_are_its_last_value(tmp_path: Path) -> None:
    driver: Any = seen_by(tmp_path, settings(None, clock="agent")).driver

    found = driver._readings([("oven-energy", Sample(value=value)) for value in (1.0, 2.0, 3.0)])

    assert [reading.value for reading in found] == [3.0]


async def test_times_and_status_of_the_source_arrive(tmp_path: Path) -> None:
    device = OpcUaDevice(["Energy"])
    await device.start()
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=7)
    await device.say("Energy", 3.5, status=0x4090_0000, at=at)
    seen = seen_by(tmp_path, settings(device, meters={"e": {"node": f"nsu={NAMESPACE};s=Energy", **METER}}))
    try:
        async with reading(seen):
            await seen.until(lambda: bool(seen.taken), "the value")
        found = seen.taken[0].readings[0]
        assert (found.value, found.at_ms, found.quality) == (3.5, int(at.timestamp() * 1000), Quality.SUSPECT)
    finally:
        await device.stop()


async def test_a_namespace_that_the_server_lacks_is_named(tmp_path: Path) -> None:
    device = OpcUaDevice(["Energy"])
    await device.start()
    seen = seen_by(tmp_path, settings(device, meters={"e": {"node": "nsu=urn:other;s=Energy", **METER}}))
    try:
        with capture_logs() as logs:
            async with reading(seen):
                await said_in_the_log(logs, lambda line: "no namespace urn:other" in line.get("reason", ""), seen)
    finally:
        await device.stop()


async def test_a_device_that_resets_the_connection_leaves_nothing_of_its_line() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    line = Line(to_port=server.sockets[0].getsockname()[1])
    await line.set_state(State.WHOLE)
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    try:
        writer.write(b"x")
        assert await reader.read() == b""
        async with asyncio.timeout(30):
            while line._tasks or line._open:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
    finally:
        writer.close()
        await writer.wait_closed()
        await line.close()
        server.close()
        await server.wait_closed()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's certificate and key, and an agent's: making keys takes long."""
    from asyncua.crypto.cert_gen import (
        dump_private_key_as_pem,
        generate_private_key,
        generate_self_signed_app_certificate,
    )

    from edge.drivers.opcua.certificates import find_or_make_identity

    folder = tmp_path_factory.mktemp("certificates")
    find_or_make_identity(folder / "opcua-certificate.der", folder / "opcua-key.pem", agent="cabinet-1")
    key = generate_private_key()
    names = [x509.UniformResourceIdentifier("urn:freeopcua:python:server"), x509.DNSName(socket.gethostname())]
    certificate = generate_self_signed_app_certificate(key, "server", {}, names, [ExtendedKeyUsageOID.SERVER_AUTH])
    (folder / "server.der").write_bytes(certificate.public_bytes(Encoding.DER))
    (folder / "server.pem").write_bytes(dump_private_key_as_pem(key))
    return folder


@pytest.fixture
def server_files(made_once: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A server's certificate and key; the agent has its own."""
    for made in made_once.iterdir():
        copy2(made, tmp_path)
    return tmp_path / "server.der", tmp_path / "server.pem"


@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        ("Basic256Sha256", "Sign"),
        ("Basic256Sha256", "SignAndEncrypt"),
        ("Aes128Sha256RsaOaep", "SignAndEncrypt"),
        ("Aes256Sha256RsaPss", "SignAndEncrypt"),
    ],
)
async def test_a_secured_connection_with_a_user(
    policy: str, mode: str, tmp_path: Path, server_files: tuple[Path, Path]
) -> None:
    if mode == "Sign":
        # This agent makes its own.
        for name in ("opcua-certificate.der", "opcua-key.pem"):
            (tmp_path / name).unlink()
    device = OpcUaDevice(["Energy"], certificate=server_files, user=("reader", "correct horse"))
    await device.start()
    (tmp_path / "password").write_text("correct horse\n", encoding="utf-8")
    security = {"policy": policy, "mode": mode, "server_certificate": "server.der"}
    given = settings(device, security=security, user="reader", password={"file": "password"}, timeout="4s")
    seen = seen_by(tmp_path, given)
    try:
        async with reading(seen):
            await seen.until(lambda: "oven-energy" in seen.values() or seen.failures > 2, "the first value")
        assert seen.failures == 0
        assert (tmp_path / "opcua-key.pem").stat().st_mode & 0o777 == 0o600
    finally:
        await device.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": {"variable": "OPCUA_TEST_PASSWORD"}}, "wrong user or password"),
        ({"security": {"policy": "None"}}, "does not offer this security policy"),
        ({"security": {"policy": "Aes256Sha256RsaPss", "mode": "Sign"}}, "does not offer this security policy"),
        (
            {"security": {"policy": "Basic256Sha256", "server_certificate": "other.der"}, "timeout": "300ms"},
            "no answer|certificate|no conn",
        ),
    ],
    ids=["password", "no security", "mode", "another server"],
)
async def test_a_server_that_does_not_let_us_in_is_told_in_words(
    change: dict[str, Any],
    words: str,
    tmp_path: Path,
    server_files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPCUA_TEST_PASSWORD", "wrong")
    copy2(tmp_path / "opcua-certificate.der", tmp_path / "other.der")
    device = OpcUaDevice(["Energy"], certificate=server_files, user=("reader", "correct horse"))
    await device.start()
    (tmp_path / "right").write_text("correct horse", encoding="utf-8")
    base: dict[str, Any] = {
        "security": {"policy": "Basic256Sha256"},
        "user": "reader",
        "password": {"file": "right"},
        "timeout": "1s",
    }
    seen = seen_by(tmp_path, settings(device, **(base | change)))
    try:
        with capture_logs() as logs:
            async with reading(seen):
                await seen.until(lambda: seen.failures > 0, "a failure")
        reasons = [line["reason"] for line in logs if line["action"] == "driver.away"]
        assert re.search(words, reasons[0]), reasons
        assert not seen.taken
    finally:
        await device.stop()


def test_what_is_missing_shows_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPCUA_TEST_PASSWORD", raising=False)
    for change, words in (
        ({"user": "u", "password": {"variable": "OPCUA_TEST_PASSWORD"}}, "has no OPCUA_TEST_PASSWORD"),
        ({"user": "u", "password": {"file": "nowhere"}}, "cannot be read"),
        ({"security": {"policy": "Basic256Sha256", "server_certificate": "no.der"}}, "no file"),
    ):
        with pytest.raises(EdgePermanentError, match=words):
            seen_by(tmp_path, settings(None, **change))
    (tmp_path / "opcua-key.pem").write_text("", encoding="utf-8")
    with pytest.raises(EdgePermanentError, match="belong together"):
        seen_by(tmp_path, settings(None, security={"policy": "Basic256Sha256"}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "192.168.1.30:4840"}, "not an endpoint"),
        ({"endpoint": "opc.tcp://user:secret@plc"}, "don't belong into the endpoint"),
        ({"meters": {"a": {"node": "Oven.Energy", **METER}}}, "is not a node id"),
        ({"meters": {"a": {"node": "ns=2;i=4294967296", **METER}}}, "is not a node id"),
        ({"meters": {"a": {"node": "ns=65536;s=a", **METER}}}, "is not a node id"),
        ({"meters": {"a": {"node": f"ns=2;g={'-' * 36}", **METER}}}, "is not a node id"),
        ({"meters": {"a": {"node": "ns=2;b=@", **METER}}}, "is not a node id"),
        ({"password": {"file": "x"}}, "needs its `user`"),
        ({"user": "u", "password": {}}, "name one"),
    ],
    ids=["address", "credentials", "node", "number", "namespace", "guid", "opaque", "user", "secret"],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(None, **change)


@pytest.mark.parametrize(
    "node",
    [
        "i=2258",
        "ns=2;s=Oven;Energy",
        "ns=65535;i=4294967295",
        "nsu=urn:x;g=09087e75-8e5e-499b-954f-f2a9603db28a",
        "b=T3Zlbg==",
    ],
)
def test_node_ids_of_every_kind(node: str) -> None:
    assert settings(None, meters={"a": {"node": node, **METER}}).meters["a"].node == node


def test_the_port_of_opc_ua_is_the_default() -> None:
    assert settings(None, endpoint="opc.tcp://plc/UA/Server").endpoint == "opc.tcp://plc:4840/UA/Server"
