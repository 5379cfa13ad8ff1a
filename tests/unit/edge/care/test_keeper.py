"""What became of configurations that were sent: over any order of messages, and a kill at each step."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.care.care import Care
from edge.care.files import CareFiles, CareFilesError
from edge.care.keeper import Keeper
from edge.care.state import MOST_STARTS, Order, digest
from edge.checking import offered_by
from edge.last_readings import LastReadings
from edge.outbox import Outbox
from edge.readings import Reading
from schemas.wire import Configuration
from schemas.wire import ConfigurationStanding as Standing

FIRST = "# as the technician wrote it\norganisation: acme\n"
NOW_MS = 1_795_298_400_000
RUNS = (
    "organisation: acme\nsite: hall\nagent: a\nbroker: mqtt://127.0.0.1:1\ndrivers:\n"
    "  - {name: m, driver: modbus, host: h, profile: eastron-sdm630, meters: {oven: power}}\n"
)


def text_of(version: int) -> str:
    return f"organisation: acme # version {version}\n"


def keeper_in(folder: Path) -> Keeper:
    return Keeper(folder / "edge.yaml", now_ms=lambda: NOW_MS)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    path.write_text(FIRST)
    path.chmod(0o640)
    return path


def take(keeper: Keeper, version: int, *meters: str) -> None:
    keeper.take(version, f"sent {version}", text_of(version), meters=meters)


def test_a_configuration_is_tried_and_kept(config: Path) -> None:
    keeper = keeper_in(config.parent)
    assert keeper.told().standing is Standing.LOCAL
    assert not (config.parent / "edge.yaml.state").exists()
    take(keeper, 1, "oven")
    assert config.read_text() == text_of(1)
    assert (config.parent / "edge.yaml.before").read_text() == FIRST
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert keeper.told().standing is Standing.ON_TRIAL
    keeper.pass_trial()
    again = keeper_in(config.parent)
    assert again.told().model_dump() == {"running": 1, "latest": 1, "standing": "applied", "reason": None}


def test_what_does_not_read_is_taken_back_to_the_last_that_did(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 3)
    keeper.pass_trial()
    take(keeper, 4, "oven")
    # A newer one comes before the trial is over: what was on trial is nothing to go back to.
    take(keeper, 5, "press")
    assert keeper.state.trial is not None
    assert keeper.state.trial.meters == ("oven", "press")
    assert keeper.roll_back("oven gave nothing")
    assert config.read_text() == text_of(3)
    told = keeper_in(config.parent).told()
    assert (told.running, told.latest, told.standing, told.reason) == (3, 5, Standing.ROLLED_BACK, "oven gave nothing")
    assert not keeper.roll_back("again")


def test_versions_only_rise(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 7)
    assert [keeper.order_of(v, f"sent {v}") for v in (8, 7, 6)] == [Order.NEW, Order.KNOWN, Order.OLD]
    assert keeper.order_of(7, "another text") is Order.CONFLICTING
    keeper.roll_back("no")
    # What was taken back is not taken again, and nothing before it.
    assert [keeper.order_of(v, f"sent {v}") for v in (8, 7, 6)] == [Order.NEW, Order.KNOWN, Order.OLD]


def test_a_refusal_during_a_trial_leaves_the_trial(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 1, "oven")
    keeper.refuse(2, "sent 2", "edge.yaml:1: no")
    assert keeper.state.trial is not None
    assert keeper.told().standing is Standing.REFUSED
    keeper.pass_trial()
    assert (keeper.told().running, keeper.told().standing) == (1, Standing.REFUSED)


def test_who_edits_the_file_on_the_spot_has_the_last_word(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 1, "oven")
    config.write_text("organisation: by hand\n")
    assert keeper.was_changed_by_hand()
    again = keeper_in(config.parent)
    assert config.read_text() == "organisation: by hand\n"
    assert (again.told().running, again.told().latest, again.told().standing) == (0, 1, Standing.LOCAL)
    assert not again.roll_back("no trial is on")
    assert again.order_of(1, "sent 1") is Order.KNOWN


def test_an_agent_that_ends_again_and_again_during_a_trial(config: Path) -> None:
    take(keeper_in(config.parent), 1, "oven")
    for _ in range(MOST_STARTS):
        assert keeper_in(config.parent).note_start()
    keeper = keeper_in(config.parent)
    assert not keeper.note_start()
    assert keeper.roll_back("it ended again and again")
    assert keeper.note_start()


def test_without_the_file_before_it_stays_and_says_so(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 1, "oven")
    (config.parent / "edge.yaml.before").unlink()
    assert not keeper.roll_back("oven gave nothing")
    told = keeper.told()
    assert told.standing is Standing.APPLIED
    assert "oven gave nothing; it could not be taken back" in (told.reason or "")


def test_what_somebody_wrote_during_a_trial_is_not_taken_back(config: Path) -> None:
    keeper = keeper_in(config.parent)
    take(keeper, 1, "oven")
    config.write_text("organisation: by hand\n")
    assert not keeper.roll_back("oven gave nothing")
    assert config.read_text() == "organisation: by hand\n"
    told = keeper.told()
    assert (told.running, told.standing) == (1, Standing.APPLIED)
    assert "edge.yaml was changed on the spot meanwhile; restart the agent" in (told.reason or "")
    # What is sent before that restart is refused still; afterwards, what was written is what runs.
    assert keeper.was_changed_by_hand()
    again = keeper_in(config.parent)
    assert (again.told().running, again.told().standing) == (0, Standing.LOCAL)


def test_a_later_one_that_was_refused_keeps_its_number(config: Path) -> None:
    """Version 1 was good, and waited for the meters to read; 2 came meanwhile, and was none."""
    keeper = keeper_in(config.parent)
    keeper.refuse(2, "sent 2", "edge.yaml:1: no")
    take(keeper, 1, "oven")
    assert keeper.state.trial is not None
    assert [keeper.order_of(v, f"sent {v}") for v in (3, 2, 1)] == [Order.NEW, Order.KNOWN, Order.OLD]
    keeper.pass_trial()
    told = keeper_in(config.parent).told()
    assert (told.running, told.latest, told.standing) == (1, 2, Standing.REFUSED)


def test_a_full_disk_keeps_no_agent_from_its_meters(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(RUNS)
    keeper = keeper_in(config.parent)
    keeper.take(1, "sent 1", RUNS + "window: 30\n", meters=("oven",))

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    care = Care(config, {})
    monkeypatch.setattr(os, "open", full)
    assert care.load().window == 30
    assert not care.has_fallen(RuntimeError("a defect"))
    monkeypatch.undo()
    # The one that began too often can't be taken back either, and reads what it can.
    for _ in range(MOST_STARTS):
        Care(config, {}).load()
    care = Care(config, {})
    monkeypatch.setattr(os, "open", full)
    assert care.load().window == 30
    monkeypatch.undo()
    assert care.load().window != 30


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread makes it true
        await asyncio.sleep(0.01)


async def test_a_file_that_is_away_for_a_moment_ends_no_agent(config: Path) -> None:
    """As while somebody edits it, and a configuration waits for the meters to read."""
    await asyncio.to_thread(config.write_text, RUNS)
    care = Care(config, {}, verify=lambda *_: None)
    configuration = care.load()
    outbox = cast("Outbox", SimpleNamespace(size_bytes=0))
    offers, _ = offered_by(configuration, RUNS, name="edge.yaml")
    last = LastReadings()
    care.begin(configuration, offers, last, outbox)
    running = asyncio.create_task(care.run())
    message = Configuration(version=1, sent_at=NOW_MS, body=RUNS + "window: 30\n", signature="YQ==")
    async with asyncio.timeout(30):
        care.hear(message.model_dump_json().encode())
        await until(lambda: care._accepted is not None)
        await asyncio.to_thread(config.unlink)
        last.note("m", [Reading(meter="oven", at_ms=NOW_MS, value=1.0, unit="kW")])
        await until(lambda: running.done() or care.told().standing is Standing.REFUSED)
        assert "edge.yaml cannot be read" in (care.told().reason or "")
        # It is not remembered, and so is taken when it comes again.
        await asyncio.to_thread(config.write_text, RUNS)
        care.hear(message.model_dump_json().encode())
        await running
    assert care.told().standing is Standing.ON_TRIAL
    assert care._keeper.text() == message.body


def test_a_state_that_cannot_be_read_is_told_and_the_file_stays(config: Path) -> None:
    (config.parent / "edge.yaml.state").write_text("{")
    keeper = keeper_in(config.parent)
    assert config.read_text() == FIRST
    assert keeper.told().latest == 0


def test_a_folder_that_cannot_be_written_leaves_all_as_it_was(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keeper_in(config.parent)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(CareFilesError, match=r"No space left on device.*make room"):
        take(keeper, 1)
    monkeypatch.undo()
    assert config.read_text() == FIRST
    assert keeper.told().standing is Standing.LOCAL
    take(keeper, 1)
    assert config.read_text() == text_of(1)


def test_a_link_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "site.yaml"
    real.write_text(FIRST)
    link = tmp_path / "edge.yaml"
    link.symlink_to(real)
    keeper = Keeper(link, now_ms=lambda: NOW_MS)
    take(keeper, 1)
    assert link.is_symlink()
    assert real.read_text() == text_of(1)
    assert (tmp_path / "real" / "site.yaml.before").read_text() == FIRST


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process of its own, which is killed before its nth change to the disk; whether it was."""
    process = os.fork()
    if process == 0:
        count = 0

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def changing(*arguments: object, **named: object) -> object:
                nonlocal count
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return changing

        Path.replace = counted(Path.replace)  # type: ignore[method-assign, assignment]
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign, assignment]
        os.open = counted(os.open)  # type: ignore[assignment]
        os.fdopen = counted(os.fdopen)  # type: ignore[assignment]
        os.fsync = counted(os.fsync)  # type: ignore[assignment]
        try:
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def each_kill(
    act: Callable[[Path], object], check: Callable[[Path], object], folder: Path, prepare: Callable[[Path], object]
) -> int:
    step = 0
    while True:
        step += 1
        here = folder / str(step)
        here.mkdir()
        (here / "edge.yaml").write_text(FIRST)
        prepare(here)
        was_killed = killed_at(step, lambda here=here: act(here))  # type: ignore[misc]
        check(here)
        if not was_killed:
            return step - 1


