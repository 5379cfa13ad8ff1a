"""Numbered migrations, forward only. `migrations()` lists them in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString

NEWEST_APPLIED: LiteralString = "SELECT coalesce(max(number), 0) AS number FROM schema_migration"
"""Gives the number of the last migration of a database; where there was none, the table may be missing."""
_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema: its number, its name, and the SQL that takes the step."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations, lowest number first. Raises ValueError when numbers are not 1, 2, 3 …"""
    found = []
    for entry in files(__name__).iterdir():
        match = _NAME.match(entry.name)
        if match:
            found.append(Migration(number=int(match[1]), name=match[2], sql=entry.read_text("utf-8")))
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"migration numbers are {numbers}; they must count 1, 2, 3 …")
    return found
