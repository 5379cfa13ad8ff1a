"""From a JSON document to readings. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json

from edge.drivers.documents.mapping import (
    CHANNEL,
    DocumentMapping,
    DocumentMeter,
    DocumentQuantity,
    DocumentTime,
    fill_in,
)
from edge.drivers.documents.paths import ABSENT, DocumentPath
from edge.drivers.documents.values import DecimalSign, InstantForm, instant_of, number_of
from edge.errors import EdgePermanentError
from edge.readings import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One meter of a document, and where its value stands there."""

    meter: str
    quantity: DocumentQuantity
    paths: Sequence[DocumentPath]
    valid_if: DocumentPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where a document says when, and in which zone its clock hangs (None: it says its offset itself)."""

    path: DocumentPath
    form: InstantForm
    required: bool
    zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What of a document could not be taken. `about`: a meter's key, or `time`."""

    about: str
    words: str


@dataclass(slots=True, kw_only=True)
class Found:
    """What a document gave. `undated`: values of unknown age were left, as the document says no time."""

    readings: list[Reading] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    undated: bool = False


def parse_document(payload: bytes, *, largest_bytes: int) -> object:
    """The JSON document. Raises ValueError that shows how the payload begins, or how large it is."""
    if len(payload) > largest_bytes:
        raise ValueError(f"this has {len(payload)} bytes, more than a meter says")
    try:
        document: object = from_json(payload, allow_inf_nan=True)
    except ValueError as error:
        begins = payload[:40].decode("utf-8", "replace")
        raise ValueError(f"this is no JSON: {error}; it begins {begins!r}") from None
    return document


def want(
    mapping: DocumentMapping, meters: Mapping[str, DocumentMeter], *, root: str = "$", around: str = ""
) -> list[Wanted]:
    """What to look for below `root`. `around`: a template that the document was chosen by, such as its topic.

    A path with {channel} is for meters that have one, and one without is for those that have none. Raises
    EdgePermanentError for an unknown quantity, and for a channel that is missing or too much.
    """
    return [_want(mapping, key, meter, root=root, around=around) for key, meter in meters.items()]


def channel_of(mapping: DocumentMapping, meter: DocumentMeter) -> int | None:
    """The meter's own, or the mapping's."""
    return mapping.channel if meter.channel is None else meter.channel


def _want(mapping: DocumentMapping, key: str, meter: DocumentMeter, *, root: str, around: str) -> Wanted:
    quantity = mapping.quantities.get(meter.quantity)
    if quantity is None:
        raise EdgePermanentError(
            f"meter {key}: the mapping {mapping.name} has no quantity {meter.quantity!r}; "
            f"known: {', '.join(mapping.quantities)}"
        )
    channel = channel_of(mapping, meter)
    templates = [
        template
        for template in (root + path[1:] for path in quantity.path)
        if (CHANNEL in around + template) == (channel is not None)
    ]
    if not templates:
        what = "needs its `channel`" if channel is None else "has no channels; leave `channel` out"
        raise EdgePermanentError(f"meter {key}: {meter.quantity} of the mapping {mapping.name} {what}")

    def path_of(template: str) -> DocumentPath:
        return DocumentPath(fill_in(template, part=quantity.part, channel=channel))

    return Wanted(
        meter=key,
        quantity=quantity,
        paths=[path_of(template) for template in templates],
        valid_if=path_of(root + quantity.valid_if[1:]) if quantity.valid_if else None,
    )


def clock_of(time: DocumentTime | None, *, zone: str | None) -> Clock | None:
    """How to read the document's time; None where it says none. Raises EdgePermanentError for a missing zone."""
    if time is None:
        return None
    if time.local and zone is None:
        raise EdgePermanentError(
            "the device's times have no zone; add the one its clock hangs in: `zone: Europe/Copenhagen`"
        )
    return Clock(path=DocumentPath(time.path), form=time.form, required=time.required, zone=zone)


def read_document(
    document: object,
    wanted: Sequence[Wanted],
    *,
    clock: Clock | None,
    now_ms: int,
    is_fresh: bool = True,
    is_partial: bool = False,
    decimal: DecimalSign = ".",
) -> Found:
    """The readings of a document that arrived at `now_ms`.

    Their instant is the one that the document says, else `now_ms`, but only if it `is_fresh`: what may have lain about
    for long is not of now. Of a document that `is_partial`, absent values are no remark. Never raises.
    """
    found = Found()
    values = _values(document, wanted, found, is_partial=is_partial, decimal=decimal)
    if not values:
        return found
    try:
        at_ms = _instant(document, clock, now_ms=now_ms, is_fresh=is_fresh)
    except ValueError as error:
        found.remarks.append(Remark(about="time", words=str(error)))
        return found
    if at_ms is None:
        found.undated = True
        return found
    found.readings += [
        Reading(meter=one.meter, at_ms=at_ms, value=value, unit=one.quantity.unit) for one, value in values
    ]
    return found


def _values(
    document: object, wanted: Sequence[Wanted], found: Found, *, is_partial: bool, decimal: DecimalSign
) -> list[tuple[Wanted, float]]:
    values: list[tuple[Wanted, float]] = []
    for one in wanted:
        try:
            said = _said(document, one)
            value = None if said is ABSENT else _value(said, one, decimal)
        except ValueError as error:
            found.remarks.append(Remark(about=one.meter, words=f"{one.paths[0]} {error}"))
            continue
        if value is not None:
            values.append((one, value))
        elif said is ABSENT and not is_partial:
            words = f"{one.paths[0]} is not in the document; compare the mapping with what the device says"
            found.remarks.append(Remark(about=one.meter, words=words))
    return values


def _said(document: object, one: Wanted) -> object:
    """What stands there; None where the device says that it is not valid."""
    for path in one.paths:
        said = path.find(document)
        if said is not ABSENT:
            return None if one.valid_if is not None and one.valid_if.find(document) is not True else said
    return ABSENT


def _value(said: object, one: Wanted, decimal: DecimalSign) -> float | None:
    number = number_of(said, decimal=decimal)
    if number is None:
        return None
    value = one.quantity.scaled(number)
    if not math.isfinite(value):
        raise ValueError("says a number that is too large")
    return value


def _instant(document: object, clock: Clock | None, *, now_ms: int, is_fresh: bool) -> int | None:
    """None: it cannot be told. Raises ValueError."""
    said = ABSENT if clock is None else clock.path.find(document)
    if clock is None or (said is ABSENT and not clock.required):
        return now_ms if is_fresh else None
    if said is ABSENT:
        raise ValueError(f"the document has no {clock.path}, which is to say its time")
    return instant_of(said, clock.form, zone=clock.zone, now_ms=now_ms)
