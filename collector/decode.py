"""From a payload to a typed message, or to the reason why it can't be one. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from collector.readings_json import read_columns
from schemas import arrow
from schemas.quarantine import Reason
from schemas.topics import AgentAddress, ForeignTopicError, Kind, is_alerts_topic, parse_topic
from schemas.wire import (
    ARROW_TYPE,
    EPOCH_PATTERN,
    JSON_TYPE,
    MAX_PAYLOAD_BYTES,
    MAX_READINGS,
    MAX_SEQ,
    VERSION,
    Meters,
    Readings,
    Runs,
    SingleReading,
    Status,
)

_EPOCH = re.compile(EPOCH_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message as the broker delivered it.

    `arrived_ms` is our clock then; None for a message that the broker had kept, of which nobody knows how old it is.
    """

    topic: str
    payload: bytes
    content_type: str | None = None
    arrived_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingsMessage:
    """Readings as columns. `epoch` and `seq` are None for a plain reading, which no ledger covers.

    Lists and arrays may be shared with other messages: they are not to be changed.
    """

    address: AgentAddress
    epoch: str | None
    seq: int | None
    sent_at: int
    meters: list[str]
    units: list[str]
    meter: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsMessage:
    """Runs of the lines that an agent watches."""

    address: AgentAddress
    runs: Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMessage:
    """What an agent says of itself: its status, or the meters that it offers. `arrived_ms` as in `Incoming`."""

    address: AgentAddress
    report: Status | Meters
    arrived_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that goes to quarantine whole. Its place in the ledger is kept where it could be read."""

    incoming: Incoming
    reason: Reason
    detail: str
    address: AgentAddress | None = None
    epoch: str | None = None
    seq: int | None = None
    readings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing to keep: our own `stored` or alerts coming back, or a retained report being cleared."""


Decoded = ReadingsMessage | RunsMessage | ReportMessage | Refused | Ignored


@lru_cache(maxsize=100_000)
def _address_and_kind(topic: str) -> tuple[AgentAddress, Kind]:
    return parse_topic(topic)


def decode(incoming: Incoming, *, most_bytes: int = MAX_PAYLOAD_BYTES) -> Decoded:
    """Never raises for bad input: what can't be decoded comes back as `Refused`."""
    try:
        address, kind = _address_and_kind(incoming.topic)
    except ForeignTopicError as error:
        if is_alerts_topic(incoming.topic):
            return Ignored()
        return Refused(incoming=incoming, reason=Reason.FOREIGN_TOPIC, detail=str(error))
    if len(incoming.payload) > most_bytes:
        detail = f"{len(incoming.payload)} bytes; the limit is {most_bytes}; send smaller batches"
        return _refuse(incoming, address, Reason.OVERSIZED, detail)
    try:
        return _decode_kind(incoming, address, kind)
    except ValidationError as error:
        return _refuse(incoming, address, *_explain(error))
    except arrow.ArrowTooLargeError as error:
        return _refuse(incoming, address, Reason.OVERSIZED, str(error))
    except arrow.ArrowError as error:
        reason = Reason.WRONG_VERSION if str(error).startswith("version") else Reason.MALFORMED
        return _refuse(incoming, address, reason, str(error))
    except OverflowError:
        return _refuse(incoming, address, Reason.MALFORMED, "an instant or a quality is larger than its column holds")


def _decode_kind(incoming: Incoming, address: AgentAddress, kind: Kind) -> Decoded:
    if kind in {Kind.METERS, Kind.STATUS} and not incoming.payload:
        return Ignored()
    match kind:
        case Kind.READINGS:
            return _decode_readings(incoming, address)
        case Kind.RUNS:
            return RunsMessage(address=address, runs=Runs.model_validate_json(incoming.payload))
        case Kind.METERS:
            return ReportMessage(address=address, report=Meters.model_validate_json(incoming.payload))
        case Kind.STATUS:
            status = Status.model_validate_json(incoming.payload)
            return ReportMessage(address=address, report=status, arrived_ms=incoming.arrived_ms)
        case Kind.STORED | Kind.CONFIGURATION:
            return Ignored()


