"""What a question about decoupling is asked of: an organisation, a site, or its lines, product families or products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from api.decoupling.loading import Facts
from api.drivers.store import Whose as DriverOf
from api.indicators.outputs import Batch
from api.indicators.sentences import NOWHERE
from api.indicators.takings import Owner, Whose
from api.indicators.wording import Text
from api.problems import bad_value, not_found


class Level(StrEnum):
    """How far down."""

    ORGANISATION = "organisation"
    SITE = "site"
    LINE = "line"
    FAMILY = "family"
    PRODUCT = "product"


_WHOSE = {
    Level.SITE: Whose.SITE,
    Level.LINE: Whose.LINE,
    Level.FAMILY: Whose.FAMILY,
    Level.PRODUCT: Whose.PRODUCT,
}
_PHRASES = {
    Level.LINE: Text(" of line {}", " for linje {}"),
    Level.FAMILY: Text(" of product family {}", " for produktfamilien {}"),
    Level.PRODUCT: Text(" of product {}", " for produktet {}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One organisation, site, line, family or product; `key` is None for the first two."""

    level: Level
    key: str | None = None

    @property
    def phrase(self) -> Text:
        """How a phrase about it ends, as in ` of line press`."""
        phrase = _PHRASES.get(self.level)
        return NOWHERE if phrase is None else Text(phrase.en.format(self.key), phrase.da.format(self.key))

    @property
    def whose(self) -> Whose:
        """As attribution names it. Not of an organisation."""
        return _WHOSE[self.level]

    @property
    def owner(self) -> Owner:
        """As attribution names it."""
        match self.level:
            case Level.LINE:
                return Owner(line=self.key)
            case Level.FAMILY:
                return Owner(family=self.key)
            case Level.PRODUCT:
                return Owner(product=self.key)
            case _:
                return Owner()

    def driver_of(self, facts: Facts) -> DriverOf:
        """Whose driver values are its own."""
        site = DriverOf(organisation_id=facts.site.organisation_id, site_id=facts.site.id)
        match self.level:
            case Level.LINE:
                return DriverOf(organisation_id=site.organisation_id, site_id=site.site_id, line=self.key)
            case Level.FAMILY:
                return DriverOf(organisation_id=site.organisation_id, site_id=site.site_id, family=self.key)
            case Level.PRODUCT:
                return DriverOf(organisation_id=site.organisation_id, site_id=site.site_id, product=self.key)
            case _:
                return site

    def output(self, batches: Sequence[Batch], finished: Sequence[Batch], facts: Facts) -> list[Batch]:
        """What of it was made here: of a line all that it made, else what was finished."""
        match self.level:
            case Level.LINE:
                return [batch for batch in batches if batch.line == self.key]
            case Level.FAMILY:
                of = {product["id"] for product in facts.products if product["family"] == self.key}
                return [batch for batch in finished if batch.product in of]
            case Level.PRODUCT:
                return [batch for batch in finished if batch.product == self.key]
            case _:
                return list(finished)


def places_of(facts: Facts, level: Level, keys: Sequence[str] | None) -> list[Place]:
    """The places of a site on a level, or those with these keys. Raises a 404 problem for another key."""
    if level in {Level.SITE, Level.ORGANISATION}:
        if keys:
            raise bad_value("key", f"a {level} has no parts to choose from; leave it out, or give level=line")
        return [Place(level=level)]
    there: list[str] = {
        Level.LINE: [line["id"] for line in facts.lines],
        Level.FAMILY: facts.families,
        Level.PRODUCT: [product["id"] for product in facts.products],
    }[level]
    for key in keys or ():
        if key not in there:
            known = ", ".join(there) or "none"
            raise not_found(f"there is no {level} {key!r} at {facts.site.key}; known: {known}")
    return [Place(level=level, key=key) for key in there if not keys or key in keys]
