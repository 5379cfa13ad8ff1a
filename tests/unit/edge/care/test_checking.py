"""What an agent takes from afar, what it refuses, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.care.checking import Accepted, SentRefusedError, check_sent, check_settings, completed
from edge.configuration import load_configuration
from schemas.topics import AgentAddress

ADDRESS = AgentAddress(organisation="acme", site="hall", agent="cabinet-1")
METER = {"name": "oven", "driver": "modbus", "host": "192.168.1.20", "profile": "eastron-sdm630"}
SERIAL: dict[str, Any] = {"name": "x", "driver": "modbus", "profile": "eastron-sdm630", "meters": {"a": "power"}}
SECRET: dict[str, Any] = {"name": "x", "driver": "bridge", "broker": "mqtt://h:1", "user": "u", "mapping": "shelly"}
SECRET["meters"] = {"a": {"device": "x", "quantity": "pm-power"}}
PLAIN_METERS = {"meters": [{"meter": "press", "unit": "kWh", "resource": "energy", "kind": "counter"}]}
PRESENT: dict[str, Any] = {
    "organisation": "acme",
    "site": "hall",
    "agent": "cabinet-1",
    "broker": "mqtts://192.168.1.5:8883",
    "tls": {"authority": "authority.pem", "certificate": "certificate.pem", "key": "key.pem"},
    "outbox": {"path": "outbox.sqlite"},
    "metrics_port": 9101,
    "drivers": [{**METER, "meters": {"oven-electricity": "energy-import"}}],
}
PLAIN = "at,meter,value,unit,resource,kind,carrier,interval\n2026-01-05T06:00:00+01:00,press,1,kWh,energy,counter,,\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("authority.pem", "certificate.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN …")
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "year.csv").write_text(PLAIN)
    (tmp_path / "edge.yaml").write_text(yaml.safe_dump(PRESENT))
    return tmp_path


def check(folder: Path, body: str, *, waiting_bytes: int = 0) -> Accepted:
    path = folder / "edge.yaml"
    return check_sent(
        body,
        present_text=path.read_text(),
        present=load_configuration(path, {}),
        path=path,
        environment={},
        waiting_bytes=waiting_bytes,
    )


def refused(folder: Path, changes: dict[str, Any], **more: int) -> str:
    with pytest.raises(SentRefusedError) as found:
        check(folder, yaml.safe_dump(PRESENT | changes, sort_keys=False), **more)
    return str(found.value)


def test_the_whole_file_is_taken_as_it_stands(folder: Path) -> None:
    body = "# with a comment\n" + yaml.safe_dump(PRESENT | {"window": 30})
    accepted = check(folder, body)
    assert accepted.text == body
    assert accepted.meters == {"oven-electricity"}


def test_what_the_agent_keeps_to_itself_may_be_left_out(folder: Path) -> None:
    accepted = check(folder, yaml.safe_dump({"drivers": PRESENT["drivers"], "outbox": {"max_size": "1GB"}}))
    taken = yaml.safe_load(accepted.text)
    assert taken == PRESENT | {"outbox": {"path": "outbox.sqlite", "max_size": "1GB"}}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("organisation", "other", "organisation: this agent is acme/hall/cabinet-1"),
        ("site", "other", "site: this agent is"),
        ("agent", "other", "agent: this agent is"),
        ("broker", "mqtt://192.168.1.66:1883", "the broker is not changed from afar"),
        ("tls", {"authority": "other.pem"}, "certificates are not changed from afar"),
        ("outbox", {"path": "elsewhere.sqlite"}, "its file stays what it is"),
        ("metrics_port", 9102, "where the agent shows itself"),
        ("metrics_address", "192.168.1.7", "where the agent shows itself"),
        ("nonsense", 1, "there is no such setting"),
        ("window", 0, "window: Input should be greater"),
        ("drivers", [], "drivers: List should have at least 1 item"),
    ],
)
def test_what_is_refused(folder: Path, name: str, value: object, words: str) -> None:
    said = refused(folder, {name: value})
    assert words in said
    assert said.startswith("edge.yaml:")


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ({"name": "x", "driver": "shell", "command": "id"}, "there is no driver 'shell'"),
        ({**METER, "meters": {"a": "no-such"}}, "has no quantity 'no-such'"),
        ({**METER, "meters": {"a": "power"}, "profile": "../../etc/passwd"}, "is not below the configuration's folder"),
        ({**METER, "meters": {"a": "power"}, "profile": "/etc/passwd.yaml"}, "is not below the configuration's folder"),
        ({"name": "x", "driver": "replay", "path": "/etc/passwd"}, "is not below the configuration's folder"),
        ({"name": "x", "driver": "replay", "path": "history/../../year.csv"}, "is not below"),
        ({"name": "x", "driver": "replay", "path": "."}, "is not below the configuration's folder"),
        ({"name": "x", "driver": "replay", "path": "key.pem"}, "is a file of the agent itself"),
        ({"name": "x", "driver": "replay", "path": "edge.yaml.before"}, "is a file of the agent itself"),
        ({"name": "x", "driver": "replay", "path": "outbox.sqlite-wal"}, "is a file of the agent itself"),
        ({"name": "x", "driver": "replay", "path": "out/passwd"}, "is not below the configuration's folder"),
        ({"name": "x", "driver": "replay", "path": "history/year.csv", "mapping": "../m.yaml"}, "is not below"),
        ({"name": "x", "driver": "replay", "path": "history/none.csv"}, "none.csv"),
        ({**METER, "meters": {"a": "power"}, "host": "../x"}, "`..` leads out"),
        (SERIAL | {"serial": {"port": "/etc/passwd"}}, "/etc/passwd is not below the configuration's folder"),
        ({"name": "x", "driver": "csv", "folder": "/mnt/elsewhere", "meters": []}, "is not below"),
        (SECRET | {"password": {"variable": "AFKOBLING_BROKER_URL"}}, "is not read so far"),
        (SECRET | {"password": {"file": "key.pem"}}, "is a file of the agent itself"),
        ({"name": "x", "driver": "replay", "path": "$HOME/.ssh/id"}, "$HOME/.ssh/id"),
    ],
    ids=lambda value: "".join(c if c.isalnum() else "-" for c in str(value))[:60],
)
def test_drivers_that_are_refused(folder: Path, driver: dict[str, Any], words: str) -> None:
    (folder / "out").symlink_to("/etc")
    said = refused(folder, {"drivers": [driver]})
    assert words in said
    # Nothing of a foreign file comes back.
    assert "root:" not in said


def test_an_outbox_in_a_folder_of_its_own_is_none_of_a_drivers(folder: Path) -> None:
    present = PRESENT | {"outbox": {"path": "history/outbox.sqlite"}}
    (folder / "edge.yaml").write_text(yaml.safe_dump(present))
    watched = {"name": "x", "driver": "csv", "folder": "history", **PLAIN_METERS}
    for state in ("history/outbox.sqlite", "history/outbox.sqlite-wal"):
        said = refused(folder, {"outbox": present["outbox"], "drivers": [{**watched, "state": state}]})
        assert "is a file of the agent itself" in said
    check(folder, yaml.safe_dump({"drivers": [{**watched, "state": "history/read.json"}]}))


def test_many_problems_are_told_from_one_reading_of_the_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again for each, a long text would keep a small machine busy for an hour."""
    read = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal read
        read += 1
        return compose(*arguments, **named)

    compose = yaml.compose
    monkeypatch.setattr(yaml, "compose", counted)
    for driver in ({"driver": "replay", "path": "/etc/passwd"}, {"driver": "replay", "path": "history/none.csv"}):
        read = 0
        said = refused(folder, {"drivers": [{"name": f"d{i}", **driver} for i in range(50)]})
        assert len(said.splitlines()) == 50
        assert read < 10


