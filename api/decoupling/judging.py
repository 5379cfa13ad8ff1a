"""From what was used and made in two windows to a judgement, its doubts and its sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from api.decoupling.places import Level, Place
from api.decoupling.using import Used
from api.indicators import doubts, sentences
from api.indicators.accuracy import class_error
from api.indicators.decoupling import LEAST_USABLE_DAYS, Judgement, Source, Verdict, are_alike, judge
from api.indicators.drivers import Driver, Made, Origin
from api.indicators.pressures import Indicator, Use
from api.indicators.wording import Text
from schemas.quantities import SCALE

_COMPARABLE = 0.15
"""Periods whose lengths differ by more than this are not compared at all [our own choice]."""
_BASE, _PERIOD = Text("base period", "basisperioden"), Text("period", "perioden")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """Accuracy classes in percent by meter, and the meters that were exchanged between the periods."""

    classes: Mapping[str, float | None]
    exchanged: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`judgement` is None where the data allow no comparison; `reason` and `sentence` then say why."""

    base: Used
    period: Used
    made_base: Made
    made_period: Made
    judgement: Judgement | None
    reason: Text | None
    doubts: tuple[Text, ...]
    sentence: Text


def judge_windows(
    place: Place,
    indicator: Indicator,
    driver: Driver,
    *,
    used: tuple[Used, Used],
    made: tuple[Made, Made],
    meters: Meters,
) -> Judged:
    """One window against the base."""
    reason = _obstacle(place, used, made)
    found: list[Text] = []
    judgement = None
    uses, values = (used[0].use, used[1].use), (made[0].value, made[1].value)
    if reason is None and uses[0] and uses[1] and values[0] is not None and values[1] is not None:
        judgement = judge(
            pressure=(uses[0].pressure, uses[1].pressure),
            driver=(values[0], values[1]),
            usable_days=(min(used[0].usable, made[0].usable), min(used[1].usable, made[1].usable)),
            days=(used[0].days.count, used[1].days.count),
            accuracy=_accuracy(uses[0], uses[1], meters),
            driver_error=(made[0].estimated, made[1].estimated),
        )
        if judgement.verdict is not None:
            found = list(_doubts(judgement, driver, used=used, made=made, meters=meters))
            judgement = replace(judgement, verdict=Verdict.LEANING if found else Verdict.FIRM)
        sentence = sentences.tell(judgement, indicator=indicator, driver=driver, doubts=found, place=place.phrase)
    else:
        sentence = sentences.cannot_tell(indicator, reason or Text("unknown", "ukendt"), place=place.phrase)
    return Judged(
        base=used[0],
        period=used[1],
        made_base=made[0],
        made_period=made[1],
        judgement=judgement,
        reason=reason,
        doubts=tuple(found),
        sentence=sentence,
    )


def _accuracy(base: Use, period: Use, meters: Meters) -> Fraction:
    return class_error(
        base.counts,
        period.counts,
        # In billionths, as counts are.
        totals=(base.pressure.total * SCALE, period.pressure.total * SCALE),
        classes=meters.classes,
        exchanged=meters.exchanged,
    )


def _obstacle(place: Place, used: tuple[Used, Used], made: tuple[Made, Made]) -> Text | None:
    """What forbids any comparison, if something does."""
    base, period = used
    for one, when in ((base, _BASE), (period, _PERIOD)):
        if one.use is None:
            return _nothing(place, when)
        if one.use.is_unknown:
            return Text(
                f"no CO2 factor is loaded for its energy in the {when.en}; load some with `afkobling factors import`",
                f"der er ingen CO2-faktor for energien i {when.da}; indlæs nogle med `afkobling factors import`",
            )
    if reason := _uneven_sites(base, period):
        return reason
    if abs(period.days.count - base.days.count) / base.days.count > _COMPARABLE:
        return doubts.unequal_lengths(base.days.count, period.days.count) + Text(
            "; choose equal lengths", "; vælg lige lange perioder"
        )
    if problem := made[0].problem or made[1].problem:
        return problem
    if made[0].unit != made[1].unit:
        return Text(
            f"the driver is in {made[0].unit} in the base period and in {made[1].unit} in the period;"
            " give both in one unit",
            f"driveren er i {made[0].unit} i basisperioden og i {made[1].unit} i perioden; angiv begge i én enhed",
        )
    return None


