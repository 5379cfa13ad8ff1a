"""From decoded messages to one batch: what can be stored, and what goes to quarantine with its reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collector.binary_copy import READING_TYPES, encode_rows
from collector.decode import (
    Decoded,
    Ignored,
    Incoming,
    ReadingsMessage,
    Refused,
    ReportMessage,
    RunsMessage,
)
from collector.meter_index import UNKNOWN_METER, WRONG_UNIT, MeterColumns, MeterIndex
from collector.quarantine import QuarantineEntry, quarantine_rows, quarantine_runs, readings_payload
from schemas.quarantine import Reason
from schemas.topics import AgentAddress, Kind
from schemas.wire import FIRST_INSTANT, JSON_TYPE, Status

PLAIN_EPOCH = ""
"""The ledger's epoch for readings that came without one; no agent can send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a message stands in its agent's ledger; `seq` None where it has none."""

    address: AgentAddress
    epoch: str
    seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRows:
    """Readings ready for the table; `source` says which message of the batch each came from, `row` where it stood."""

    meter_id: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]
    source: NDArray[np.int32]
    row: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.meter_id)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> ReadingRows:
        """Only those rows, in that order."""
        return ReadingRows(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


_NO_ROWS = ReadingRows(
    meter_id=np.empty(0, np.int32),
    at=np.empty(0, np.int64),
    value=np.empty(0, np.float64),
    quality=np.empty(0, np.int16),
    source=np.empty(0, np.int32),
    row=np.empty(0, np.int32),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The quarantine entry that a message was replayed from. `counted`: its readings that the ledger counts there."""

    id: int
    digest: bytes
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One message after the checks: its place, how many readings it brought, and what was refused of them."""

    place: Place | None
    readings: int
    message: ReadingsMessage | RunsMessage | ReportMessage | None
    quarantined: tuple[QuarantineEntry, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction writes: `rows.source` indexes `messages`, which stand in order of arrival.

    `stream` is the rows as binary COPY, made ahead so that the database need not wait for it.
    """

    messages: tuple[Checked, ...]
    rows: ReadingRows
    stream: bytes


def assemble(decoded: Sequence[Decoded], index: MeterIndex, *, now_ms: int, future_tolerance_ms: int) -> Batch:
    """Check every reading against the site model and the clock. Nothing that came in is left out."""
    messages: list[Checked] = []
    tables: list[tuple[int, ReadingsMessage, MeterColumns]] = []
    for item in decoded:
        match item:
            case ReadingsMessage():
                tables.append((len(messages), item, index.columns(item.address, item.meters, item.units)))
                place = Place(address=item.address, epoch=item.epoch or PLAIN_EPOCH, seq=item.seq)
                messages.append(Checked(place=place, readings=len(item.meter), message=item))
            case Refused():
                messages.append(_refused(item))
            case RunsMessage():
                messages.append(_check_runs(item, latest=now_ms + future_tolerance_ms))
            case ReportMessage():
                messages.append(Checked(place=None, readings=0, message=item))
            case Ignored():
                pass
    if not tables:
        return Batch(messages=tuple(messages), rows=_NO_ROWS, stream=b"")
    rows, largest = _rows(tables)
    limits = Limits(oldest=FIRST_INSTANT, latest=now_ms + future_tolerance_ms)
    # All messages at once: checking each by itself would take longer than decoding it.
    is_good = (rows.meter_id >= 0) & np.isfinite(rows.value) & (np.abs(rows.value) <= largest)
    is_good &= (rows.at >= limits.oldest) & (rows.at <= limits.latest)
    if not is_good.all():
        with_trouble = set(rows.source[~is_good].tolist())
        for source, message, columns in tables:
            if source in with_trouble:
                refused = _refuse_rows(message, index, _reasons(message, columns, index, limits), limits)
                messages[source] = replace(messages[source], quarantined=tuple(refused))
        rows = rows.select(is_good)
    return Batch(messages=tuple(messages), rows=rows, stream=encode_readings(rows))


def encode_readings(rows: ReadingRows) -> bytes:
    """Rows of the table `reading` as a binary COPY stream."""
    return encode_rows(READING_TYPES, (rows.meter_id, rows.at, rows.value, rows.quality))


