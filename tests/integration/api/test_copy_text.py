"""What COPY's text format was made of comes out of the database as it went in."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from psycopg.rows import dict_row

from api.copy_text import copy_in

pytestmark = pytest.mark.stack


async def test_rows_come_out_as_they_went_in(database_url):
    texts = ("", r"\N", "a\tb\nc\rd\\e", 'say "a,b}"', "NULL", "{1}", "æ°")
    rows = [
        *((n, text, tuple(texts), (1, -2), n % 2 == 0, date(2026, 2, 1)) for n, text in enumerate(texts)),
        (2**62, None, (), (), None, None),
    ]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        await connection.execute("CREATE TABLE t (n int8, a text, b text[], c int[], d bool, e date)")
        await copy_in(connection, "COPY t FROM STDIN", rows)
        found = await (await connection.execute("SELECT * FROM t ORDER BY n")).fetchall()
    as_lists = [tuple(list(field) if isinstance(field, tuple) else field for field in row) for row in rows]
    assert [tuple(row.values()) for row in found] == as_lists
