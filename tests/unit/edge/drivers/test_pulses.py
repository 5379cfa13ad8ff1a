"""Counting pulses, keeping registers, and the driver on a chip that does not exist."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from edge.configuration import load_configuration
from edge.devices.pulses import SimulatedChip
from edge.drivers import DriverContext, now_ms
from edge.drivers.contract.seen import Seen, reading
from edge.drivers.pulses.counting import Edge, PulseCounter
from edge.drivers.pulses.driver import PulsesDriver
from edge.drivers.pulses.input import InputAwayError, Line, open_input
from edge.drivers.pulses.registers import Registers, RegistersUnavailableError, Start, Wanted, load_registers
from edge.drivers.pulses.settings import Active, Bias, PulsesSettings
from edge.errors import EdgePermanentError
from schemas.configuration import ConfigurationError

MS = 1_000_000
ENERGY = {"line": 17, "unit": "kWh", "resource": "energy", "pulses_per_unit": 1000}


def count(levels_ms: list[float], *, lose: frozenset[int] = frozenset()) -> PulseCounter:
    """A line that begins low and changes after each of these spans; the edges of these indexes get lost."""
    counter = PulseCounter(shortest_pulse_ns=10 * MS, shortest_gap_ns=10 * MS)
    at_ns = 0
    for i, span_ms in enumerate(levels_ms):
        at_ns += round(span_ms * MS)
        if i not in lose:
            counter.take(Edge(line=1, at_ns=at_ns, is_active=i % 2 == 0, number=i + 1))
    return counter


@pytest.mark.parametrize(
    ("levels_ms", "pulses"),
    [
        ([50, 30, 50, 30, 50, 30], 3),
        ([50, 9.9, 50, 30], 1),
        ([50, 10, 10, 10], 2),
        ([50, 1, 1, 1, 1, 30, 50], 1),
        ([50, 30, 1, 1, 2, 1, 50, 30], 2),
        ([50, 30, 5, 30], 1),
        ([0, 500], 1),
    ],
    ids=["clean", "a spike", "as short as can be", "bounces before", "bounces after", "a dip within", "at once"],
)
def test_what_counts_as_a_pulse(levels_ms: list[float], pulses: int) -> None:
    assert count(levels_ms).pulses == pulses


@given(
    pulses=st.lists(
        st.tuples(st.floats(20, 200), st.floats(20, 200), st.lists(st.floats(0.01, 1.5), max_size=6), st.booleans()),
        max_size=20,
    )
)
def test_a_bouncing_contact_gives_each_pulse_once(pulses: list[tuple[float, float, list[float], bool]]) -> None:
    levels: list[float] = []
    for gap_ms, length_ms, bounces, at_the_end in pulses:
        pairs = bounces[: len(bounces) // 2 * 2]
        levels += [gap_ms, length_ms, *pairs] if at_the_end else [gap_ms, *pairs, length_ms]
    # What bounces at a pulse's end makes the gap after it begin later; it ends with a level of its own.
    assert count([*levels, 500, 500]).pulses == len(pulses) + 1


@given(spans=st.lists(st.floats(0, 40), max_size=60), lost=st.frozensets(st.integers(0, 59), max_size=20))
def test_lost_edges_make_no_pulses(spans: list[float], lost: frozenset[int]) -> None:
    heard = count(spans, lose=lost)

    assert heard.pulses <= count(spans).pulses or heard.lost_edges > 0
    assert heard.pulses <= (len(spans) + 1) // 2
    seen = [i for i in range(len(spans)) if i not in lost]
    assert heard.lost_edges == (max(seen) + 1 - len(seen) if seen else 0)


class PowerCut(BaseException):
    """The plug is pulled at this instant."""


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("pulse"), st.integers(1, 500)),
            st.tuples(st.just("read"), st.just(0)),
            st.tuples(st.just("full disk"), st.just(0)),
            st.tuples(st.just("cut"), st.sampled_from(["fsync", "replace", "after"])),
        ),
        max_size=40,
    )
)
def test_no_register_falls_below_what_was_told_and_no_pulse_counts_twice(
    steps: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Told is what a save came before, as the driver does it. A cut loses at most the pulses since the last save."""
    path = tmp_path_factory.mktemp("registers") / "registers.json"
    wanted = {"m": Wanted(unit="kWh", per_pulse=Fraction(1, 1000), start=Start(value=Fraction("10234.5")))}
    registers = Registers(path, wanted)
    told, given_pulses, lost_at_most = Fraction(0), 0, 0
    since_read = 0
    for what, how in steps:
        if what == "pulse":
            registers.count("m", how)
            given_pulses += how
            since_read += how
            continue
        with pytest.MonkeyPatch.context() as patch:
            cut: Callable[..., Any] | None = _fails if what == "full disk" else _cuts
            if what == "full disk" or how == "fsync":
                patch.setattr(os, "fsync", cut)
            elif how == "replace":
                patch.setattr(Path, "replace", cut)
            snapshot = registers.snapshot()
            try:
                registers.save(snapshot)
            except RegistersUnavailableError:
                continue
            except PowerCut:
                lost_at_most += since_read
                registers, since_read = Registers(path, wanted), 0
            else:
                told = max(told, snapshot["m"].value)
                since_read = 0
                if what == "cut":
                    registers = Registers(path, wanted)
        now = registers.snapshot()["m"].value
        assert now >= told
        counted = (now - Fraction("10234.5")) * 1000
        assert given_pulses - lost_at_most <= counted <= given_pulses