def test_a_kill_at_any_step_of_a_change(tmp_path: Path) -> None:
    """Either it never was, and the message comes again, or it is on trial; there is no half."""

    def check(here: Path) -> None:
        keeper = keeper_in(here)
        text = (here / "edge.yaml").read_text()
        assert text == (text_of(2) if keeper.state.trial else text_of(1))
        assert keeper.state.running.digest == digest(text.encode())
        assert keeper.order_of(2, "sent 2") is (Order.KNOWN if keeper.state.trial else Order.NEW)
        if not keeper.state.trial:
            take(keeper, 2, "oven")
        assert keeper.state.trial is not None
        assert keeper.roll_back("no")
        assert (here / "edge.yaml").read_text() == text_of(1)

    def prepare(here: Path) -> None:
        keeper = keeper_in(here)
        take(keeper, 1)
        keeper.pass_trial()

    kills = each_kill(lambda here: take(keeper_in(here), 2, "oven"), check, tmp_path, prepare)
    assert kills > 15


def test_a_kill_at_any_step_of_taking_back(tmp_path: Path) -> None:
    """Either the trial goes on, or what was before stands there."""

    def check(here: Path) -> None:
        keeper = keeper_in(here)
        text = (here / "edge.yaml").read_text()
        assert text == (text_of(2) if keeper.state.trial else text_of(1))
        assert keeper.told().running == (2 if keeper.state.trial else 1)
        if keeper.state.trial:
            assert keeper.roll_back("oven gave nothing")
        again = keeper_in(here)
        assert (here / "edge.yaml").read_text() == text_of(1)
        assert (again.told().standing, again.told().reason) == (Standing.ROLLED_BACK, "oven gave nothing")
        assert again.order_of(2, "sent 2") is Order.KNOWN

    def prepare(here: Path) -> None:
        keeper = keeper_in(here)
        take(keeper, 1)
        keeper.pass_trial()
        take(keeper, 2, "oven")
        assert keeper.note_start()

    kills = each_kill(lambda here: keeper_in(here).roll_back("oven gave nothing"), check, tmp_path, prepare)
    assert kills > 10


