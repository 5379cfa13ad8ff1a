"""CO2e factors of the demo: those that the simulation made up itself, named so wherever they are shown."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import LiteralString

import psycopg
from psycopg.rows import dict_row

from api.factors.given import GivenFactor, GivenSeries
from api.factors.versions import put
from api.said import Said
from edge.simulation.emissions import AREA, GAS_KG_PER_KWH, RESIDUAL_MIX_KG_PER_KWH, SOURCE
from edge.simulation.workshop import Workshop
from schemas.carriers import FactorBasis, Gas
from schemas.site import SiteModel

_HOUR_MS = 3_600_000
_LICENCE = "none needed"
_ORGANISATION: LiteralString = "SELECT id FROM organisation WHERE key = %s"


def load_factors(database_url: str, model: SiteModel, workshop: Workshop, *, until_ms: int) -> None:
    """Store the workshop's factors: the grid's in every hour that is over at `until_ms`, and two constant ones."""
    asyncio.run(_load(database_url, model.organisation.id, _constant(workshop), _hourly(workshop, until_ms)))


async def _load(database_url: str, organisation: str, factors: list[GivenFactor], series: list[GivenSeries]) -> None:
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, connect_timeout=10, options="-c timezone=UTC"
    )
    async with connection:
        row = await (await connection.execute(_ORGANISATION, [organisation])).fetchone()
        if row is None:
            raise LookupError(f"there is no organisation {organisation}; apply its site model first")
        await put(connection, row["id"], factors, series, Said(author="the demo", reason="simulated factors"))


def _constant(workshop: Workshop) -> list[GivenFactor]:
    def factor(key: str, carrier: str, kg_per_kwh: float, basis: FactorBasis | None) -> GivenFactor:
        return GivenFactor(
            key=key,
            carrier=carrier,
            basis=basis,
            value=Decimal(repr(kg_per_kwh)),
            unit="kg/kWh",
            gas=Gas.CO2E,
            start=workshop.first_day,
            source=SOURCE,
            licence=_LICENCE,
        )

    return [
        factor("simulated-gas", "natural_gas", GAS_KG_PER_KWH, None),
        factor("simulated-residual-mix", "electricity", RESIDUAL_MIX_KG_PER_KWH, FactorBasis.RESIDUAL_MIX),
    ]


def _hourly(workshop: Workshop, until_ms: int) -> list[GivenSeries]:
    """A series a month (UTC), as the files of a grid operator would give."""
    months: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for factor in workshop.grid_factors():
        if factor.at_ms + _HOUR_MS <= until_ms:
            month = f"{datetime.fromtimestamp(factor.at_ms / 1000, UTC):%Y-%m}"
            months[month][factor.at_ms // _HOUR_MS] = factor.kg_per_kwh
    return [
        GivenSeries(
            key=f"simulated-{AREA.lower()}-{month}",
            area=AREA,
            source=SOURCE,
            licence=_LICENCE,
            remark=None,
            hours=hours,
        )
        for month, hours in sorted(months.items())
    ]
