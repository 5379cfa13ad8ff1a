"""Many rows into a table by COPY in its text format, at a fraction of what psycopg's own rows take.

Format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2 ("Text Format"), and for arrays
https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import LiteralString

from api.database import Connection

Field = int | str | bool | date | tuple[int | str, ...] | None
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_BLOCK = 2_000


async def copy_in(connection: Connection, statement: LiteralString, rows: Sequence[Sequence[Field]]) -> None:
    """Write rows by a `COPY table (columns) FROM STDIN`; a tuple is an array."""
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for begin in range(0, len(rows), _BLOCK):
            await copy.write(to_text(rows[begin : begin + _BLOCK]))


def to_text(rows: Iterable[Sequence[Field]]) -> str:
    """The rows in the text format."""
    # Whole numbers are most of it, and the rest is mostly what has been before.
    return "".join(
        ["\t".join([str(field) if type(field) is int else _text(field) for field in row]) + "\n" for row in rows]
    )


@lru_cache(maxsize=65_536)
def _text(field: Field) -> str:
    match field:
        case None:
            return r"\N"
        case bool():
            return "t" if field else "f"
        case tuple():
            return _escaped("{" + ",".join(_element(element) for element in field) + "}")
        case _:
            return _escaped(str(field))


def _element(element: int | str) -> str:
    if isinstance(element, int):
        return str(element)
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)