def test_a_kill_at_any_step_of_replacing_what_is_on_trial(tmp_path: Path) -> None:
    def check(here: Path) -> None:
        keeper = keeper_in(here)
        assert keeper.state.trial is not None
        version = keeper.told().running
        assert (here / "edge.yaml").read_text() == text_of(version)
        assert keeper.roll_back("no")
        assert (here / "edge.yaml").read_text() == FIRST

    def prepare(here: Path) -> None:
        keeper = keeper_in(here)
        take(keeper, 1, "oven")
        assert keeper.note_start()

    each_kill(lambda here: take(keeper_in(here), 2, "press"), check, tmp_path, prepare)


MESSAGES = st.tuples(st.sampled_from(["take", "take", "refuse", "pass", "fail", "restart"]), st.integers(1, 6))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(MESSAGES, max_size=25))
def test_no_order_of_messages_brings_an_older_version(
    events: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    here = tmp_path_factory.mktemp("care")
    config = here / "edge.yaml"
    config.write_text(FIRST)
    keeper = keeper_in(here)
    good, latest = 0, 0
    for event, version in events:
        match event:
            case "take" | "refuse":
                is_new = keeper.order_of(version, f"sent {version}") is Order.NEW
                assert is_new == (version > latest)
                if is_new:
                    latest = version
                    if event == "take":
                        take(keeper, version, "oven")
                    else:
                        keeper.refuse(version, f"sent {version}", "no")
            case "pass" if keeper.state.trial is not None:
                keeper.pass_trial()
                good = keeper.told().running
            case "fail":
                keeper.roll_back("oven gave nothing")
            case "restart":
                keeper = keeper_in(here)
        told = keeper.told()
        assert told.latest == latest
        # Whole, and known by its version: never half of one.
        assert config.read_text() == (text_of(told.running) if told.running else FIRST)
        if keeper.state.trial is None:
            assert told.running == good
        else:
            assert told.running > good
    assert CareFiles(config).state() == keeper.state or not (here / "edge.yaml.state").exists()
