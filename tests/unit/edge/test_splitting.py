"""A message that the broker does not take is split, whole and exactly."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.batch import Draft, Gathering, split_message
from edge.outbox import Outbox, WhenFull
from edge.readings import Reading, Taken
from schemas.resources import Quality, RunState
from schemas.topics import Kind
from schemas.wire import Readings, Runs, RunSpan

NOW_MS = 1_795_298_400_000


def now_ms() -> int:
    return NOW_MS


names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100)
readings = st.builds(
    Reading,
    meter=names,
    at_ms=st.integers(-(2**53) + 1, 2**53 - 1),
    value=st.floats(allow_nan=False, allow_infinity=False),
    unit=names.map(lambda name: name[:20]),
    quality=st.sampled_from([int(quality) for quality in Quality]),
)


def payload(taken: Taken) -> bytes:
    gathering = Gathering(max_readings=50_000, max_age_s=1, max_bytes=900_000)
    gathering.add(taken, 0)
    [draft] = gathering.take(now_ms=now_ms)
    return draft.encode("E", 5)


def said(drafts: list[Draft]) -> list[tuple[str, str, int, float, int]]:
    found = []
    for nth, draft in enumerate(drafts):
        one = Readings.model_validate_json(draft.encode("E", 6 + nth))
        quality = one.quality or [0] * len(one.at)
        assert draft.readings == len(one.at)
        found += [
            (one.meters[m], one.units[m], at, value, q)
            for m, at, value, q in zip(one.meter, one.at, one.value, quality, strict=True)
        ]
    return found


@given(st.lists(readings, min_size=1, max_size=60), st.integers(1_500, 5_000))
def test_all_readings_are_in_the_parts_and_each_part_fits(taken: list[Reading], limit: int) -> None:
    drafts = split_message(Kind.READINGS, payload(Taken(readings=taken)), max_bytes=limit, now_ms=now_ms)
    assert said(drafts) == [(r.meter, r.unit, r.at_ms, r.value, r.quality) for r in taken]
    assert all(len(draft.encode("E" * 26, 10**12)) <= limit for draft in drafts)


def test_what_no_message_can_hold_is_not_split() -> None:
    one = [Reading(meter="m" * 100, at_ms=NOW_MS, value=1.0, unit="kWh")]
    assert split_message(Kind.READINGS, payload(Taken(readings=one)), max_bytes=150, now_ms=now_ms) == []


def test_runs_are_split_too() -> None:
    runs = [
        RunSpan(run=f"r{nth}", line="press", state=RunState.IDLE, start=NOW_MS + nth, end=NOW_MS + nth + 1)
        for nth in range(20)
    ]
    drafts = split_message(Kind.RUNS, payload(Taken(runs=runs)), max_bytes=3_500, now_ms=now_ms)
    assert len(drafts) == 10
    found = [run for draft in drafts for run in Runs.model_validate_json(draft.encode("E", 9)).runs]
    assert found == runs


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.data())
@settings(max_examples=25, deadline=None)
def test_the_outbox_holds_the_same_readings_before_and_after(sizes: list[int], data: st.DataObject) -> None:
    with (
        TemporaryDirectory() as folder,
        closing(Outbox(Path(folder) / "o", max_bytes=10**7, when_full=WhenFull.DROP_OLDEST, now_ms=now_ms)) as outbox,
    ):
        at = 0
        for size in sizes:
            taken = [Reading(meter="oven", at_ms=(at := at + 1), value=1.0, unit="kWh") for _ in range(size)]
            gathering = Gathering(max_readings=50, max_age_s=1, max_bytes=900_000)
            gathering.add(Taken(readings=taken), 0)
            outbox.append(gathering.take(now_ms=now_ms))
        seq = data.draw(st.integers(1, len(sizes)))
        [waiting] = outbox.messages([seq])
        drafts = split_message(waiting.kind, waiting.payload, max_bytes=600, now_ms=now_ms)
        seqs = outbox.replace(waiting, drafts)
        state = outbox.state()
        assert seqs == list(range(len(sizes) + 1, state.last_seq + 1))
        assert state.readings == sum(sizes), "they were taken once"
        messages = [Readings.model_validate_json(one.payload) for one in outbox.window(0, 1_000)]
        assert [message.seq for message in messages] == list(range(1, state.last_seq + 1))
        assert sorted(instant for message in messages for instant in message.at) == list(range(1, at + 1))
        assert messages[seq - 1].at == []
        assert outbox.size_bytes == outbox._load().size_bytes
        outbox.confirm(outbox.epoch, seq)
        assert outbox.replace(waiting, drafts) == [], "confirmed by now"


def test_a_message_of_an_epoch_before_takes_no_other_s_place(tmp_path: Path) -> None:
    payloads = []
    for name, value in (("before", 1.0), ("now", 2.0)):
        with closing(Outbox(tmp_path / name, max_bytes=10**7, when_full=WhenFull.DROP_OLDEST, now_ms=now_ms)) as outbox:
            gathering = Gathering(max_readings=50, max_age_s=1, max_bytes=900_000)
            gathering.add(Taken(readings=[Reading(meter="oven", at_ms=NOW_MS, value=value, unit="kWh")]), 0)
            outbox.append(gathering.take(now_ms=now_ms))
            payloads += outbox.messages([1])
            drafts = split_message(payloads[0].kind, payloads[0].payload, max_bytes=600, now_ms=now_ms)
            if name == "now":
                assert outbox.replace(payloads[0], drafts) == []
                assert outbox.messages([1]) == [payloads[1]]