def _decode_readings(incoming: Incoming, address: AgentAddress) -> Decoded:
    if incoming.content_type == ARROW_TYPE:
        return _from_arrow(incoming, address)
    if incoming.content_type not in {None, "", JSON_TYPE}:
        detail = f"content type {incoming.content_type!r}; send {JSON_TYPE} or {ARROW_TYPE}"
        return _refuse(incoming, address, Reason.MALFORMED, detail)
    columns = read_columns(incoming.payload)
    if columns is not None:
        return ReadingsMessage(
            address=address,
            epoch=columns.epoch,
            seq=columns.seq,
            sent_at=columns.sent_at,
            meters=columns.meters,
            units=columns.units,
            meter=columns.meter,
            at=columns.at,
            value=columns.value,
            quality=columns.quality,
        )
    try:
        table = Readings.model_validate_json(incoming.payload)
    except ValidationError:
        if not _looks_single(incoming.payload):
            raise
        return _from_single(SingleReading.model_validate_json(incoming.payload), address)
    rows = len(table.meter)
    return ReadingsMessage(
        address=address,
        epoch=table.epoch,
        seq=table.seq,
        sent_at=table.sent_at,
        meters=table.meters,
        units=table.units,
        meter=np.array(table.meter, dtype=np.int32),
        at=np.array(table.at, dtype=np.int64),
        value=np.array(table.value, dtype=np.float64),
        quality=np.zeros(rows, np.int16) if table.quality is None else np.array(table.quality, dtype=np.int16),
    )


def _from_single(single: SingleReading, address: AgentAddress) -> ReadingsMessage:
    return ReadingsMessage(
        address=address,
        epoch=None,
        seq=None,
        sent_at=single.at,
        meters=[single.meter],
        units=[single.unit],
        meter=np.zeros(1, np.int32),
        at=np.array([single.at], dtype=np.int64),
        value=np.array([single.value], dtype=np.float64),
        quality=np.array([single.quality], dtype=np.int16),
    )


def _from_arrow(incoming: Incoming, address: AgentAddress) -> Decoded:
    stream = arrow.decode_readings(incoming.payload)
    if not _has_place(stream.epoch, stream.seq) or stream.table.num_rows > MAX_READINGS:
        detail = f"epoch {stream.epoch!r}, seq {stream.seq}, {stream.table.num_rows} rows: one is out of bounds"
        return _refuse(incoming, address, Reason.MALFORMED, detail)
    columns = arrow.to_columns(stream.table)
    return ReadingsMessage(
        address=address,
        epoch=stream.epoch,
        seq=stream.seq,
        sent_at=stream.sent_at,
        meters=columns.meters,
        units=columns.units,
        meter=columns.meter,
        at=columns.at,
        value=columns.value,
        quality=columns.quality,
    )


def _looks_single(payload: bytes) -> bool:
    data = _json_object(payload)
    return isinstance(data.get("meter"), str) and "epoch" not in data


def _json_object(payload: bytes) -> dict[str, object]:
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _refuse(incoming: Incoming, address: AgentAddress, reason: Reason, detail: str) -> Refused:
    """Keep epoch and seq where they can be read: the agent may then go on with what follows."""
    data = _json_object(incoming.payload)
    epoch, seq, at = data.get("epoch"), data.get("seq"), data.get("at")
    is_placed = _has_place(epoch, seq)
    return Refused(
        incoming=incoming,
        reason=reason,
        detail=detail,
        address=address,
        epoch=epoch if is_placed and isinstance(epoch, str) else None,
        seq=seq if is_placed and isinstance(seq, int) else None,
        readings=len(at) if isinstance(at, list) else 1 if isinstance(data.get("meter"), str) else 0,
    )


def _has_place(epoch: object, seq: object) -> bool:
    return (
        isinstance(epoch, str)
        and _EPOCH.fullmatch(epoch) is not None
        and isinstance(seq, int)
        and not isinstance(seq, bool)
        and 1 <= seq <= MAX_SEQ
    )


def _explain(error: ValidationError) -> tuple[Reason, str]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if any(e["loc"] == ("v",) for e in found):
        detail = f"this collector reads messages of version {VERSION} only; update the agent, or the collector"
        return Reason.WRONG_VERSION, detail
    parts = [
        f"{'.'.join(str(step) for step in e['loc']) or 'message'}: {e['msg'].removeprefix('Value error, ')}"
        for e in found[:5]
    ]
    return Reason.MALFORMED, "; ".join(parts) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
