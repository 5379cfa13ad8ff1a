"""From readings to messages."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edge.batch import Gathering, split_readings
from edge.messages import encode_meters, encode_readings, encode_status
from edge.readings import Reading, Taken, refusal
from schemas.resources import MeterKind, Resource, RunState
from schemas.topics import Kind
from schemas.wire import Meters, OfferedMeter, OutboxState, Readings, Runs, RunSpan, Status

NOW_MS = 1_795_298_400_000

readings = st.builds(
    Reading,
    meter=st.one_of(st.sampled_from(["oven", "water", "main"]), st.text(min_size=1, max_size=100)),
    at_ms=st.integers(-(10**14), 10**14),
    value=st.floats(allow_nan=False, allow_infinity=False),
    unit=st.sampled_from(["kWh", "m3", "µ" * 20]),
    quality=st.integers(0, 3),
)


@given(st.lists(readings, max_size=60))
def test_what_is_encoded_is_what_the_collector_reads(taken: list[Reading]) -> None:
    payload = encode_readings(taken, epoch="E", seq=4711, sent_at_ms=NOW_MS)
    message = Readings.model_validate_json(payload)
    assert (message.epoch, message.seq, message.sent_at) == ("E", 4711, NOW_MS)
    qualities = message.quality or [0] * len(message.meter)
    assert [
        Reading(meter=message.meters[m], unit=message.units[m], at_ms=at, value=value, quality=quality)
        for m, at, value, quality in zip(message.meter, message.at, message.value, qualities, strict=True)
    ] == taken


@given(st.lists(readings, max_size=120), st.integers(1, 50), st.integers(2_000, 20_000))
def test_parts_keep_order_and_limits(taken: list[Reading], most: int, size: int) -> None:
    parts = list(split_readings(taken, max_readings=most, max_bytes=size))
    assert [reading for part in parts for reading in part] == taken
    for part in parts:
        assert 0 < len(part) <= most
        payload = encode_readings(part, epoch="E" * 26, seq=2**62, sent_at_ms=10**14)
        assert len(part) == 1 or len(payload) <= size


def reading(at_ms: int = NOW_MS) -> Reading:
    return Reading(meter="oven", at_ms=at_ms, value=1.0, unit="kWh")


def test_gathering_is_due_by_age_of_the_first_and_full_by_number() -> None:
    gathering = Gathering(max_readings=3, max_age_s=2, max_bytes=100_000)
    assert gathering.due_in_s(0) is None
    gathering.add(Taken(), 0)
    assert gathering.due_in_s(0) is None
    gathering.add(Taken(readings=[reading()]), 10)
    gathering.add(Taken(readings=[reading()]), 11)
    assert gathering.due_in_s(11) == 1
    assert gathering.due_in_s(20) == 0
    assert gathering.is_full is False
    gathering.add(Taken(readings=[reading(), reading()]), 11)
    assert (gathering.is_full, gathering.readings) == (True, 4)
    drafts = gathering.take(now_ms=lambda: NOW_MS)
    assert [draft.readings for draft in drafts] == [3, 1]
    assert gathering.due_in_s(20) is None
    assert gathering.take(now_ms=lambda: NOW_MS) == []


def test_runs_become_messages_of_their_own() -> None:
    span = RunSpan(run="r1", line="press", state=RunState.RUNNING, start=NOW_MS, product="bracket")
    gathering = Gathering(max_readings=3, max_age_s=2, max_bytes=2_000)
    gathering.add(Taken(readings=[reading()], runs=[span, span]), 0)
    drafts = gathering.take(now_ms=lambda: NOW_MS)
    assert [(draft.kind, draft.readings) for draft in drafts] == [(Kind.READINGS, 1), (Kind.RUNS, 0), (Kind.RUNS, 0)]
    message = Runs.model_validate_json(drafts[1].encode("E", 2))
    assert (message.seq, message.runs) == (2, [span])


def test_refused_is_what_json_or_the_wire_cannot_carry() -> None:
    assert refusal(reading()) is None
    for value in (float("nan"), float("inf"), "12"):
        assert refusal(Reading(meter="oven", at_ms=NOW_MS, value=value, unit="kWh"))  # type: ignore[arg-type]
    assert refusal(Reading(meter="", at_ms=NOW_MS, value=1, unit="kWh"))
    assert refusal(Reading(meter="oven", at_ms=NOW_MS, value=1, unit="k" * 21))
    assert refusal(Reading(meter="oven", at_ms=1.5, value=1, unit="kWh"))  # type: ignore[arg-type]


def test_meters_and_status_are_as_the_schemas_say() -> None:
    meter = OfferedMeter(meter="oven", resource=Resource.ENERGY, unit="kWh", kind=MeterKind.COUNTER)
    assert Meters.model_validate_json(encode_meters([meter], at_ms=NOW_MS)).meters == [meter]
    state = OutboxState(epoch="E", last_seq=3)
    payload = encode_status(online=True, at_ms=NOW_MS, version="1", outbox=state)
    assert Status.model_validate_json(payload) == Status(state="online", at=NOW_MS, version="1", outbox=state)
    assert "outbox" not in json.loads(encode_status(online=False, at_ms=NOW_MS, version=None, outbox=None))
