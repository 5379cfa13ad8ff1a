"""`edge init`: the answers of a technician become an edge.yaml that the agent takes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.cli import main
from edge.commissioning.catalogue import catalogue
from edge.commissioning.interview import AnswersEndedError, Interview
from edge.drivers.profile import Protocol

MODBUS = [entry.name for entry in catalogue(Protocol.MODBUS)]
MBUS = [entry.name for entry in catalogue(Protocol.MBUS)]
ENTRIES = catalogue()
IDENTITY = ["acme", "hall", "cabinet-1", "mqtt://192.168.1.5:1883"]


def number(names: Sequence[str], name: str) -> str:
    return str(names.index(name) + 1)


OVEN = ["1", "oven", "192.168.1.20", "", "", "7", number(MODBUS, "abb-b23"), "-", "oven-electricity", "-"]
NO_MORE = ["5"]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "edge.yaml"


def run(monkeypatch: pytest.MonkeyPatch, answers: Sequence[str], *options: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{one}\n" for one in answers)))
    return main(["edge", "init", *options])


def test_two_meters_from_nothing(
    answer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heat = ["4", "heat", "/dev/ttyUSB0", "", "1", "17", number(MBUS, "mbus-heat"), *["" for _ in range(40)]]
    quantities = len(next(entry for entry in catalogue() if entry.name == "mbus-heat").quantities)
    assert run(monkeypatch, [*IDENTITY, *OVEN, *heat[: 7 + quantities], *NO_MORE]) == 0
    said = capsys.readouterr()
    assert "edge.yaml is written" in said.out
    text = answer.read_text()
    assert text.startswith("# The agent's configuration")
    found = yaml.safe_load(text)
    assert (found["organisation"], found["broker"]) == ("acme", "mqtt://192.168.1.5:1883")
    oven, other = found["drivers"]
    assert oven == {
        "name": "oven",
        "driver": "modbus",
        "host": "192.168.1.20",
        "port": 502,
        "device_id": 7,
        "profile": "abb-b23",
        "meters": {"oven-electricity": "energy-import"},
    }
    assert other["serial"] == {"port": "/dev/ttyUSB0", "baud": 2400, "parity": "even"}
    assert (other["address"], len(other["meters"])) == (17, quantities)
    assert main(["edge", "check", "--config", str(answer)]) == 0


def test_a_serial_server_and_a_port_on_usual_terms(
    answer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = [number(MODBUS, "eastron-sdm72"), "", "-", "-"]
    server = ["1", "oven", "192.168.1.20", "4001", "2", "7", *profile]
    serial = ["2", "press", "/dev/ttyUSB0", "9601", "19200", "1", "3", *profile]
    assert run(monkeypatch, [*IDENTITY, *server, *serial, *NO_MORE]) == 0
    oven, press = yaml.safe_load(answer.read_text())["drivers"]
    assert (oven["port"], oven["framing"]) == (4001, "rtu")
    assert press["serial"] == {"port": "/dev/ttyUSB0", "baud": 19200, "parity": "even"}
    assert "one of 1200, 2400, 4800" in capsys.readouterr().err


def test_what_enrolling_wrote_stays_as_it_is(answer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = "# mine\norganisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://10.0.0.1:1883\n"
    answer.write_text(before)
    assert run(monkeypatch, [*OVEN, *NO_MORE]) == 0
    assert answer.read_text().startswith(before)
    assert main(["edge", "check", "--config", str(answer)]) == 0


def test_a_file_with_drivers_is_left_alone_unless_told(
    answer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [*IDENTITY, *OVEN, *NO_MORE]) == 0
    first = answer.read_text()
    assert run(monkeypatch, [*IDENTITY, *OVEN, *NO_MORE]) == 1
    assert "has drivers already" in capsys.readouterr().err
    assert answer.read_text() == first
    assert run(monkeypatch, [*IDENTITY[:2], "cabinet-2", IDENTITY[3], *OVEN, *NO_MORE], "--force") == 0
    assert yaml.safe_load(answer.read_text())["agent"] == "cabinet-2"
    assert answer.with_name("edge.yaml.before-init").read_text() == first


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["Acme Ltd", *IDENTITY, *OVEN], "a key has lower-case letters"),
        ([*IDENTITY[:3], "192.168.1.5", IDENTITY[3], *OVEN], "not a broker address"),
        ([*IDENTITY, "9", *OVEN], "a whole number from 1 to 5"),
        ([*IDENTITY, *OVEN[:2], "http://192.168.1.20", *OVEN[2:]], "without http://"),
        ([*IDENTITY, *OVEN[:5], "0", "248", *OVEN[5:]], "a whole number from 1 to 247"),
        ([*IDENTITY, *OVEN[:7], "-", "-", "-", *OVEN[7:]], "At least one value"),
        ([*IDENTITY, "2", "oven", "COM3", "/dev/ttyS0", "", "1", "7", OVEN[6], *OVEN[7:]], "begins with /dev/"),
        (
            [*IDENTITY, *OVEN, "1", "oven", "other", "h", "", "", "8", OVEN[6], "-", "oven-electricity", "b", "-"],
            "of another meter",
        ),
    ],
)
def test_a_wrong_answer_is_said_and_asked_again(
    wrong: list[str], words: str, answer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [*wrong, *NO_MORE]) == 0
    assert words in capsys.readouterr().err
    assert answer.exists()


def test_answers_that_end_early_write_nothing(
    answer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [*IDENTITY, *OVEN[:5]]) == 1
    assert "the answers ended before the questions" in capsys.readouterr().err
    assert run(monkeypatch, [*IDENTITY, *NO_MORE]) == 1
    assert "nothing is to be read" in capsys.readouterr().err
    assert not answer.exists()


@settings(deadline=None)
@given(
    answers=st.lists(
        st.text(max_size=12) | st.sampled_from(["1", "2", "3", "4", "a", "/dev/tty", "-", ""]), max_size=40
    )
)
def test_no_answers_break_it(answers: list[str]) -> None:
    given_ = iter(answers)

    def ask(_question: str) -> str:
        try:
            return next(given_)
        except StopIteration:
            raise AnswersEndedError from None

    interview = Interview(ask=ask, say=lambda _: None, entries=ENTRIES)
    try:
        drivers = interview.drivers()
    except AnswersEndedError:
        return
    assert len({driver["name"] for driver in drivers}) == len(drivers)
