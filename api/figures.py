"""The name of a figure: what it tells, of whom and when, and a digest of what it rests on.

    intensity:shaft:energy:fully_loaded:2025-01-01:2026-01-01:v=3f2a91c4
    intensity:line=line-1:water:marginal:20250101T0600Z:20250102T0600Z:v=9e107d9d
    decoupling:site:energy:state:2025-01-01:2026-01-01:base=2024-01-01..2025-01-01:driver=revenue:v=1b2c3d4e

A person can read it, write one (the digest may be left out), and put it into an address as it stands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from api.calendar.clock import Period, midnight
from api.errors import ApiError
from api.periods import EARLIEST, LATEST, Days
from schemas.errors import PermanentError

Moment = date | datetime
"""A local day, or an instant in UTC."""

_FORM = "kind:subject:resource:measure:from:to, then base=…, driver=… and the like, as answers give it in `figure`"
_OTHER = re.compile(rb"[^A-Za-z0-9._-]")
_ESCAPED = re.compile(r"~([0-9A-F]{2})")
_TEXT = re.compile(r"(?:[A-Za-z0-9._-]|~[0-9A-F]{2})+")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{8}T\d{4}(\d\d(\d{3})?)?Z")
_VERSION = re.compile(r"[0-9a-f]{8}")
_WHOLE = ("site", "organisation")
"""Subjects that need no key."""
LONGEST = 500


class FigureError(ApiError, PermanentError):
    """The text names no figure; the message says which part of it is wrong."""


class FigureKind(StrEnum):
    """Which answer a figure stands in."""

    INTENSITY = "intensity"
    DECOUPLING = "decoupling"
    DECOMPOSITION = "decomposition"
    CIRCULARITY = "circularity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure's name taken apart. `by` is product, line, run, order, family, site or organisation; `of` its key.

    `base` is the period that it is compared with. `version` is None where it was left out.
    """

    kind: FigureKind
    by: str
    of: str | None
    resource: str
    measure: str
    start: Moment
    end: Moment
    base: tuple[Moment, Moment] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None

    def period(self, zone: ZoneInfo) -> Period:
        """The period by the clocks of a site."""
        return _period(self.start, self.end, zone)

    def base_period(self, zone: ZoneInfo) -> Period | None:
        """The period that it is compared with, if there is one."""
        return None if self.base is None else _period(*self.base, zone)

    def __str__(self) -> str:
        parts = [self.kind.value, _subject(self.by, self.of), _escape(self.resource), _escape(self.measure)]
        parts += [_moment(self.start), _moment(self.end)]
        if self.base is not None:
            parts.append(f"base={_moment(self.base[0])}..{_moment(self.base[1])}")
        parts += [f"{name}={_escape(value)}" for name, value in sorted(self.options.items())]
        return ":".join(parts if self.version is None else [*parts, f"v={self.version}"])


def figure_id(
    *,
    kind: FigureKind | str,
    by: str,
    of: str | None = None,
    resource: str,
    measure: str,
    period: Period | Days,
    base: Period | Days | None = None,
    options: Mapping[str, str] | None = None,
    rests_on: Iterable[object],
) -> str:
    """The name of a figure.

    `rests_on` is everything that makes it what it is: quantities (measured and estimated), counts, rules, versions of
    factors, sources; in a stable order. When one of them changes, so does the name's last part, and whoever holds the
    old name is told so.
    """
    start, end = _moments(period)
    return str(
        Figure(
            kind=FigureKind(kind),
            by=by,
            of=of,
            resource=resource,
            measure=measure,
            start=start,
            end=end,
            base=None if base is None else _moments(base),
            options=options or {},
            version=digest(rests_on),
        )
    )


def digest(rests_on: Iterable[object]) -> str:
    """Eight hexadecimal digits that change when anything of it does."""
    text = "\x1f".join(_canonical(part) for part in rests_on)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def parse_figure(text: str) -> Figure:
    """The figure that is meant. Raises FigureError."""
    if len(text) > LONGEST:
        raise FigureError(f"the name of a figure has {LONGEST} characters at most; copy it from an answer's `figure`")
    parts = text.split(":")
    if len(parts) < 6:
        raise FigureError(f"{text!r} is no figure: it lacks parts; write {_FORM}")
    kind, subject, resource, measure, start, end, *rest = parts
    if kind not in set(FigureKind):
        raise FigureError(f"{kind!r} is no kind of figure; there are {', '.join(FigureKind)}")
    by, of = _parse_subject(subject)
    options: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or name in options:
            raise FigureError(f"{part!r} is not name=value, or is there twice; write {_FORM}")
        options[name] = value
    base = options.pop("base", None)
    version = options.pop("v", None)
    if version is not None and not _VERSION.fullmatch(version):
        raise FigureError(f"v={version} is not eight hexadecimal digits; copy the figure whole, or leave v= out")
    return Figure(
        kind=FigureKind(kind),
        by=by,
        of=of,
        resource=_unescape(resource),
        measure=_unescape(measure),
        **dict(zip(("start", "end"), _span(start, end), strict=True)),
        base=None if base is None else _span(*_two(base)),
        options={name: _unescape(value) for name, value in options.items()},
        version=version,
    )


