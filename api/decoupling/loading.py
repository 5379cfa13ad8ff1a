"""What a site's figures of decoupling rest on, loaded once for all periods, places and indicators of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, LiteralString

from api import site_store
from api.attribution.loader import Attributed, attribute_buckets
from api.balance import Place
from api.balance_store import site_places
from api.calendar.clock import midnight
from api.database import Connection, fetch_all
from api.decoupling.meter_days import Counted, counted
from api.decoupling.windows import pieces
from api.indicators.outputs import Batch, batches, finished, only_finished
from api.indicators.parts import Attribution, LineHours, Part
from api.indicators.products import ProductUnit
from api.indicators.takings import Owner, Taken, Whose, gather
from api.indicators.tallies import Tallies
from api.periods import Days
from api.series import Row
from api.site_store import SiteRow
from schemas.resources import Resource

_EXCHANGED: LiteralString = """
SELECT DISTINCT m.key FROM current_exchange AS x JOIN meter AS m ON m.id = x.meter_id
WHERE m.site_id = %(site)s AND x.at > %(start)s AND x.at < %(end)s
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the site model says, and which meters were exchanged from the first day asked for to the last."""

    site: SiteRow
    meters: Sequence[Row]
    lines: Sequence[Row]
    products: Sequence[Row]
    places: Mapping[str, Place]
    exchanged: frozenset[str]

    @cached_property
    def resources(self) -> dict[str, Resource]:
        return {meter["id"]: Resource(meter["resource"]) for meter in self.meters}

    @cached_property
    def classes(self) -> dict[str, float | None]:
        """Accuracy classes in percent."""
        return {meter["id"]: meter["accuracy_class"] for meter in self.meters}

    @cached_property
    def onward(self) -> dict[str, str | None]:
        """The line to which a line's output goes on."""
        return {line["id"]: line["next"] for line in self.lines}

    @cached_property
    def families(self) -> list[str]:
        return sorted({product["family"] for product in self.products if product["family"] is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What was shared out in a window of days: to each owner, and what came out, all of it and what was finished."""

    takings: Mapping[Owner, Taken]
    finished: Sequence[Batch]
    batches: Sequence[Batch]
    counted: Mapping[str, int]
    _tallies: dict[tuple[Owner, bool], Tallies] = field(default_factory=dict)

    def tallies(self, owner: Owner, *, whole: bool) -> Tallies:
        """What an owner took fully loaded, or the `whole` of a place's; worked out once."""
        key = owner, whole
        if key not in self._tallies:
            taken = self.takings.get(owner, Taken())
            self._tallies[key] = taken.whole if whole else taken.loaded
        return self._tallies[key]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Counted meters and attributions by spans of days that windows are made of; `whose` are the owners asked for."""

    facts: Facts
    whose: Whose
    units: Mapping[str, ProductUnit]
    spans: Sequence[Days]
    counts: Sequence[Mapping[str, Counted]]
    attributions: Sequence[Attribution]
    _shared: dict[Days, Shared] = field(default_factory=dict)
    _counted: dict[Days, dict[str, Counted]] = field(default_factory=dict)

    def counted(self, window: Days) -> Mapping[str, Counted]:
        """What each meter counted in a window, worked out once; of which nothing is known, it is left out."""
        if window not in self._counted:
            self._counted[window] = self._count(window)
        return self._counted[window]

    def _count(self, window: Days) -> dict[str, Counted]:
        found: dict[str, Counted] = {}
        for span, counts in zip(self.spans, self.counts, strict=True):
            if window.first <= span.first and span.end <= window.end:
                for meter, its in counts.items():
                    found[meter] = found[meter] + its if meter in found else its
        return found

    def shared(self, window: Days) -> Shared:
        """What was shared out in a window; worked out once."""
        if window not in self._shared:
            self._shared[window] = self._share(window)
        return self._shared[window]

    def _share(self, window: Days) -> Shared:
        parts: list[Part] = []
        hours: list[LineHours] = []
        made: list[Batch] = []
        totals: dict[str, int] = {}
        for span, attribution in zip(self.spans, self.attributions, strict=True):
            if window.first <= span.first and span.end <= window.end:
                parts += attribution.parts
                hours += attribution.hours
                made += batches(attribution.production)
                for metered in attribution.metered:
                    totals[metered.meter] = totals.get(metered.meter, 0) + metered.counted.total
        done = only_finished(made, finished(made, self.facts.onward), self.facts.onward)
        beside = {meter["id"]: meter["product"] for meter in self.facts.meters}
        return Shared(
            takings=gather(parts, hours, whose=self.whose, found=done, products=self.units, beside=beside),
            finished=done,
            batches=made,
            counted=totals,
        )


async def load_facts(connection: Connection, site: SiteRow, windows: Sequence[Days]) -> Facts:
    """The site model, and exchanges between the first day of all windows and the last."""
    whole = Days(first=min(w.first for w in windows), end=max(w.end for w in windows)).within(site.zone)
    values: dict[str, Any] = {"site": site.id, "start": whole.start, "end": whole.end}
    return Facts(
        site=site,
        meters=await site_store.meters(connection, site),
        lines=await site_store.lines(connection, site),
        products=await site_store.products(connection, site),
        places={place.parent: place for place in await site_places(connection, site)},
        exchanged=frozenset(row["key"] for row in await fetch_all(connection, _EXCHANGED, values)),
    )


async def load(
    connection: Connection, facts: Facts, windows: Sequence[Days], *, whose: Whose, by_month: bool
) -> Loaded:
    """Share everything out over the windows, each by calendar month if wished, and count what meters say."""
    spans = pieces(windows, by_month=by_month)
    found = await _attribute(connection, facts.site, spans, of_site=whose is Whose.SITE)
    return Loaded(
        facts=facts,
        whose=whose,
        units=found[0].units if found else {},
        spans=spans,
        counts=[counted(one.attribution) for one in found],
        attributions=[one.attribution for one in found],
    )


async def _attribute(
    connection: Connection, site: SiteRow, spans: Sequence[Days], *, of_site: bool
) -> list[Attributed]:
    """Each span shared out; those that follow each other are asked for together."""
    found: list[Attributed] = []
    following: list[Days] = []
    for i, span in enumerate(spans):
        following.append(span)
        if i + 1 == len(spans) or spans[i + 1].first != span.end:
            edges = [midnight(day, site.zone) for day in (*(one.first for one in following), span.end)]
            found += await attribute_buckets(connection, site, edges, of_site=of_site)
            following = []
    return found
