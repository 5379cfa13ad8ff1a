"""What a person says of readings: always with a name and a reason, kept as it was said, and never changed later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.periods import parse_instant
from api.problems import ProblemError, bad_value, not_found
from schemas.parts import Label
from schemas.quantities import MAX_CANONICAL
from schemas.wire import FIRST_INSTANT, LAST_INSTANT

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far ahead of our clock an instant may lie and still be now."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime.fromtimestamp(FIRST_INSTANT / 1000, UTC)


def _without_margins(text: object) -> object:
    return text.strip() if isinstance(text, str) else text


def _says_something(text: str) -> str:
    if not any(character.isalnum() for character in text):
        raise ValueError("holds no letter and no digit; write something that others understand")
    return text


Words = Annotated[Label, BeforeValidator(_without_margins), AfterValidator(_says_something)]
"""A text that says something, on one line of at most 200 characters."""
InstantText = Annotated[
    str, Field(max_length=40, description="an instant with its offset, or a date: the site's midnight")
]
Value = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Said(BaseModel):
    """Who says it, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    author: Words
    reason: Words


def instant_of(place: str, text: str, zone: ZoneInfo, *, latest: datetime, until: str) -> datetime:
    """An instant from 2000 to `latest` (told as `until`), to the millisecond. Raises a 422 problem."""
    at = parse_instant(place, text, zone)
    if at < EARLIEST:
        raise bad_value(place, "lies before the year 2000; check the date")
    if at > latest:
        raise bad_value(place, f"lies beyond {until}; check date, time and offset")
    return at


def check_range(place: str, value: float, *, unit: str, to_canonical: float) -> None:
    """Raises a 422 problem when no quantity could hold the differences of such a value in a meter's unit."""
    largest = MAX_CANONICAL / to_canonical
    if abs(value) > largest:
        raise bad_value(place, f"{value:g} {unit} is more than any meter counts ({largest:g}); check the digits")


def fact_key(meter: str, at: datetime) -> str:
    """What names the versions of a fact: its meter and its instant (Unix milliseconds)."""
    return f"{meter}:{unix_ms(at)}"


def parse_fact_key(what: str, text: str) -> tuple[str, datetime]:
    """Meter and instant from `meter:milliseconds`. Raises a 422 problem."""
    meter, _, instant = text.rpartition(":")
    at = from_unix_ms(instant)
    if not meter or at is None:
        raise bad_value(what, f"{text!r} is none; write meter:milliseconds, as the list shows it")
    return meter, at


def unix_ms(at: datetime) -> int:
    """Unix milliseconds of an instant, exactly."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def from_unix_ms(text: str | int) -> datetime | None:
    """The instant of Unix milliseconds; None for what is no number, or lies where nothing is stored."""
    try:
        milliseconds = int(text)
    except ValueError:
        return None
    is_likely = 0 <= milliseconds <= LAST_INSTANT
    return _EPOCH + timedelta(milliseconds=milliseconds) if is_likely else None


def all_or_none(problems: Sequence[ProblemError]) -> None:
    """Raises one 422 problem that lists all of these; nothing when there are none."""
    faults = [fault for problem in problems for fault in problem.problem.errors or []]
    if not faults:
        return
    listed = "; ".join(f"{fault['place']}: {fault['message']}" for fault in faults[:5])
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    detail = f"{listed}{more}; nothing was stored"
    raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-value", detail, errors=faults[:100])


def no_such(what: str, text: str) -> ProblemError:
    """The 404 problem for a fact or event that is not there."""
    return not_found(f"there is no {what} {text} at this site; the list of them shows those that there are")
