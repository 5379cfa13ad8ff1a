"""Driver values and price indices as callers give them, and as they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.cursor import Page, page_of
from api.database import Connection
from api.drivers import price_index as price_index_store
from api.drivers import store as driver_store
from api.drivers.store import PARTS, Whose
from api.exact_json import Answer, Instant, Number
from api.indicators.drivers import Driver
from api.periods import EARLIEST, LATEST
from schemas.topics import KEY_PATTERN

MOST = 10_000
Day = Annotated[date, Field(ge=date(EARLIEST, 1, 1), le=date(LATEST, 12, 31))]
Source = Annotated[str, Field(min_length=1, max_length=200, description="where the number comes from")]
Part = Annotated[str | None, Field(max_length=200)]


class DriverValue(BaseModel):
    """A driver over whole local days, `to` being the first day after. Money is in DKK at the prices of a year.

    It is of the whole site, or of one of its lines, product families or products.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    driver: Driver
    line: Part = None
    family: Part = None
    product: Part = None
    start: Annotated[Day, Field(alias="from")]
    end: Annotated[Day, Field(alias="to")]
    value: Annotated[Decimal, Field(max_digits=30, decimal_places=9)]
    unit: Annotated[str, Field(pattern="^(DKK|pcs|kg)$")]
    price_year: Annotated[int | None, Field(ge=EARLIEST, le=LATEST)] = None
    source: Source

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start >= self.end:
            raise ValueError("`to` is the first day after the span and must be after `from`")
        if self.driver.is_money and (self.unit != "DKK" or self.price_year is None):
            raise ValueError(f"{self.driver} is money: give unit DKK and the price_year of its prices")
        if not self.driver.is_money and (self.unit == "DKK" or self.price_year is not None):
            raise ValueError(f"{self.driver} is in pcs or kg, without a price_year")
        if sum(part is not None for part in (self.line, self.family, self.product)) > 1:
            raise ValueError("give one of line, family and product at most: a value is of one of them")
        return self


class DriverValues(BaseModel):
    """Values to add; one of the same driver, part and span is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[DriverValue], Field(min_length=1, max_length=MOST)]


class DriverValueAnswer(Answer):
    """`line`, `family` or `product` is what it is of; none of them: the whole."""

    driver: Driver
    line: str | None
    family: str | None
    product: str | None
    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    value: Number
    unit: str
    price_year: int | None
    source: str
    recorded_at: Instant


class PriceIndexValue(BaseModel):
    """How high prices were in a year, on any scale: only ratios of two years of one index mean something."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern=KEY_PATTERN)]
    year: Annotated[int, Field(ge=EARLIEST, le=LATEST)]
    value: Annotated[Decimal, Field(gt=0, max_digits=30, decimal_places=9)]
    source: Source


class PriceIndexValues(BaseModel):
    """Values to add; one of the same index and year is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Annotated[list[PriceIndexValue], Field(min_length=1, max_length=MOST)]


class PriceIndexAnswer(Answer):
    key: str
    year: int
    value: Number
    source: str
    recorded_at: Instant


class Saved(Answer):
    saved: int


class Removed(Answer):
    removed: int


async def driver_page(
    connection: Connection, whose: Whose, *, driver: Driver | None, after: Sequence[str] | None, limit: int
) -> Page[DriverValueAnswer]:
    """What is known, by driver and span."""
    rows = await driver_store.page(connection, whose, driver=driver, after=after, limit=limit + 1)
    items = [
        DriverValueAnswer(
            driver=row["driver"],
            line=row["line"],
            family=row["family"],
            product=row["product"],
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
    return page_of(items, limit, _driver_key)


def _driver_key(item: DriverValueAnswer) -> tuple[str, ...]:
    parts = (item.line or "", item.family or "", item.product or "")
    return item.driver.value, str(item.start), str(item.end), *parts


async def save_driver_values(connection: Connection, whose: Whose, values: Sequence[DriverValue]) -> Saved:
    """Add or replace values, all or none. Raises 409 and 422 problems."""
    rows: list[dict[str, Any]] = [
        {
            "driver": item.driver,
            "from_date": item.start,
            "to_date": item.end,
            "value": item.value,
            "unit": item.unit,
            "price_year": item.price_year,
            "source": item.source,
            **{part: getattr(item, part) for part in PARTS},
        }
        for item in values
    ]
    await driver_store.save(connection, whose, rows)
    return Saved(saved=len(rows))


async def price_index_page(
    connection: Connection, organisation_id: int, *, key: str | None, after: tuple[str, int] | None, limit: int
) -> Page[PriceIndexAnswer]:
    """What is known, by key and year."""
    rows = await price_index_store.page(connection, organisation_id, key=key, after=after, limit=limit + 1)
    return page_of([PriceIndexAnswer(**row) for row in rows], limit, lambda item: (item.key, item.year))


async def save_price_indices(connection: Connection, organisation_id: int, values: Sequence[PriceIndexValue]) -> Saved:
    """Add or replace values, all or none."""
    await price_index_store.save(connection, organisation_id, [item.model_dump() for item in values])
    return Saved(saved=len(values))
