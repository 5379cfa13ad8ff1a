"""Answers as tables: columns by the model, the same numbers in every format."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from api.cursor import Page
from api.exact_json import Answer, Instant, Number, Ratio, encode, ratio
from api.tables.columns import layouts
from api.tables.tabular import TooLargeError, arrow_schema, to_arrow, to_arrow_stream, to_csv, to_parquet
from schemas.quantities import to_decimal
from schemas.resources import Resource


class Amount(Answer):
    total: Number
    measured: Number | None


class Month(Answer):
    start: Annotated[date, Field(alias="from")]
    value: Ratio | None


class Row(Answer):
    key: str
    resource: Resource
    marginal: Amount
    idle: Amount | None
    quantity_unit: str
    value: Annotated[Ratio | None, Field(json_schema_extra={"unit_column": "unit"}, description="for one good unit")]
    unit: str
    power: Annotated[Number | None, Field(json_schema_extra={"unit": "kW"})] = None
    rules: list[str]
    series: list[Month] = []  # noqa: RUF012 - pydantic copies it
    at: Instant
    count: int
    is_open: bool
    reading: float | None


class Wider(Row):
    shift: str


class Driver(Answer):
    name: str
    value: Number | None


class Told(Answer):
    driver: Driver
    key: str = "around"
    findings: list[Driver] = []  # noqa: RUF012
    items: list[Row]
    next: str | None = None


AT = datetime(2026, 3, 2, 10, 0, 0, 5000, tzinfo=timezone(timedelta(hours=1)))


def row(**changes) -> Row:
    values = {
        "key": "shaft",
        "resource": Resource.ENERGY,
        "marginal": Amount(total=to_decimal(2**63 - 1), measured=None),
        "idle": None,
        "quantity_unit": "kWh",
        "value": ratio(1 / 3),
        "unit": "kWh/pcs",
        "rules": ["line_meter", "share:fixed"],
        "at": AT,
        "count": 3,
        "is_open": True,
        "reading": 0.1,
        **changes,
    }
    return Row(**values)


def told(*rows) -> Told:
    return Told(driver=Driver(name="revenue", value=Decimal("999999999999999999999.999999999")), items=list(rows))


LAYOUT = layouts(Told)["items"]


def parsed(text) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_columns_are_dotted_and_what_stands_beside_the_rows_follows():
    assert [column.name for column in (*LAYOUT.columns, *LAYOUT.around)] == [
        "key",
        "resource",
        "marginal.total",
        "marginal.measured",
        "idle.total",
        "idle.measured",
        "quantity_unit",
        "value",
        "unit",
        "power",
        "rules",
        "series",
        "at",
        "count",
        "is_open",
        "reading",
        "driver.name",
        "driver.value",
        "answer.key",
    ]
    assert list(layouts(Told)) == ["items", "findings"]
    assert layouts(Driver) == {}


def test_types_units_and_nulls_come_from_the_model():
    schema = arrow_schema(LAYOUT, {"request": "/v1"})
    assert schema.field("marginal.total").type == pa.decimal128(38, 9)
    assert schema.field("value").type == pa.float64()
    assert schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("rules").type == pa.list_(pa.string())
    assert schema.field("series").type == pa.list_(
        pa.struct([pa.field("from", pa.date32(), nullable=False), pa.field("value", pa.float64())])
    )
    assert schema.field("idle.total").nullable
    assert not schema.field("marginal.total").nullable
    assert schema.field("marginal.total").metadata == {b"unit_column": b"quantity_unit"}
    assert schema.field("value").metadata == {b"description": b"for one good unit", b"unit_column": b"unit"}
    assert schema.field("power").metadata == {b"unit": b"kW"}
    assert schema.metadata == {b"afkobling.request": b"/v1"}


@pytest.mark.parametrize("rows", [(), (row(),), (row(value=None, idle=Amount(total=Decimal(1), measured=None)),)])
def test_the_schema_is_the_same_whatever_rows_come(rows):
    assert to_arrow(LAYOUT, told(*rows), {}).schema.equals(arrow_schema(LAYOUT, {}), check_metadata=True)


def test_rows_of_several_models_have_the_columns_of_all():
    layout = layouts(Page[Wider | Row])["items"]
    answer: Page[Row] = Page(items=[row(), Wider(**dict(row()), shift="night")], next=None)
    table = to_arrow(layout, answer, {})
    assert table.column("shift").to_pylist() == [None, "night"]
    assert table.schema.field("shift").nullable


def test_csv_is_what_the_json_says():
    answer = told(row(key='a "b", c', rules=[]), row(key="", rules=["a;b", "c"], value=None, series=[MONTH]))
    text = to_csv(LAYOUT, answer)
    assert text.count("\r\n") == 3
    assert text.splitlines()[2].startswith('"",energy,')
    first, second = parsed(text)
    assert first["key"] == 'a "b", c'
    assert first["marginal.total"] == "9223372036.854775807"
    assert (first["marginal.measured"], first["idle.total"], first["rules"]) == ("", "", "")
    assert first["value"] == encode(row().value) == "0.333333333333"
    assert (first["at"], first["is_open"], first["reading"]) == ("2026-03-02T09:00:00.005Z", "true", "0.1")
    assert first["driver.value"] == "999999999999999999999.999999999"
    assert second["rules"] == '["a;b","c"]'
    assert second["series"] == '[{"from":"2026-03-01","value":0.5}]'
    assert parsed(to_csv(LAYOUT, told(row())))[0]["rules"] == "line_meter;share:fixed"


MONTH = Month(start=date(2026, 3, 1), value=Decimal("0.5"))


def test_a_csv_without_rows_has_its_header():
    assert to_csv(LAYOUT, told()).count("\r\n") == 1


def test_a_stream_and_a_file_hold_the_same_table():
    answer = told(row(series=[MONTH]), row(value=None))
    about = {"request": "/v1/x?from=2026-01-01", "next": "abc"}
    table = to_arrow(LAYOUT, answer, about)
    with pa.ipc.open_stream(to_arrow_stream(LAYOUT, answer, about)) as reader:
        streamed = reader.read_all()
    filed = pq.read_table(io.BytesIO(to_parquet(LAYOUT, answer, about)))
    assert streamed.equals(table, check_metadata=True)
    assert filed.equals(table)
    assert filed.schema.metadata[b"afkobling.next"] == b"abc"
    assert filed.schema.field("marginal.total").metadata[b"unit_column"] == b"quantity_unit"
    assert filed.to_pylist()[0]["series"] == [{"from": date(2026, 3, 1), "value": 0.5}]
    assert filed.column("at")[0].as_py() == AT.astimezone(UTC)


@given(st.integers(-(2**63), 2**63 - 1), st.fractions(min_value=0))
def test_no_digit_is_lost_on_the_way_through_parquet(billionths, share):
    answer = told(
        row(marginal=Amount(total=to_decimal(billionths), measured=to_decimal(-billionths)), value=ratio(share))
    )
    (found,) = pq.read_table(io.BytesIO(to_parquet(LAYOUT, answer, {}))).to_pylist()
    assert found["marginal.total"] == to_decimal(billionths)
    assert found["marginal.measured"] == -found["marginal.total"]
    # Twelve digits come back from a float as they went in.
    assert Decimal(f"{found['value']:.11e}") == ratio(share)


def test_a_number_that_no_column_holds_is_told():
    with pytest.raises(TooLargeError, match=r"driver\.value has more digits .* ask for json or csv"):
        to_arrow(LAYOUT, Told(driver=Driver(name="x", value=Decimal(10) ** 30), items=[row()]), {})
    with pytest.raises(TooLargeError, match="count has more digits"):
        to_arrow(LAYOUT, told(row(count=2**70)), {})
