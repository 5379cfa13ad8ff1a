"""Whether meters read with a new configuration as they did with the one before. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edge.last_readings import LastReading, patience_s
from schemas.wire import OfferedMeter

_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Of the meters that were read before: those that have not read again, and of these those whose time is over."""

    waiting: tuple[str, ...]
    late: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        return not self.waiting

    @property
    def has_failed(self) -> bool:
        return bool(self.late)


def judge(
    meters: Iterable[str],
    offers: Iterable[OfferedMeter],
    last: Mapping[str, LastReading],
    *,
    began_s: float,
    now_s: float,
    trial_s: float,
) -> Judgement:
    """A meter has three times its cadence, or `trial_s` if that is longer. One that is offered no more is no matter.

    One that comes when it likes, and whose pauses are not known, as after a restart, is not missed after `trial_s`.
    """
    cadences = {offer.meter: offer.cadence_ms for offer in offers}
    waiting, late = [], []
    for meter in meters:
        heard = last.get(meter)
        if meter not in cadences or (heard is not None and heard.taken_s >= began_s):
            continue
        allowed_s = patience_s(cadences[meter], heard)
        is_over = now_s - began_s > max(allowed_s or 0.0, trial_s)
        if allowed_s is not None or not is_over:
            waiting.append(meter)
            if is_over:
                late.append(meter)
    return Judgement(waiting=tuple(waiting), late=tuple(late))


def reading_now(
    offers: Iterable[OfferedMeter],
    last: Mapping[str, LastReading],
    *,
    began_s: float,
    now_s: float,
    still_offered: Collection[str],
    trial_s: float,
) -> list[str]:
    """Meters that are read now and will be missed if a new configuration does not read them.

    One without a cadence that has read once only may come when it likes, and is not missed.
    """
    found = []
    for offer in offers:
        heard = last.get(offer.meter)
        allowed_s = patience_s(offer.cadence_ms, heard)
        if heard is None or allowed_s is None or heard.taken_s < began_s or offer.meter not in still_offered:
            continue
        if now_s - heard.taken_s <= max(allowed_s, trial_s):
            found.append(offer.meter)
    return found


def all_have_read(offers: Iterable[OfferedMeter], last: Mapping[str, LastReading], *, began_s: float) -> bool:
    """Whether it is clear by now which meters are read: all are."""
    return all((heard := last.get(offer.meter)) is not None and heard.taken_s >= began_s for offer in offers)


def why_it_failed(judgement: Judgement, version: int) -> str:
    """For whoever sent it."""
    names = ", ".join(judgement.late[:_NAMED])
    more = f" and {len(judgement.late) - _NAMED} more" if len(judgement.late) > _NAMED else ""
    return f"with version {version} these meters gave nothing in time, and did before: {names}{more}"
