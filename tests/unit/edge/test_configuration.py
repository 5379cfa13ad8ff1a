"""`edge.yaml`: what is wrong is named with its line, and nothing is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli import main
from edge.checking import check
from edge.configuration import load_configuration
from edge.drivers import DriverKind, find_driver
from edge.errors import EdgeError, EdgePermanentError, UnknownDriverError
from edge.outbox import WhenFull
from schemas.broker_url import BrokerUrl, parse_broker_url
from schemas.configuration import ConfigurationError

GOOD = """\
organisation: acme
site: hall-1
agent: cabinet-1
broker: mqtt://192.168.1.5
outbox: {path: kept/outbox.sqlite, max_size: 50MB, when_full: stop_reading}
batch: {readings: 100, age: 5s}
window: 7
resend_after: 1min
metrics_port: 9101
drivers:
  - name: line-1
    driver: modbus
    host: 192.168.1.20
    profile: abb-b23
    every: 10s
    meters: {oven-electricity: energy-import, oven-power: power}
"""


@pytest.fixture(autouse=True)
def _only_this_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.cli.COMMANDS", ("edge",))


def write(folder: Path, text: str) -> Path:
    path = folder / "edge.yaml"
    path.write_text(text)
    return path


def lines_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(write(folder, text), {})
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


def test_everything_is_resolved(tmp_path: Path) -> None:
    configuration = load_configuration(write(tmp_path, GOOD), {"AFKOBLING_BROKER_URL": "mqtt://elsewhere"})
    assert str(configuration.address) == "acme/hall-1/cabinet-1"
    assert str(configuration.broker) == "mqtt://192.168.1.5:1883"
    assert configuration.outbox.path == tmp_path / "kept" / "outbox.sqlite"
    assert (configuration.outbox.max_size, configuration.outbox.when_full) == (50_000_000, WhenFull.STOP_READING)
    assert (configuration.batch.age, configuration.window, configuration.resend_after) == (5_000, 7, 60_000)


def test_the_environment_names_the_broker_when_the_file_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("broker: mqtt://192.168.1.5\n", ""))
    assert load_configuration(path, {"AFKOBLING_BROKER_URL": "mqtts://b"}).broker.port == 8883
    with pytest.raises(ConfigurationError, match="AFKOBLING_BROKER_URL"):
        load_configuration(path, {})
    with pytest.raises(ConfigurationError, match="AFKOBLING_BROKER_URL: not a broker address"):
        load_configuration(path, {"AFKOBLING_BROKER_URL": "http://b"})


def test_problems_name_line_and_remedy(tmp_path: Path) -> None:
    assert lines_of(tmp_path, GOOD.replace("window: 7", "window: 0")) == [
        "edge.yaml:7: window: Input should be greater than or equal to 1"
    ]
    assert lines_of(tmp_path, GOOD.replace("every: 10s", "every: 10")) == [
        "edge.yaml:15: drivers.0.every: 10 is not a span of time; write a number with ms, s, min, h or d, as in 15min"
    ]
    assert lines_of(tmp_path, GOOD.replace("host:", "hots:")) == [
        "edge.yaml:13: drivers.0.hots: there is no such setting; check the spelling or remove it",
    ]
    (unknown,) = lines_of(tmp_path, GOOD.replace("driver: modbus", "driver: modbsu"))
    assert unknown.startswith("edge.yaml:12: drivers.0.driver: there is no driver 'modbsu'; known: ")
    assert "modbus, " in unknown
    assert lines_of(tmp_path, GOOD.replace("    driver: modbus\n", ""))[0].startswith("edge.yaml:11: drivers.0.driver")
    twice = GOOD + "  - {name: line-1, driver: simulated}\n"
    assert any("edge.yaml:17: drivers.1.name: stands twice" in line for line in lines_of(tmp_path, twice))
    tls = "broker: mqtts://b\ntls: {certificate: agent.pem}"
    assert "a certificate needs its key" in lines_of(tmp_path, GOOD.replace("broker: mqtt://192.168.1.5", tls))[0]
    (tmp_path / "agent.key").touch()
    tls = "broker: mqtts://b\ntls:\n  certificate: agent.pem\n  key: agent.key"
    assert lines_of(tmp_path, GOOD.replace("broker: mqtt://192.168.1.5", tls)) == [
        f"edge.yaml:6: tls.certificate: there is no file {tmp_path}/agent.pem; check the path"
    ]
    assert "broker" in lines_of(tmp_path, GOOD.replace("mqtt://", "tcp://"))[0]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EdgePermanentError, match="--config"):
        load_configuration(tmp_path / "none.yaml", {})


def test_check_lists_what_would_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD)
    assert main(["edge", "check", "--config", str(path)]) == 0
    assert "oven-electricity: energy (electricity), counter in kWh every 10 s, driver line-1" in capsys.readouterr().out
    assert main(["edge", "check", "--config", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [meter["meter"] for meter in told["meters"]] == ["oven-electricity", "oven-power"]
    assert list(tmp_path.iterdir()) == [path]


def test_check_says_what_a_driver_finds_wrong_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD.replace("power}", "pwoer}") + "  - {name: file, driver: replay, path: none.csv}\n")
    assert main(["edge", "check", "--config", str(path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"{path}:11: drivers.0: driver line-1: meter oven-power: profile abb-b23 has no quantity")
    assert said[1].startswith(f"{path}:17: drivers.1: ")
    assert main(["edge", "check", "--config", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_meter_of_two_drivers_is_refused(tmp_path: Path) -> None:
    second = GOOD[GOOD.index("  - name") :].replace("line-1", "line-2")
    problems = check(write(tmp_path, GOOD + second), {}).problems
    assert len(problems) == 1
    assert "oven-electricity, oven-power: offered twice (drivers line-1, line-2)" in problems[0]


def test_run_refuses_to_start_with_a_broken_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edge", "run", "--config", str(write(tmp_path, "agent: [")), "--until-stored"]) == 1
    assert "not valid YAML" in capsys.readouterr().err


def test_broker_urls() -> None:
    assert parse_broker_url("mqtts://me:p%40ss@[::1]:9") == BrokerUrl(
        host="::1", port=9, is_encrypted=True, user="me", password="p@ss"
    )
    assert str(parse_broker_url("mqtts://me:secret@b")) == "mqtts://me@b:8883"
    assert "secret" not in repr(parse_broker_url("mqtts://me:secret@b"))
    for wrong in ("b:1883", "mqtt://", "mqtt://b:x", "mqtt://b/topic", "http://b"):
        with pytest.raises(ValueError, match="broker address"):
            parse_broker_url(wrong)


class _Point:
    value = "acme.drivers:KIND"
    name = "acme"

    def __init__(self, found: object) -> None:
        self._found = found

    def load(self) -> object:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def test_third_parties_add_drivers_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = find_driver("modbus")
    monkeypatch.setattr("edge.drivers.entry_points", lambda group: [_Point(kind)])
    assert isinstance(find_driver("acme"), DriverKind)
    with pytest.raises(UnknownDriverError, match=r"known: acme, .*modbus, .*replay, simulated"):
        find_driver("other")
    for broken in (ImportError("no module"), object()):
        monkeypatch.setattr("edge.drivers.entry_points", lambda group, broken=broken: [_Point(broken)])
        with pytest.raises(EdgeError, match=r"acme\.drivers:KIND"):
            find_driver("acme")


def test_drivers_that_share_a_line_agree_on_its_terms(tmp_path: Path) -> None:
    def serial(name: str, baud: int, port: str = "/dev/ttyUSB0") -> str:
        return (
            f"  - {{name: {name}, driver: modbus, profile: abb-b23, meters: {{{name}: power}},\n"
            f"     serial: {{port: {port}, baud: {baud}}}}}\n"
        )

    good = GOOD.partition("drivers:")[0] + "drivers:\n"
    agreed = good + serial("oven", 9600) + serial("press", 9600) + serial("tap", 19200, "/dev/ttyUSB1")
    (tmp_path / "edge.yaml").write_text(agreed)
    assert len(load_configuration(tmp_path / "edge.yaml", {}).drivers) == 3
    (line,) = lines_of(tmp_path, good + serial("oven", 9600) + serial("press", 19200))
    assert "it uses /dev/ttyUSB0 with Modbus RTU, 19200 baud, parity none, stop bits 1, but driver oven with" in line
