"""Numbers and instants as JSON documents say them. Pure.

Nothing is guessed: what is not clearly a number or an instant raises ValueError that says what it is instead.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from schemas.cells import parse_time

DecimalSign = Literal[".", ","]

_NUMBERS: dict[DecimalSign, re.Pattern[str]] = {
    sign: re.compile(rf"[+-]?[0-9]{{1,300}}({re.escape(sign)}[0-9]{{1,300}})?([eE][+-]?[0-9]{{1,3}})?")
    for sign in (".", ",")
}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_EARLIEST_MS = 1_577_836_800_000
"""2020-01-01: a clock that nobody has set counts from 1970, 2000 or the day that its program was built."""
_LATEST_MS = 4_102_444_800_000
"""2100-01-01."""
_JUST_NOW_MS = 1_800_000


class InstantForm(StrEnum):
    """How a document says when."""

    ISO = "iso"
    UNIX_S = "unix_s"
    UNIX_MS = "unix_ms"


def number_of(said: object, *, decimal: DecimalSign = ".") -> int | float | None:
    """The number; None for null and NaN, by which devices say that they have none. Raises ValueError."""
    match said:
        case None:
            return None
        case bool():
            raise ValueError(f"says {str(said).lower()}, which is no number")
        case int() if abs(said) < 10**300:
            return said
        case float() if math.isnan(said):
            return None
        case float() if math.isfinite(said):
            return said
        case str():
            return _number_in(said.strip(), decimal)
        case list():
            raise ValueError("says a list; give the meter its `channel`")
        case dict():
            raise ValueError("says an object, which is no number; write a path that goes on into it")
        case _:
            raise ValueError("says a number that is too large")


def _number_in(text: str, decimal: DecimalSign) -> int | float | None:
    if text.lower() == "nan":
        return None
    if not _NUMBERS[decimal].fullmatch(text):
        other: DecimalSign = "," if decimal == "." else "."
        if _NUMBERS[other].fullmatch(text):
            raise ValueError(f"says {text!r}; if that is a decimal sign, write `decimal: {other!r}` in the mapping")
        raise ValueError(f"says {text[:40]!r}, which is no number")
    plain = text.replace(decimal, ".")
    value = float(plain)
    if not math.isfinite(value):
        raise ValueError("says a number that is too large")
    return int(plain) if plain.lstrip("+-").isdigit() else value


def instant_of(said: object, form: InstantForm, *, zone: str | None, now_ms: int) -> int:
    """Unix milliseconds. A time without an offset is in `zone`; an hour that comes twice is the one near `now_ms`.

    Raises ValueError.
    """
    try:
        time = parse_time(None if isinstance(said, bool | list | dict) else said, form)
    except ValueError:
        raise ValueError(f"its time is {_shown(said)}, which is not of the form {form}; is its clock set?") from None
    if time.tzinfo is not None:
        at_ms = (time - _1970) // _MS
    elif zone is None:
        raise ValueError(f"its time {said} has no zone; give the driver one, as in `zone: Europe/Copenhagen`")
    else:
        at_ms = _instant_in(time, ZoneInfo(zone), now_ms)
    if not _EARLIEST_MS <= at_ms < _LATEST_MS:
        raise ValueError(
            f"its time {_shown(said)} is none that a meter was read at: its clock has not been set (give it a time "
            f"server, or the driver `clock: agent`), or the form is not {form}"
        )
    return at_ms


def _instant_in(time: datetime, zone: ZoneInfo, now_ms: int) -> int:
    try:
        both = [time.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
        instants = [(one - _1970) // _MS for one in both]
        exists = both[0].astimezone(UTC).astimezone(zone).replace(tzinfo=None) == time.replace(fold=0)
    except (OverflowError, ValueError):
        raise ValueError(f"its time {time} is none that a meter was read at") from None
    if instants[0] == instants[1]:
        return instants[0]
    if not exists:
        raise ValueError(f"its time {time} does not exist in {zone.key}, where clocks go forward then")
    nearest = min(instants, key=lambda at_ms: abs(at_ms - now_ms))
    if abs(nearest - now_ms) > _JUST_NOW_MS:
        raise ValueError(f"its time {time} comes twice in {zone.key}, and it is not clear which is meant")
    return nearest


def _shown(said: object) -> str:
    text = "null" if said is None else str(said)
    return text if len(text) <= 40 else f"{text[:40]}…"
