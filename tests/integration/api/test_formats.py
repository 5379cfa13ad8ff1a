"""Answers as JSON, CSV, Parquet and Arrow, over real routes."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.tables.formats import MEDIA_TYPES, Format
from tests.integration.api.conftest import utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

START = utc("2026-01-05T00:00:00")
SITE = "/v1/sites/odense"
DAY = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}
TABLES = {
    "consumption": DAY,
    "readings": DAY,
    "balance": DAY,
    "runs": DAY,
    "production": DAY,
    "intensity": DAY,
    "attribution": DAY,
    "driver-values": {},
    "decoupling": {"base_from": "2025-01-01", "base_to": "2025-02-01", "from": "2026-01-01", "to": "2026-02-01"},
    "events": {},
    "alerts": {},
    "exchanges": {},
    "quality": DAY,
    "lines": {},
    "meters": {},
}


@pytest.fixture
def day(store):
    store.run("line-1", "1", "running", START, START + timedelta(hours=1), "bolt")
    store.consume("main", START, [20] * 4, estimated=0.123456789)
    store.consume("power-1", START, [8.000000001] * 4)
    store.consume("good-1", START, [10] * 3 + [11])
    store.read("main", START, 1000.25)
    store.drive("revenue", "2026-01-01", "2026-02-01", Decimal("999999999999999999999.123456789"))


def csv_rows(response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def table(response, kind) -> pa.Table:
    if kind is Format.PARQUET:
        return pq.read_table(io.BytesIO(response.content))
    with pa.ipc.open_stream(response.content) as reader:
        return reader.read_all()


def at(row, name) -> object:
    """What JSON has at a dotted column."""
    for step in name.split("."):
        row = None if row is None else row.get(step)
    return row


@pytest.mark.parametrize("name", TABLES)
async def test_every_table_is_the_same_in_all_formats(client, day, name):
    path, query = f"{SITE}/{name}", TABLES[name]
    answer = await ask(client, path, **{("start" if key == "from" else key): value for key, value in query.items()})
    tables = {}
    for kind in (Format.PARQUET, Format.ARROW):
        response = await client.get(path, params=query, headers={"Accept": MEDIA_TYPES[kind]})
        assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPES[kind])
        tables[kind] = table(response, kind)
        metadata = tables[kind].schema.metadata
        assert metadata[b"afkobling.request"].startswith(path.encode())
        assert ("from" not in query) or metadata[b"afkobling.period"].startswith(query["from"].encode())
    assert tables[Format.PARQUET].equals(tables[Format.ARROW])
    response = await client.get(path, params={**query, "format": "csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
    rows = csv_rows(response)
    columns = tables[Format.ARROW].column_names
    assert response.text.splitlines()[0].split(",") == columns
    first = response.headers["afkobling-tables"].split(", ")[0]
    items = answer[first]
    assert len(rows) == tables[Format.ARROW].num_rows == len(items)
    for row, item in zip(rows, items, strict=True):
        for column in columns:
            told = at(item, column)
            if isinstance(told, Decimal | int) and not isinstance(told, bool):
                assert Decimal(row[column]) == told
            elif told is None and not column.startswith("answer."):
                assert row[column] == ""


async def test_quantities_keep_every_digit(client, day):
    query = {**DAY, "by": "quarter", "meter": "main"}
    response = await client.get(f"{SITE}/consumption", params={**query, "format": "parquet"})
    found = table(response, Format.PARQUET)
    assert found.schema.field("total").type == pa.decimal128(38, 9)
    assert found.column("total").to_pylist() == [Decimal("20.123456789")] * 4
    assert found.schema.field("total").metadata[b"unit_column"] == b"unit"
    values = await client.get(f"{SITE}/driver-values", params={"format": "arrow"})
    assert table(values, Format.ARROW).column("value").to_pylist() == [Decimal("999999999999999999999.123456789")]


async def test_columns_are_the_same_without_rows(client, day):
    schemas = []
    for period in (DAY, {"from": "2020-01-05", "to": "2020-01-06"}):
        response = await client.get(f"{SITE}/runs", params={**period, "format": "arrow"})
        schemas.append(table(response, Format.ARROW).schema)
    assert schemas[0].equals(schemas[1])
    assert [schema.field("from").type for schema in schemas] == [pa.timestamp("us", tz="UTC")] * 2


async def test_pages_go_on_by_the_link(client, day):
    path: str | None = f"{SITE}/consumption?from=2026-01-05&to=2026-01-06&by=quarter&limit=3&format=csv&meter=main"
    rows = []
    while path is not None:
        response = await client.get(path)
        rows += csv_rows(response)
        assert len(csv_rows(response)) <= 3
        link = response.headers.get("link")
        assert link is None or link.endswith('; rel="next"')
        path = link and link[1 : link.index(">")]
    assert len(rows) == 4
    assert len({row["from"] for row in rows}) == 4


async def test_the_query_goes_before_the_header(client, day):
    response = await client.get(f"{SITE}/runs", params={**DAY, "format": "json"}, headers={"Accept": "text/csv"})
    assert response.headers["content-type"] == "application/json"
    assert len(response.json()["items"]) == 1


async def test_other_lists_of_an_answer(client, day):
    response = await client.get(f"{SITE}/intensity", params={**DAY, "format": "csv", "table": "balance"})
    rows = csv_rows(response)
    assert (rows[0]["resource"], rows[0]["difference"]) == ("energy", "0")
    assert response.headers["afkobling-tables"].startswith("items, balance")
    refused = await client.get(f"{SITE}/intensity", params={**DAY, "format": "csv", "table": "rows"})
    assert_problem(refused, 422, "this answer has no such list; it has items, balance")


async def test_what_is_not_offered_is_told(client, day):
    refused = await client.get(f"{SITE}/runs", params=DAY, headers={"Accept": "text/html"})
    assert_problem(refused, 406, "text/csv")
    refused = await client.get(f"{SITE}/runs", params={**DAY, "format": "xlsx"})
    assert_problem(refused, 422, "'json', 'csv', 'parquet' or 'arrow'")
    refused = await client.get(f"{SITE}/runs", params={"from": "2026", "to": "2027", "format": "csv"})
    assert_problem(refused, 422, "from")


async def test_the_description_tells_of_all_formats(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    for name in TABLES:
        told = paths[f"/v1/sites/{{site}}/{name}"]["get"]
        assert set(told["responses"]["200"]["content"]) == set(MEDIA_TYPES.values())
        assert "406" in told["responses"]
        assert [p["name"] for p in told["parameters"]].count("format") == 1
    assert "format" not in str(paths["/v1/sites/{site}/driver-values"]["put"].get("parameters"))