def _fails(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def _cuts(*_: Any) -> None:
    raise PowerCut


def register_of(
    path: Path, *, unit: str = "l", per_pulse: Fraction = Fraction(10), start: Start | None = None
) -> Fraction:
    registers = Registers(path, {"m": Wanted(unit=unit, per_pulse=per_pulse, start=start)})
    registers.save(registers.snapshot())
    return registers.snapshot()["m"].value


def test_a_start_value_sets_the_register_once(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    start = Start(value=Fraction(500), day="2026-01-05")
    registers = Registers(path, {"m": Wanted(unit="l", per_pulse=Fraction(10), start=start)})
    registers.count("m", 3)
    registers.save(registers.snapshot())

    assert register_of(path, start=start) == 530
    assert register_of(path) == 530
    assert register_of(path, per_pulse=Fraction(1), start=start) == 530
    assert register_of(path, start=Start(value=Fraction(500), day="2026-02-05")) == 500


def test_what_was_never_saved_is_told(tmp_path: Path) -> None:
    registers = Registers(tmp_path / "r.json", {"m": Wanted(unit="l", per_pulse=Fraction(10))})
    registers.count("m", 3)

    assert registers.unsaved() == 3
    registers.save(registers.snapshot())
    registers.count("m", 2)
    assert registers.unsaved() == 2


def test_another_unit_needs_another_start(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    register_of(path)

    with pytest.raises(EdgePermanentError, match="kept in l and the settings say m3"):
        register_of(path, unit="m3")
    assert register_of(path, unit="m3", start=Start(value=Fraction(2))) == 2


def test_a_meter_that_comes_back_finds_its_register(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    register_of(path, start=Start(value=Fraction(7)))
    others = Registers(path, {"other": Wanted(unit="l", per_pulse=Fraction(1))})
    others.save(others.snapshot())

    assert register_of(path, start=Start(value=Fraction(7))) == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged.*start_value"),
        ('{"format": 1, "registers": {"m": {"unit": "l"}}}', "damaged.*start_value"),
        (
            '{"format": 1, "registers": {"m": {"unit":"l","base":"1/0","pulses":1,"per_pulse":"1","start":null}}}',
            "damaged",
        ),
        ('{"format": 2, "places": {}}', "newer version"),
        ("\x00" * 200, "damaged"),
    ],
    ids=["empty", "incomplete", "no number", "newer", "zeros"],
)
def test_a_file_that_cannot_be_used_says_what_to_do(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text, encoding="utf-8")

    with pytest.raises(EdgePermanentError, match=words):
        register_of(tmp_path / "r.json")


def make(folder: Path, chip: SimulatedChip, *, now_ms: Callable[[], int] = now_ms, **more: Any) -> Seen:
    entry = {"name": "s0", "driver": "pulses", "chip": chip.chip, "every": "20ms", "meters": {"hall": ENERGY}}

    def count_failure() -> None:
        seen.failures += 1

    context = DriverContext(agent="a", folder=folder, count_failure=count_failure, now_ms=now_ms)
    seen = Seen(driver=PulsesDriver(PulsesSettings.model_validate(entry | more), context))
    return seen


async def test_a_register_that_stands_still_is_told_and_not_written(tmp_path: Path) -> None:
    chip = SimulatedChip("still")
    seen = make(tmp_path, chip)
    async with reading(seen):
        await seen.until(lambda: len(seen.taken) > 0, "the first reading")
        chip.pulse(17, 5)
        await seen.until(lambda: seen.values() == {"hall": 0.005}, "five pulses")
        written = (tmp_path / "s0-registers.json").stat().st_ino
        before = len(seen.taken)
        await seen.until(lambda: len(seen.taken) > before + 3, "more readings")
    assert (tmp_path / "s0-registers.json").stat().st_ino == written
    assert {value for _, value in seen.all_values()} == {0.0, 0.005}


async def test_the_last_pulses_before_a_stop_are_kept(tmp_path: Path) -> None:
    chip = SimulatedChip("stop")
    seen = make(tmp_path, chip, every="1h")
    async with reading(seen):
        await seen.until(lambda: len(seen.taken) > 0, "the first reading")
        chip.pulse(17, 7)
        await seen.until(lambda: chip.is_read, "the pulses taken")
    again = make(tmp_path, chip)
    async with reading(again):
        await again.until(lambda: again.values() == {"hall": 0.007}, "what was counted before the stop")


async def test_nothing_is_told_that_is_not_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = SimulatedChip("full")
    seen = make(tmp_path, chip)
    async with reading(seen):
        await seen.until(lambda: len(seen.taken) > 0, "the first reading")
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(os, "fsync", _fails)
            chip.pulse(17, 3)
            await seen.until(lambda: seen.failures > 1, "failures counted")
        assert [line["action"] for line in logs] == ["pulses.unsaved"]
        assert seen.values() == {"hall": 0.0}
        await seen.until(lambda: seen.values() == {"hall": 0.003}, "the pulses, once the disk has room")


async def test_a_save_that_is_cut_short_ends_before_the_last_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads at one file would leave it damaged, or with the older count."""
    chip = SimulatedChip("cancelled")
    driver = make(tmp_path, chip).driver
    fsync, began, go_on = os.fsync, threading.Event(), threading.Event()
    writing: list[int] = []
    most = 0

    def slowly(handle: int) -> None:
        nonlocal most
        writing.append(handle)
        most = max(most, len(writing))
        began.set()
        assert go_on.wait(30)
        fsync(handle)
        writing.pop()

    async def read() -> None:
        await driver.start()
        async for _ in driver.readings():
            monkeypatch.setattr(os, "fsync", slowly)
            chip.pulse(17, 3)

    task = asyncio.create_task(read())
    await asyncio.to_thread(began.wait, 30)
    chip.pulse(17, 2)
    task.cancel()
    await asyncio.sleep(0.05)  # time enough for a second thread to begin
    go_on.set()
    await asyncio.wait([task])
    assert most == 1
    assert load_registers(tmp_path / "s0-registers.json")["hall"].pulses == 5


async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.pulses.driver._SAVE_MS", 20)
    back_ms = 0
    seen = make(tmp_path, SimulatedChip("clock"), every="100ms", now_ms=lambda: now_ms() - back_ms)
    async with reading(seen):
        await seen.until(lambda: len(seen.taken) > 0, "the first reading")
        back_ms = 3_600_000
        await seen.until(lambda: len(seen.taken) > 3, "the next ones")


def test_a_file_of_registers_has_one_driver(tmp_path: Path) -> None:
    drivers = [
        {"name": name, "driver": "pulses", "meters": {name: ENERGY}, **more}
        for name, more in (("s0", {}), ("s1", {"file": "./s0-registers.json"}))
    ]
    text = {"organisation": "o", "site": "s", "agent": "a", "broker": "mqtt://localhost", "drivers": drivers}
    (tmp_path / "edge.yaml").write_text(json.dumps(text), encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"it uses the file s0-registers\.json .* driver s0"):
        load_configuration(tmp_path / "edge.yaml", {})


async def test_edges_that_the_kernel_lost_are_told(tmp_path: Path) -> None:
    chip = SimulatedChip("lost")
    seen = make(tmp_path, chip)
    with capture_logs() as logs:
        async with reading(seen):
            await seen.until(lambda: len(seen.taken) > 0, "the first reading")
            chip.pulse(17)
            chip.lose(17, 6)
            chip.pulse(17, 2)  # nobody knows how long the gap before the first of them was
            await seen.until(lambda: seen.failures > 0, "a failure")
            await seen.until(lambda: seen.values() == {"hall": 0.002}, "the pulses that came")
    assert [(line["action"], line["meter"]) for line in logs if line["log_level"] == "warning"] == [
        ("pulses.missed", "hall")
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 0.001}, "one of the two"),
        ({"pulses_per_unit": None}, "one of the two"),
        ({"kind": "rate", "unit": "kW"}, "pulses make a counter"),
        ({"start_date": "2026-01-05"}, "needs the `start_value`"),
        ({"shortest_pulse": "11s"}, "longer than 10s"),
    ],
    ids=["both", "neither", "rate", "date alone", "long"],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PulsesSettings.model_validate({"name": "s0", "driver": "pulses", "meters": {"hall": ENERGY | change}})


def test_a_line_is_one_meters() -> None:
    with pytest.raises(ValidationError, match="line 17 stands twice"):
        PulsesSettings.model_validate({"name": "s0", "driver": "pulses", "meters": {"a": ENERGY, "b": ENERGY}})


async def test_a_chip_that_is_not_there_is_told_in_words() -> None:
    with pytest.raises(InputAwayError, match="no GPIO chip /dev/gpiochip-none"):
        open_input("/dev/gpiochip-none", {17: Line(active=Active.LOW, bias=Bias.PULL_UP, shortest_ms=10)})
    with pytest.raises(InputAwayError, match=r"/dev/null (cannot|or no such)"):
        open_input("/dev/null", {17: Line(active=Active.LOW, bias=Bias.PULL_UP, shortest_ms=10)})