def _check_runs(message: RunsMessage, *, latest: int) -> Checked:
    """A run that begins or has ended in the future is no fact; it goes to quarantine by itself."""
    place = Place(address=message.address, epoch=message.runs.epoch, seq=message.runs.seq)
    early = [span for span in message.runs.runs if max(span.start, span.end or span.start) > latest]
    if not early:
        return Checked(place=place, readings=0, message=message)
    kept = [span for span in message.runs.runs if span not in early]
    entry = quarantine_runs(
        message, early, Reason.FUTURE, f"run {early[0].run!r} lies ahead of our clock; check the agent's clock"
    )
    runs = message.runs.model_copy(update={"runs": kept})
    return Checked(place=place, readings=0, message=replace(message, runs=runs), quarantined=(entry,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The instants that a reading may have, both included (Unix milliseconds)."""

    oldest: int
    latest: int


def _rows(tables: Sequence[tuple[int, ReadingsMessage, MeterColumns]]) -> tuple[ReadingRows, NDArray[np.float64]]:
    """The rows of all messages, and the largest value that each may have."""
    sizes = [len(message.meter) for _, message, _ in tables]
    total = sum(sizes)
    ends = np.cumsum(sizes)
    # One dictionary of all that differ, as looking up one message at a time costs more than all else here.
    starts: dict[int, int] = {}
    parts: list[MeterColumns] = []
    end = 0
    for _, _, columns in tables:
        if id(columns) not in starts:
            starts[id(columns)] = end
            parts.append(columns)
            end += len(columns.ids)
    entry = np.concatenate([message.meter for _, message, _ in tables])
    entry = entry + np.repeat(np.array([starts[id(columns)] for _, _, columns in tables], dtype=np.int32), sizes)
    rows = ReadingRows(
        meter_id=np.concatenate([part.ids for part in parts])[entry],
        at=np.concatenate([message.at for _, message, _ in tables]),
        value=np.concatenate([message.value for _, message, _ in tables]),
        quality=np.concatenate([message.quality for _, message, _ in tables]),
        source=np.repeat(np.array([source for source, _, _ in tables], dtype=np.int32), sizes),
        row=(np.arange(total) - np.repeat(ends - sizes, sizes)).astype(np.int32),
    )
    return rows, np.concatenate([part.largest for part in parts])[entry]


def _reasons(
    message: ReadingsMessage, columns: MeterColumns, index: MeterIndex, limits: Limits
) -> list[tuple[Reason, NDArray[np.bool_]]]:
    """Each reason and the rows of the message that it holds for, the first to be told first."""
    ids, largest = columns.ids[message.meter], columns.largest[message.meter]
    return [
        (Reason.UNKNOWN_AGENT, np.full(len(ids), message.address not in index.agents)),
        (Reason.UNKNOWN_METER, ids == UNKNOWN_METER),
        (Reason.WRONG_UNIT, ids == WRONG_UNIT),
        (Reason.NOT_A_NUMBER, ~np.isfinite(message.value)),
        (Reason.OUT_OF_RANGE, np.abs(message.value) > largest),
        (Reason.FUTURE, message.at > limits.latest),
        (Reason.TOO_OLD, message.at < limits.oldest),
    ]


def _refuse_rows(
    message: ReadingsMessage,
    index: MeterIndex,
    reasons: Sequence[tuple[Reason, NDArray[np.bool_]]],
    limits: Limits,
) -> list[QuarantineEntry]:
    """One entry for each reason; a reading that has several is told under the first."""
    entries = []
    left = np.ones(len(message.meter), dtype=np.bool_)
    for reason, mask in reasons:
        rows = np.flatnonzero(mask & left)
        left &= ~mask
        if len(rows):
            entries.append(quarantine_rows(message, rows, reason, _detail(message, index, rows, reason, limits.latest)))
    return entries


def _detail(message: ReadingsMessage, index: MeterIndex, rows: NDArray[np.intp], reason: Reason, latest: int) -> str:
    names = [message.meters[i] for i in np.unique(message.meter[rows])]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    first = rows[0]
    match reason:
        case Reason.UNKNOWN_AGENT:
            return f"no agent {message.address} is set up; add it to the site model"
        case Reason.UNKNOWN_METER:
            return f"agent {message.address} has no meter {listed}; add it to the site model, or correct the agent"
        case Reason.WRONG_UNIT:
            entry = message.meter[first]
            known = index.unit_of(message.address, message.meters[entry])
            return f"meter {listed}: sent in {message.units[entry]!r}, set up in {known!r}; make them agree"
        case Reason.NOT_A_NUMBER:
            return f"meter {listed}: value {message.value[first]}; the device gave no usable number"
        case Reason.OUT_OF_RANGE:
            return f"meter {listed}: value {message.value[first]:g} is more than any meter counts; check the byte order"
        case Reason.FUTURE:
            ahead = (int(message.at[first]) - latest) / 1000
            return f"meter {listed}: {ahead:,.0f} s beyond the tolerance ahead of our clock; check the agent's clock"
        case _:
            return f"meter {listed}: instant {int(message.at[first])} ms; the agent's clock was not set"


def unstorable(item: Decoded, detail: str) -> Decoded:
    """A message that the database refused for what is in it, as one that goes to quarantine whole."""
    match item:
        case ReadingsMessage():
            rows = np.arange(len(item.meter))
            kind, payload = Kind.READINGS, readings_payload(item, rows)
            epoch, seq, readings = item.epoch, item.seq, len(rows)
        case RunsMessage():
            kind, payload = Kind.RUNS, item.runs.model_dump_json().encode()
            epoch, seq, readings = item.runs.epoch, item.runs.seq, 0
        case ReportMessage():
            kind = Kind.STATUS if isinstance(item.report, Status) else Kind.METERS
            payload, epoch, seq, readings = item.report.model_dump_json().encode(), None, None, 0
        case _:
            return item
    return Refused(
        incoming=Incoming(topic=item.address.topic(kind), payload=payload, content_type=JSON_TYPE),
        reason=Reason.UNSTORABLE,
        detail=f"the database refused it: {detail}",
        address=item.address,
        epoch=epoch,
        seq=seq,
        readings=readings,
    )


def _refused(item: Refused) -> Checked:
    place = None
    if item.address is not None and item.epoch is not None:
        place = Place(address=item.address, epoch=item.epoch, seq=item.seq)
    entry = QuarantineEntry(
        reason=item.reason,
        detail=item.detail,
        topic=item.incoming.topic,
        address=item.address,
        epoch=item.epoch,
        seq=item.seq,
        readings=item.readings,
        content_type=item.incoming.content_type or JSON_TYPE,
        payload=item.incoming.payload,
    )
    return Checked(place=place, readings=item.readings, message=None, quarantined=(entry,))
