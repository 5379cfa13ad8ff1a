"""From what drivers take, one at a time, to messages of a good size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge.messages import encode_readings, encode_runs
from edge.readings import Reading, Taken
from schemas.resources import Quality
from schemas.topics import Kind
from schemas.wire import MAX_SEQ, RunSpan

# Upper bounds of what one row, one entry of the dictionary and one run take in JSON, besides their names.
_ROW_BYTES = 52
_ENTRY_BYTES = 12
_HEADER_BYTES = 300
_RUN_BYTES = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message that the outbox will number: `encode(epoch, seq)` gives its payload."""

    kind: Kind
    readings: int
    encode: Callable[[str, int], bytes]


class Gathering:
    """Gathers over all drivers until there is enough (`is_full`) or what came first is old enough (`due_in_s`).

    Knows no clock: times are seconds of any steady clock, given by the caller.
    """

    def __init__(self, *, max_readings: int, max_age_s: float, max_bytes: int) -> None:
        self._max_readings = max_readings
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._readings: list[Reading] = []
        self._runs: list[RunSpan] = []
        self._began_s: float | None = None

    def add(self, taken: Taken, now_s: float) -> None:
        """Take over what a driver took at `now_s`."""
        if self._began_s is None and (taken.readings or taken.runs):
            self._began_s = now_s
        self._readings.extend(taken.readings)
        self._runs.extend(taken.runs)

    @property
    def readings(self) -> int:
        """How many readings wait here."""
        return len(self._readings)

    @property
    def waits(self) -> bool:
        """Whether anything is here."""
        return self._began_s is not None

    @property
    def is_full(self) -> bool:
        """Whether a message's worth of readings is here."""
        return len(self._readings) >= self._max_readings

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until what came first is old enough, none left being 0; None when nothing waits."""
        if self._began_s is None:
            return None
        return max(0.0, self._began_s + self._max_age_s - now_s)

    def take(self, *, now_ms: Callable[[], int]) -> list[Draft]:
        """All that waits, as messages in the order it came, each within the limits. `now_ms` dates them."""
        parts = split_readings(self._readings, max_readings=self._max_readings, max_bytes=self._max_bytes)
        drafts = [_reading_draft(part, now_ms=now_ms) for part in parts]
        drafts += _run_drafts(self._runs, max_bytes=self._max_bytes, now_ms=now_ms)
        self._readings, self._runs, self._began_s = [], [], None
        return drafts


def split_readings(readings: Sequence[Reading], *, max_readings: int, max_bytes: int) -> Iterator[Sequence[Reading]]:
    """Consecutive parts of at most `max_readings`, each surely below `max_bytes` when encoded.

    A single reading is always a part of its own at least, whatever it takes.
    """
    start, size = 0, _HEADER_BYTES
    names: set[tuple[str, str]] = set()
    for i, reading in enumerate(readings):
        name = (reading.meter, reading.unit)
        # A character is at most 6 bytes in JSON (an escaped control character).
        cost = _ROW_BYTES + (0 if name in names else _ENTRY_BYTES + 6 * (len(name[0]) + len(name[1])))
        if i > start and (i - start >= max_readings or size + cost > max_bytes):
            yield readings[start:i]
            start, size, names = i, _HEADER_BYTES, set()
            cost = _ROW_BYTES + _ENTRY_BYTES + 6 * (len(name[0]) + len(name[1]))
        size += cost
        names.add(name)
    if start < len(readings):
        yield readings[start:]


def split_message(kind: Kind, payload: bytes, *, max_bytes: int, now_ms: Callable[[], int]) -> list[Draft]:
    """What a message of ours holds, as messages whose payloads are at most `max_bytes` each; none where that can't be.

    That is when a single reading, or a single run, takes more.
    """
    body = json.loads(payload)
    if kind is Kind.RUNS:
        runs = [RunSpan.model_validate(run) for run in body["runs"]]
        drafts = _run_drafts(runs, max_bytes=max_bytes, now_ms=now_ms)
    else:
        readings = _readings_in(body)
        parts = split_readings(readings, max_readings=max(1, len(readings)), max_bytes=max_bytes)
        drafts = [_reading_draft(part, now_ms=now_ms) for part in parts]
    longest_seq = 10 * MAX_SEQ
    return drafts if all(len(draft.encode(body["epoch"], longest_seq)) <= max_bytes for draft in drafts) else []


def _readings_in(body: dict[str, Any]) -> list[Reading]:
    quality = body.get("quality") or [int(Quality.GOOD)] * len(body["meter"])
    return [
        Reading(meter=body["meters"][meter], at_ms=at, value=value, unit=body["units"][meter], quality=good)
        for meter, at, value, good in zip(body["meter"], body["at"], body["value"], quality, strict=True)
    ]


def _reading_draft(readings: Sequence[Reading], *, now_ms: Callable[[], int]) -> Draft:
    return Draft(kind=Kind.READINGS, readings=len(readings), encode=partial(_readings_payload, readings, now_ms))


def _run_drafts(runs: Sequence[RunSpan], *, max_bytes: int, now_ms: Callable[[], int]) -> list[Draft]:
    at_once = max(1, max_bytes // _RUN_BYTES)
    return [
        Draft(kind=Kind.RUNS, readings=0, encode=partial(_runs_payload, runs[i : i + at_once], now_ms))
        for i in range(0, len(runs), at_once)
    ]


def _readings_payload(readings: Sequence[Reading], now_ms: Callable[[], int], epoch: str, seq: int) -> bytes:
    return encode_readings(readings, epoch=epoch, seq=seq, sent_at_ms=now_ms())


def _runs_payload(runs: Sequence[RunSpan], now_ms: Callable[[], int], epoch: str, seq: int) -> bytes:
    return encode_runs(runs, epoch=epoch, seq=seq, sent_at_ms=now_ms())
