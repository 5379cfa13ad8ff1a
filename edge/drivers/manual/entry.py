"""What a person says of a dial, in words and in numbers. Pure, but for the machine's time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from edge.errors import EdgePermanentError

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{1,2})(:\d{2}(?::\d{2})?)\s*(Z|[+-]\d{2}:?\d{2})?")
_EXAMPLE = "2026-11-22 07:30, 07:30 for today, or 2026-11-22T07:30+01:00"


class EntryRefusedError(EdgePermanentError):
    """The entry can't be right, or is not certain; the message says what to do."""


class Entry(BaseModel):
    """A dial was read. `value` is in `unit`; `is_forced`: a person has confirmed what looked odd."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meter: str
    value: float = Field(allow_inf_nan=False)
    unit: str
    at: AwareDatetime
    entered_at: AwareDatetime
    note: str | None = None
    is_exchange: bool = False
    is_forced: bool = False

    def words(self) -> str:
        """As in `1234.5 kWh on 2026-11-22 07:30`, in the machine's time."""
        return f"{self.value:.15g} {self.unit} on {self.at.astimezone():%Y-%m-%d %H:%M}"


def parse_value(text: str) -> float:
    """A number as it stands on a dial, with a point or a comma before its decimals. Raises EntryRefusedError."""
    plain = text.strip().replace(" ", "")
    if not _NUMBER.fullmatch(plain):
        raise EntryRefusedError(f"{text!r} is not a number as on a dial; write it without separators, as in 12345.6")
    return float(plain.replace(",", "."))


def parse_instant(text: str, *, now: datetime) -> datetime:
    """When the dial was read, in UTC. A time without offset is the machine's local time. Raises EntryRefusedError."""
    plain = text.strip()
    if re.fullmatch(r"\d{1,2}:\d{2}", plain):
        plain = f"{now.astimezone():%Y-%m-%d} {plain.zfill(5)}"
    told = _TIME.fullmatch(plain)
    try:
        at = datetime.fromisoformat(f"{told[1]}T{told[2].zfill(2)}{told[3]}{told[4] or ''}" if told else "")
    except ValueError:
        raise EntryRefusedError(f"{text!r} is not a day and a time; write it as {_EXAMPLE}") from None
    return at.astimezone(UTC) if at.tzinfo is not None else _placed(at)


def _placed(local: datetime) -> datetime:
    first, second = (local.replace(fold=fold).astimezone() for fold in (0, 1))
    if first.replace(tzinfo=None) != local:
        raise EntryRefusedError(
            f"{local:%Y-%m-%d %H:%M} did not exist here: the clocks were put forward past it; look at the time again"
        )
    if first != second and first.utcoffset() != second.utcoffset():
        raise EntryRefusedError(
            f"the clocks showed {local:%Y-%m-%d %H:%M} twice, as they were put back; "
            f"write {_iso(first)} for the first time or {_iso(second)} for the second"
        )
    return first.astimezone(UTC)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="minutes")


def refuse_future(at: datetime, *, now: datetime) -> None:
    """Raises EntryRefusedError. A minute of the dial's reader's own clock is let pass."""
    if at > now + timedelta(minutes=1):
        raise EntryRefusedError(
            f"{at.astimezone():%Y-%m-%d %H:%M} is still to come: it is {now.astimezone():%Y-%m-%d %H:%M} by this "
            "machine's clock; look at the date, and at the clock"
        )
