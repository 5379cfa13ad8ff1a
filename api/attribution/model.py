"""What an attribution rests on besides quantities and runs: the site model, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from psycopg.rows import DictRow
from pydantic import TypeAdapter

from api import site_store
from api.calendar.clock import midnight
from api.database import Connection
from api.indicators.attribution import Places
from api.indicators.flows import Ruled
from api.indicators.products import ProductUnit, product_unit
from api.site_store import SiteRow
from schemas.quantities import QUARTER_MS
from schemas.sharing import Share, rules_of

METHOD = 2
"""Goes up when the maths of attribution changes, so that what was computed before is computed again."""
_SHARES: TypeAdapter[Share | list[Share] | None] = TypeAdapter(Share | list[Share] | None)
_OF_METERS = (
    "id",
    "resource",
    "canonical_unit",
    "carrier",
    "line",
    "utility",
    "parent",
    "direction",
    "share",
    "product",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A site as attribution sees it; rows as `site_store` gives them, by key."""

    site: SiteRow
    meters: Mapping[str, DictRow]
    lines: Mapping[str, DictRow]
    products: Mapping[str, DictRow]
    utilities: Mapping[str, DictRow]

    @property
    def fingerprint(self) -> bytes:
        """The same for models by which everything is shared out alike."""
        content = {
            "method": METHOD,
            "time_zone": self.site.time_zone,
            "grid_area": self.site.grid_area,
            "meters": [[meter[name] for name in _OF_METERS] for meter in self.meters.values()],
            "lines": list(self.lines),
            "products": [[key, row["mass_kg"]] for key, row in self.products.items()],
            "utilities": [[key, row["share"]] for key, row in self.utilities.items()],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()[:16]

    @property
    def places(self) -> Places:
        """Where consumption goes."""
        return Places(
            lines=list(self.lines),
            utilities={key: ruled(row["share"], self.site.zone) for key, row in self.utilities.items()},
            mass_kg={key: row["mass_kg"] for key, row in self.products.items() if row["mass_kg"] is not None},
        )

    @property
    def units(self) -> dict[str, ProductUnit]:
        """The products by key."""
        return {key: product_unit(row) for key, row in self.products.items()}


async def load_model(connection: Connection, site: SiteRow) -> Model:
    """The site's model as it is now."""
    return Model(
        site=site,
        meters=_by_key(await site_store.meters(connection, site)),
        lines=_by_key(await site_store.lines(connection, site)),
        products=_by_key(await site_store.products(connection, site)),
        utilities=_by_key(await site_store.utilities(connection, site)),
    )


def ruled(share: Any, zone: ZoneInfo) -> tuple[Ruled, ...]:
    """The rules of a stored share, each from the quarter on in which its day begins."""
    return tuple(
        Ruled(since=0 if rule.start is None else _first_quarter(rule.start, zone), share=rule)
        for rule in rules_of(_SHARES.validate_python(share))
    )


def _first_quarter(day: date, zone: ZoneInfo) -> int:
    return -(-round(midnight(day, zone).timestamp() * 1000) // QUARTER_MS)


def _by_key(rows: Sequence[DictRow]) -> dict[str, DictRow]:
    return {row["id"]: row for row in rows}
