"""What a damaged outbox still holds comes back, each message for itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.cli import main
from edge.batch import Gathering
from edge.errors import EdgePermanentError
from edge.outbox import Outbox, WhenFull
from edge.outbox_file import to_format
from edge.outbox_rescue import take_back
from edge.readings import Reading, Taken

NOW_MS = 1_795_298_400_000
MESSAGES, EACH = 200, 50


def now_ms() -> int:
    return NOW_MS


def open_outbox(path: Path) -> Outbox:
    return Outbox(path, max_bytes=10_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=now_ms)


def value(message: int, meter: int) -> float:
    return message + meter / 100


def fill(path: Path) -> None:
    with closing(open_outbox(path)) as outbox:
        for message in range(MESSAGES):
            gathering = Gathering(max_readings=EACH, max_age_s=0, max_bytes=256_000)
            readings = [
                Reading(meter=f"m{meter}", at_ms=NOW_MS + message, value=value(message, meter), unit="kWh")
                for meter in range(EACH)
            ]
            gathering.add(Taken(readings=readings), 0)
            outbox.append(gathering.take(now_ms=now_ms))
        outbox.confirm(outbox.epoch, 10)


def held(path: Path) -> set[tuple[str, int, float]]:
    def rows(outbox: Outbox) -> Iterator[tuple[str, int, float]]:
        for waiting in outbox.window(0, 10_000):
            said = json.loads(waiting.payload)
            for meter, at, number in zip(said["meter"], said["at"], said["value"], strict=True):
                yield said["meters"][meter], at, number

    with closing(open_outbox(path)) as outbox:
        return set(rows(outbox))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "outbox.sqlite")
    return tmp_path / "outbox.sqlite"


def spoil(path: Path) -> None:
    """Some pages in the middle are noise."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 3 * 4096)


@pytest.mark.parametrize("version", [1, 2])
def test_all_but_what_is_gone_comes_back(path: Path, tmp_path: Path, version: int) -> None:
    before = held(path)
    assert len(before) == (MESSAGES - 10) * EACH
    if version == 1:
        to_format(path, 1)
    spoil(path)
    damaged = path.rename(tmp_path / "outbox.sqlite.damaged-1")
    kept = damaged.read_bytes()
    with closing(open_outbox(path)) as outbox:
        found = take_back(damaged, outbox, now_ms=now_ms)
    after = held(path)
    assert after < before
    assert len(after) == found.readings == found.messages * EACH
    assert found.messages + found.gone == MESSAGES - 10
    assert 0 < found.gone < 40
    assert damaged.read_bytes() == kept


def test_twice_is_no_harm_and_nothing_is_given_up_for_it(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(open_outbox(other)) as outbox:
        for _ in range(2):
            found = take_back(path, outbox, now_ms=now_ms)
            assert (found.messages, found.gone) == (MESSAGES - 10, 0)
        assert outbox.state().dropped_readings == 0
    assert held(other) == held(path)


def test_a_file_of_which_nothing_is_left_is_said(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xa5" * 100_000)
    with closing(open_outbox(tmp_path / "o")) as outbox:
        with pytest.raises(EdgePermanentError, match=r"nothing of .* can be read"):
            take_back(tmp_path / "noise", outbox, now_ms=now_ms)
        with pytest.raises(EdgePermanentError, match="there is no file"):
            take_back(tmp_path / "none", outbox, now_ms=now_ms)


def test_the_command(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(path)
    damaged = path.rename(tmp_path / "outbox.sqlite.damaged-1")
    config = tmp_path / "edge.yaml"
    config.write_text(
        "organisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://127.0.0.1:1\n"
        "drivers: [{name: f, driver: replay, path: m.csv}]\n"
    )
    assert main(["edge", "outbox", "--config", str(config), "--take-back", str(damaged)]) == 0
    said = capsys.readouterr().out
    assert "readings of" in said
    assert "messages are gone" in said
    assert main(["edge", "outbox", "--config", str(config), "--take-back", str(tmp_path / "none")]) == 1
    assert "there is no file" in capsys.readouterr().err