def _nothing(place: Place, when: Text) -> Text:
    if place.level in {Level.SITE, Level.ORGANISATION}:
        return Text(f"there are no readings in the {when.en}", f"der er ingen aflæsninger i {when.da}")
    return Text(
        f"nothing of it was shared out there in the {when.en}; check that there are runs and readings",
        f"intet af det blev fordelt dertil i {when.da}; se efter, om der er kørsler og aflæsninger",
    )


def _uneven_sites(base: Used, period: Used) -> Text | None:
    """A site that only one of the periods knows would look like growth or saving by itself."""
    once = sorted(set(base.left_out) ^ set(period.left_out))
    if not once:
        return None
    listed = ", ".join(once)
    return Text(
        f"only one of the periods has data of {listed}; load the other one's, or ask site by site",
        f"kun en af perioderne har data fra {listed}; indlæs den andens, eller spørg lokation for lokation",
    )


def _doubts(
    judgement: Judgement, driver: Driver, *, used: tuple[Used, Used], made: tuple[Made, Made], meters: Meters
) -> Iterator[Text]:
    base, period = used
    yield from _doubts_of_sources(judgement, used, made, meters)
    for one, is_base in ((base, True), (period, False)):
        if one.usable < LEAST_USABLE_DAYS:
            yield doubts.doubt_of_days(one.usable, is_base=is_base, meter=one.worst_meter)
    for volume, is_base in ((made[0], True), (made[1], False)):
        if volume.origin is Origin.MEASURED and volume.usable < LEAST_USABLE_DAYS:
            yield doubts.doubt_of_days(volume.usable, is_base=is_base, meter=volume.worst_meter or "")
    for one, is_base in ((base, True), (period, False)):
        if one.use is not None and one.use.known_share < 1:
            yield doubts.doubt_of_factors(one.use.known_share, is_base=is_base)
    if base.left_out:
        yield doubts.doubt_of_sites(base.left_out)
    lengths = (base.days.count, period.days.count)
    if judgement.daily_states != judgement.states:
        yield doubts.doubt_of_daily_means(*lengths, judgement.daily_states, driver=driver)
    elif not are_alike(*lengths):
        yield doubts.doubt_of_lengths(*lengths)


def _doubts_of_sources(
    judgement: Judgement, used: tuple[Used, Used], made: tuple[Made, Made], meters: Meters
) -> Iterator[Text]:
    """What brings more than one state into the interval."""
    uses = [one.use for one in used if one.use is not None]
    for source in judgement.sources:
        match source:
            case Source.ESTIMATES:
                estimated = sum(abs(use.estimated) for use in uses)
                total = estimated + sum(abs(use.measured) for use in uses)
                yield doubts.doubt_of_states(judgement.states, Fraction(estimated, total or 1))
            case Source.ACCURACY:
                named = sorted({meter for use in uses for meter in use.counts})
                without = [meter for meter in named if meters.classes.get(meter) is None]
                yield doubts.doubt_of_accuracy(judgement.states, judgement.accuracy, without_class=without)
            case Source.SHARING:
                yield doubts.doubt_of_sharing(judgement.states)
            case Source.DRIVER:
                # What may be off is half of what is estimated.
                off = sum((one.estimated for one in made), Fraction(0)) * 2
                total_made = sum((one.value or Fraction(0) for one in made), Fraction(0))
                yield doubts.doubt_of_driver(judgement.states, min(off / (total_made or 1), Fraction(1)))