def _two(text: str) -> tuple[str, str]:
    first, dots, last = text.partition("..")
    if not dots:
        raise FigureError(f"base={text} is no period; write base=2024-01-01..2025-01-01")
    return first, last


def _span(start: str, end: str) -> tuple[Moment, Moment]:
    first, last = _parse_moment(start), _parse_moment(end)
    # An instant is a date too, but the two don't compare.
    if isinstance(first, datetime) is not isinstance(last, datetime):
        raise FigureError(f"{start} and {end} are not both days or both instants")
    if first >= last:
        raise FigureError(f"{end} is not after {start}; the second is the first moment after the period")
    return first, last


def _parse_moment(text: str) -> Moment:
    try:
        if _DAY.fullmatch(text):
            return _sane(date.fromisoformat(text))
        if _INSTANT.fullmatch(text):
            return _sane(datetime.strptime(text[:13], "%Y%m%dT%H%M").replace(tzinfo=UTC, **_seconds(text[13:-1])))
    except ValueError as error:
        raise FigureError(f"{text} is not in the calendar: {error}") from error
    raise FigureError(f"{text!r} is neither a day (2026-01-31) nor an instant in UTC (20260131T0615Z)")


def _seconds(text: str) -> dict[str, int]:
    return {"second": int(text[:2] or 0), "microsecond": int(text[2:] or 0) * 1000}


def _sane(at: Moment) -> Moment:
    if not EARLIEST <= at.year <= LATEST:
        raise ValueError(f"it must lie in the years {EARLIEST} to {LATEST}")
    return at


def _parse_subject(text: str) -> tuple[str, str | None]:
    by, equals, of = text.partition("=")
    if not equals:
        name = _unescape(by)
        return (name, None) if name in _WHOLE else ("product", name)
    return _unescape(by), _unescape(of)


def _subject(by: str, of: str | None) -> str:
    if of is None:
        return _escape(by)
    # A product may have any key, that of a whole site too.
    return _escape(of) if by == "product" and of not in _WHOLE else f"{_escape(by)}={_escape(of)}"


def _escape(text: str) -> str:
    """Letters, digits, dot, dash and underscore as they are, other bytes as ~XX: an address changes none of them."""
    return _OTHER.sub(lambda found: b"~%02X" % found[0][0], str(text).encode()).decode()


def _unescape(text: str) -> str:
    if not _TEXT.fullmatch(text):
        raise FigureError(f"{text!r} is empty or has characters that a figure's name has not; write {_FORM}")
    try:
        return bytes(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")).decode()
    except ValueError as error:
        raise FigureError(f"{text!r} is not readable; copy the figure as it stands in the answer") from error


def _moments(period: Period | Days) -> tuple[Moment, Moment]:
    """Days where the period is of whole local days, instants elsewhere."""
    if isinstance(period, Days):
        return period.first, period.end
    days = [at.astimezone(period.zone).date() for at in (period.start, period.end)]
    if [midnight(day, period.zone) for day in days] == [period.start, period.end]:
        return days[0], days[1]
    return period.start.astimezone(UTC), period.end.astimezone(UTC)


def _period(start: Moment, end: Moment, zone: ZoneInfo) -> Period:
    first, last = (at if isinstance(at, datetime) else midnight(at, zone) for at in (start, end))
    return Period(start=first, end=last, zone=zone)


def _moment(at: Moment) -> str:
    if not isinstance(at, datetime):
        return at.isoformat()
    text = at.strftime("%Y%m%dT%H%M")
    if at.microsecond:
        text += f"{at.second:02}{at.microsecond // 1000:03}"
    elif at.second:
        text += f"{at.second:02}"
    return f"{text}Z"


def _canonical(part: object) -> str:
    match part:
        case None | str() | bool() | int() | float() | Fraction() | Decimal() | date():
            return str(part)
        case list() | tuple():
            return f"[{','.join(_canonical(one) for one in part)}]"
        case _:
            raise TypeError(f"{type(part).__name__} has no stable form; give its numbers and texts")