def test_a_file_below_the_folder_may_be_read(folder: Path) -> None:
    body = yaml.safe_dump({"drivers": [{"name": "x", "driver": "replay", "path": "history/year.csv"}]})
    assert check(folder, body).meters == {"press"}


def test_what_somebody_put_there_on_the_spot_may_stay(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELLY", "a password")
    share = tmp_path_factory.mktemp("share")
    watched = {"name": "scada", "driver": "csv", "folder": str(share)}
    present = {**PRESENT, "drivers": [{**SECRET, "password": {"variable": "SHELLY"}}, {**watched, **PLAIN_METERS}]}
    (folder / "edge.yaml").write_text(yaml.safe_dump(present))
    check(folder, yaml.safe_dump({**present, "window": 30}))
    # The password goes to nobody else, and not in another way.
    shelly = {**SECRET, "password": {"variable": "SHELLY"}}
    other = {"b": {"device": "y", "quantity": "pm-power"}}
    check(folder, yaml.safe_dump({**present, "drivers": [{**shelly, "meters": other}]}))
    for change in ({"broker": "mqtt://evil:1"}, {"user": "v"}, {"tls": {}, "mqtt": "3.1.1"}):
        said = refused(folder, {"drivers": [{**shelly, **change}]})
        assert "goes only where the configuration in use sends it" in said
    said = refused(folder, {"drivers": [{**watched, **PLAIN_METERS, "folder": str(share.parent)}]})
    assert "is not below" in said
    # The same folder for a driver of another kind is another matter.
    said = refused(folder, {"drivers": [{"name": "x", "driver": "replay", "path": str(share)}]})
    assert "is not below" in said


def test_an_outbox_is_not_made_smaller_than_what_waits(folder: Path) -> None:
    said = refused(folder, {"outbox": {"max_size": "1MB"}}, waiting_bytes=2_000_000)
    assert "2000000 bytes wait in the outbox" in said
    check(folder, yaml.safe_dump(PRESENT | {"outbox": {"max_size": "3MB"}}), waiting_bytes=2_000_000)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("drivers: [", "not valid YAML"),
        ("just words", "expected `name: value` lines"),
        ("drivers: &a [*a]", "an alias (*a) cannot be sent"),
        ("a: &a [1,2]\nb: &b [*a,*a]\nc: [*b,*b]", "edge.yaml:2: an alias"),
        ("x: " + "y" * 200_001, "more than the 200000"),
        ("drivers: " + "[" * 3_000, "too deep"),
        ("!!python/object/apply:os.system ['id']", "not valid YAML"),
    ],
    ids=["broken", "no-mapping", "endless", "billions", "too-large", "too-deep", "code"],
)
def test_texts_that_are_none(folder: Path, body: str, words: str) -> None:
    with pytest.raises(SentRefusedError) as found:
        check(folder, body)
    assert words in str(found.value)


def test_what_can_be_told_without_the_device(folder: Path) -> None:
    body = yaml.safe_dump({"drivers": PRESENT["drivers"]})
    assert check_settings(body, ADDRESS, name="new.yaml").agent == "cabinet-1"
    for wrong, words in ((PRESENT | {"site": "other"}, "site: this is sent to acme/hall"), ({}, "new.yaml:1")):
        with pytest.raises(SentRefusedError) as found:
            check_settings(yaml.safe_dump(wrong), ADDRESS, name="new.yaml")
        assert words in str(found.value)


def test_completing_changes_no_value(folder: Path) -> None:
    body = "drivers:\n  - {name: x, at: '22:00', day: 2026-01-01, n: 010, s: 'no', ratio: 1e3}\n"
    assert yaml.safe_load(completed(body, {"site": "hall"}))["drivers"] == yaml.safe_load(body)["drivers"]
