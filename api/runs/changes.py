"""What becomes of runs that are said: new, corrected, unchanged, or refused, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from api.said import CLOCKS_DIFFER, from_unix_ms, unix_ms
from schemas.wire import RunSpan

RunKey = tuple[str, str]
"""A line and a run of it, by their keys."""
_TELLS = ("state", "product", "order", "start", "end")


class Change(StrEnum):
    """What becomes of a run that is said. `superseded`: something was said of it later, and stays."""

    NEW = "new"
    CORRECTED = "corrected"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """What was said last of a run: `span` is None where it was removed. `author` is the person who said so, if any."""

    span: RunSpan | None
    said_at: datetime
    author: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What runs may name, and the site's zone."""

    lines: Collection[str]
    products: Collection[str]
    zone: ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who says something of runs: a person or a program, and when (None: now)."""

    is_person: bool
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run that is said. Exactly one of `change` and `refused`, which says why, is there; `was` is what stands now."""

    span: RunSpan
    change: Change | None = None
    refused: str | None = None
    was: RunSpan | None = None


def judge(
    spans: Sequence[RunSpan], known: Mapping[RunKey, KnownRun], site: Site, speaker: Speaker, *, now: datetime
) -> list[Judged]:
    """What becomes of each. A program does not overrule a person, except that it ends a run that had no end."""
    return [_judge(span, known.get((span.line, span.run)), site, speaker, now) for span in spans]


def differences(span: RunSpan, was: RunSpan, zone: ZoneInfo) -> str:
    """What a correction changes, in words."""
    return "; ".join(
        f"{name} {_told(getattr(span, name), zone)} instead of {_told(getattr(was, name), zone)}"
        for name in _TELLS
        if getattr(span, name) != getattr(was, name)
    )


def _judge(span: RunSpan, known: KnownRun | None, site: Site, speaker: Speaker, now: datetime) -> Judged:
    if span.line not in site.lines:
        return Judged(span=span, refused=f"there is no line {span.line!r} at this site; add it to the site model")
    if span.product is not None and span.product not in site.products:
        return Judged(span=span, refused=f"there is no product {span.product!r} at this site; add it to the site model")
    if max(span.start, span.end or 0) > unix_ms(now + CLOCKS_DIFFER):
        return Judged(span=span, refused="it lies ahead: say a run when it has begun, and its end when it has ended")
    if known is None:
        return Judged(span=span, change=Change.NEW)
    if known.span is not None and _same(span, known.span):
        return Judged(span=span, change=Change.UNCHANGED, was=known.span)
    is_late = speaker.said_at is not None and (
        speaker.said_at < known.said_at or (known.span is None and speaker.said_at == known.said_at)
    )
    if is_late:
        return Judged(span=span, change=Change.SUPERSEDED, was=known.span)
    if known.author is not None and not speaker.is_person and not (known.span and _only_ends(span, known.span)):
        did = (
            "removed this run" if known.span is None else f"said otherwise ({differences(span, known.span, site.zone)})"
        )
        return Judged(
            span=span,
            refused=f"{known.author} {did}, because: {known.reason}; mend its source, or give an author and a reason "
            "to overrule that",
            was=known.span,
        )
    return Judged(span=span, change=Change.CORRECTED, was=known.span)


def _same(span: RunSpan, other: RunSpan) -> bool:
    return all(getattr(span, name) == getattr(other, name) for name in _TELLS)


def _only_ends(span: RunSpan, was: RunSpan) -> bool:
    """Whether it is the same run, but for an end where there was none."""
    return was.end is None and _same(span, was.model_copy(update={"end": span.end}))


def _told(value: object, zone: ZoneInfo) -> str:
    """An instant is told to the second, as the clock on the site's wall shows it."""
    if isinstance(value, int):
        at = from_unix_ms(value)
        return str(value) if at is None else f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    return "none" if value is None else str(value)
