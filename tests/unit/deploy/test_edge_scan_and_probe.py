"""`afkobling edge scan` and `edge probe` as a technician types them."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.cli import main
from deploy.commands.modbus_line import add_line, lines_of, options_of
from edge.devices.modbus import ModbusBank, TcpModbusDevices
from edge.drivers.modbus.profile import load_modbus_profile

SITE = "organisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://127.0.0.1\ndrivers:\n"
VALUES = {"power": 0.0, "energy-import": 10_234.5, "energy-export": 12.5, "voltage-l1": 231.0, "voltage-l2": 229.5}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def meter() -> Iterator[str]:
    """The port of an EM340 under id 3, on an event loop of its own."""
    bank = ModbusBank()
    device = bank.add(3)
    profile = load_modbus_profile("carlo-gavazzi-em340", folder=Path())
    device.show(profile, VALUES | {"voltage-l3": 230.0, "power-l1": 0.0, "power-l2": 0.0, "power-l3": 0.0})
    loop, devices = asyncio.new_event_loop(), TcpModbusDevices(bank)
    loop.run_until_complete(devices.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield str(devices.port)
    finally:
        asyncio.run_coroutine_threadsafe(devices.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*words: object) -> tuple[int, str, str]:
        status = main(["edge", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return go


def test_a_scan_names_the_profile_and_what_to_do_next(run: Run, meter: str) -> None:
    status, out, err = run("scan", "modbus", "--host", "127.0.0.1", "--port", meter, "--ids", "1-4")
    assert status == 0
    assert "  id 3    carlo-gavazzi-em340 (voltage-l1 231 V)" in out
    (following,) = (line.removeprefix("then: afkobling edge ") for line in out.splitlines() if line.startswith("then:"))
    status, out, _ = run(*following.split(), "--seconds", "0.01")
    assert (status, out.splitlines()[0]) == (0, f"127.0.0.1:{meter}/3, carlo-gavazzi-em340")
    assert f"127.0.0.1:{meter} (Modbus TCP): id 3 answers" in err


def test_a_scan_as_json(run: Run, meter: str) -> None:
    status, out, _ = run("scan", "modbus", "--host", "127.0.0.1", "--port", meter, "--ids", "3,4", "--json")
    told = json.loads(out)
    (line,) = told["lines"]
    (device,) = line["found"]
    assert (status, told["ok"], line["asked"], device["device_id"]) == (0, True, 2, 3)
    assert device["answer"].startswith("it has no such register")
    assert device["profiles"][0]["name"] == "carlo-gavazzi-em340"


def test_a_scan_that_finds_nobody(run: Run, meter: str) -> None:
    status, out, _ = run("scan", "modbus", "--host", "127.0.0.1", "--port", meter, "--ids", "8-9")
    assert status == 1
    assert out.startswith("nobody answers\n- is the device switched on")
    status, out, err = run("scan", "modbus", "--host", "127.0.0.1", "--port", "1")
    assert (status, out) == (1, "")
    assert err.startswith("afkobling: 127.0.0.1:1 refuses the connection")


def test_a_probe_by_profile(run: Run, meter: str) -> None:
    where = ("--host", "127.0.0.1", "--port", meter, "--device-id", "3", "--seconds", "0.01")
    status, out, _ = run("probe", "--profile", "carlo-gavazzi-em340", *where)
    assert status == 0
    assert [line.split()[:4] for line in out.splitlines()[2:3]] == [["energy-import", "10,234.5", "kWh", "plausible"]]
    status, out, _ = run("probe", "--profile", "carlo-gavazzi-em340", *where, "--json")
    (device,) = json.loads(out)["devices"]
    values = {value["name"]: value for value in device["values"]}
    assert (status, device["ok"], values["voltage-l1"]["verdict"]) == (0, True, "plausible")
    assert [one["value"] for one in values["energy-import"]["values"]] == [10_234.5, 10_234.5]
    status, out, _ = run("probe", "--profile", "abb-b23", *where)
    assert status == 1
    assert "  what to try:\n  - the profile: through carlo-gavazzi-em" in out


def test_what_holds_for_all_values_is_said_once(run: Run, meter: str) -> None:
    where = ("--host", "127.0.0.1", "--port", meter, "--device-id", "4")
    status, out, _ = run("probe", "--profile", "carlo-gavazzi-em340", *where)
    assert status == 1
    assert out.splitlines()[1].startswith("  no value at all: refused: the gateway has no path to it")
    assert out.splitlines()[2] == "  what to try:"


@pytest.mark.parametrize(
    "words",
    [
        ("--host", "10.0.0.1"),
        ("--host", "gateway", "--port", "4001", "--framing", "rtu"),
        ("--serial", "/dev/ttyUSB0", "--baud", "19200", "--parity", "even"),
        ("--serial", "/dev/ttyUSB0", "--baud", "9600", "--parity", "none", "--stop-bits", "2"),
    ],
)
def test_a_line_is_told_as_it_is_typed(words: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser()
    add_line(parser, required=True)
    (line,) = lines_of(parser.parse_args(words), try_usual=True)
    assert options_of(line) == " ".join(words)


def test_a_probe_of_a_configuration(run: Run, meter: str, tmp_path: Path) -> None:
    (tmp_path / "meters.csv").write_text(
        "at,meter,value,unit,resource,kind,carrier\n"
        "2026-01-05T06:00:00Z,tap,10.5,m3,water,counter,\n2026-01-05T06:15:00Z,tap,10.2,m3,water,counter,\n"
    )
    oven = (
        f"host: 127.0.0.1, port: {meter}, device_id: 3, profile: carlo-gavazzi-em340, meters: {{oven: energy-import}}"
    )
    path = tmp_path / "edge.yaml"
    path.write_text(
        f"{SITE}  - {{name: oven, driver: modbus, {oven}}}\n"
        "  - {name: water, driver: replay, path: meters.csv, speed: max}\n"
    )
    status, out, _ = run("probe", "--config", path, "oven", "--seconds", "0.01")
    assert status == 0
    assert "energy-import → oven" in out
    status, out, _ = run("probe", "--config", path, "--seconds", "0.5", "--json")
    oven_told, water = json.loads(out)["devices"]
    assert (status, oven_told["ok"], water["ok"]) == (1, True, False)
    (tap,) = water["values"]
    assert (tap["meter"], tap["verdict"]) == ("tap", "implausible")
    assert tap["remark"] == "it fell by 0.3 m3 while we looked; a counter only rises"
    assert not (tmp_path / "outbox.sqlite").exists()


def test_a_driver_that_brings_nothing_says_why(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(
        f"{SITE}  - {{name: press, driver: http_json, url: 'http://127.0.0.1:1', mapping: shelly-gen2,\n"
        "     meters: {press: em-energy}}\n"
    )
    status, out, _ = run("probe", "--config", path, "press", "--seconds", "0.5", "--json")
    (device,) = json.loads(out)["devices"]
    assert (status, device["ok"]) == (1, False)
    assert device["values"][0]["verdict"] == "missing"
    assert device["advice"][0].startswith("the device is away; it is tried again: no connection")


def test_a_driver_that_cannot_be_made_keeps_nobody_from_the_others(run: Run, meter: str, tmp_path: Path) -> None:
    def modbus(name: str, quantity: str) -> str:
        where = f"host: 127.0.0.1, port: {meter}, device_id: 3, profile: carlo-gavazzi-em340"
        return f"  - {{name: {name}, driver: modbus, {where}, meters: {{{name}: {quantity}}}}}\n"

    path = tmp_path / "edge.yaml"
    path.write_text(SITE + modbus("oven", "heat") + modbus("press", "power"))
    status, out, _ = run("probe", "--config", path, "--seconds", "0.01", "--json")
    oven, press = json.loads(out)["devices"]
    assert (status, oven["ok"], press["ok"]) == (1, False, True)
    assert "profile carlo-gavazzi-em340 has no quantity 'heat'" in oven["advice"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("scan", "modbus", "--host", "h", "--ids", "0"), "'0' are no device ids; write 1-247"),
        (("scan", "modbus", "--host", "h", "--port", "0"), "0 is no TCP port"),
        (("scan", "modbus", "--host", "h", "--baud", "9600"), "--baud goes with --serial"),
        (("scan", "modbus", "--serial", "/dev/x", "--framing", "tcp"), "--port and --framing go with --host"),
        (("probe",), "edge.yaml cannot be read"),
        (("probe", "--config", "edge.yaml", "--profile", "p"), "give either --config edge.yaml"),
        (("probe", "--profile", "abb-b23"), "say where the device is: --host ADDRESS, or --serial"),
        (("probe", "oven", "--profile", "abb-b23", "--host", "h"), "'oven' is a driver of a configuration"),
        (("probe", "--profile", "abb", "--host", "h"), "there is no profile 'abb'; known for modbus: abb-b23"),
        (
            ("probe", "--profile", "abb-b23", "--serial", "/dev/x", "--device-id", "0"),
            "0 is no device id; it is from 1",
        ),
        (("probe", "--profile", "abb-b23", "--host", "h", "--seconds", "0"), "--seconds is more than 0"),
        (("probe", "--config", "edge.yaml", "--host", "h"), "--host goes with --profile"),
        (("probe", "--config", "none.yaml"), "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_make_no_sense(run: Run, words: tuple[str, ...], told: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert err.startswith("afkobling: ")
    assert told in err


def test_a_driver_that_the_configuration_has_not(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(f"{SITE}  - {{name: water, driver: replay, path: meters.csv}}\n")
    assert "has no driver 'tap'; known: water" in run("probe", "--config", path, "tap")[2]


def test_spans_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for word, text in (("5", "is not a span of time"), ("0ms", "longer than nothing")):
        with pytest.raises(SystemExit):
            main(["edge", "scan", "modbus", "--host", "h", "--timeout", word])
        assert text in capsys.readouterr().err
