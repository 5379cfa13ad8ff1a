"""Driver values: the economic side of a site."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from api import driver_store
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.driver_store import Driver
from api.exact_json import Answer, ExactRoute, Instant, Number, reply
from api.periods import EARLIEST, LATEST
from api.site_store import OwnSite

router = APIRouter(prefix="/v1/sites/{site}", tags=["driver values"], route_class=ExactRoute)

Day = Annotated[date, Field(ge=date(EARLIEST, 1, 1), le=date(LATEST, 12, 31))]


class DriverValue(BaseModel):
    """A driver over whole local days, `to` being the first day after. Money is in DKK at the prices of a year."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    driver: Driver
    start: Annotated[Day, Field(alias="from")]
    end: Annotated[Day, Field(alias="to")]
    value: Annotated[Decimal, Field(max_digits=30, decimal_places=9)]
    unit: Annotated[str, Field(pattern="^(DKK|pcs|kg)$")]
    price_year: Annotated[int | None, Field(ge=EARLIEST, le=LATEST)] = None
    source: Annotated[str, Field(min_length=1, max_length=200, description="where the number comes from")]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start >= self.end:
            raise ValueError("`to` is the first day after the span and must be after `from`")
        if self.driver.is_money and (self.unit != "DKK" or self.price_year is None):
            raise ValueError(f"{self.driver} is money: give unit DKK and the price_year of its prices")
        if not self.driver.is_money and (self.unit == "DKK" or self.price_year is not None):
            raise ValueError(f"{self.driver} is in pcs or kg, without a price_year")
        return self


class DriverValues(BaseModel):
    """Values to add; one of the same driver and span is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[DriverValue], Field(min_length=1, max_length=10_000)]


class DriverValueAnswer(Answer):
    driver: Driver
    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    value: Number
    unit: str
    price_year: int | None
    source: str
    recorded_at: Instant


class Saved(Answer):
    saved: int


@router.get("/driver-values", response_model=Page[DriverValueAnswer])
async def driver_values(
    site: OwnSite,
    connection: Database,
    driver: Driver | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """What is known, by driver and span."""
    after = decode_cursor(cursor, str, str, str) if cursor else None
    rows = await driver_store.page(connection, site, driver=driver, after=after, limit=limit + 1)
    items = [
        DriverValueAnswer(
            driver=row["driver"],
            start=row["from_date"],
            end=row["to_date"],
            value=row["value"],
            unit=row["unit"],
            price_year=row["price_year"],
            source=row["source"],
            recorded_at=row["recorded_at"],
        )
        for row in rows
    ]
    return reply(page_of(items, limit, lambda item: (item.driver.value, str(item.start), str(item.end))))


@router.put("/driver-values", response_model=Saved)
async def put_driver_values(site: OwnSite, body: DriverValues, connection: Database) -> Response:
    """Add or replace values, all or none. Spans of one driver must not overlap."""
    values = [
        {
            "driver": item.driver,
            "from_date": item.start,
            "to_date": item.end,
            "value": item.value,
            "unit": item.unit,
            "price_year": item.price_year,
            "source": item.source,
        }
        for item in body.items
    ]
    await driver_store.save(connection, site, values)
    return reply(Saved(saved=len(values)))
