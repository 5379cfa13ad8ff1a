"""The simulator's truth of a demo's site, for commands that show it beside what they computed.

The demo notes in its own database which workshop the readings come from, so the note goes wherever the data goes and
with it. The API never reads it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from edge.simulation.truth import Truth
from edge.simulation.workshop import Workshop, build_workshop
from schemas.site import SiteModel

_NOTE: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS simulation;
    CREATE TABLE IF NOT EXISTS simulation.workshop (
        organisation text NOT NULL,
        site         text NOT NULL,
        seed         numeric NOT NULL,
        start_at     timestamptz NOT NULL,
        end_at       timestamptz NOT NULL,
        PRIMARY KEY (organisation, site)
    );
"""
_WRITE: LiteralString = """
    INSERT INTO simulation.workshop (organisation, site, seed, start_at, end_at)
    VALUES (%(organisation)s, %(site)s, %(seed)s, %(start)s, %(end)s)
    ON CONFLICT (organisation, site)
    DO UPDATE SET seed = excluded.seed, start_at = excluded.start_at, end_at = excluded.end_at
"""
_IS_NOTED: LiteralString = "SELECT to_regclass('simulation.workshop') IS NOT NULL"
_READ: LiteralString = """
    SELECT seed, start_at, end_at FROM simulation.workshop
    WHERE organisation = %(organisation)s AND site = %(site)s
"""


class TruthSource:
    """The truth of one simulated site. The workshop is built again, from its seed, when it is first asked."""

    def __init__(self, *, seed: int, start: datetime, end: datetime) -> None:
        self.seed, self.start, self.end = seed, start, end
        self._workshop: Workshop | None = None

    def truth(self, from_ms: int, to_ms: int) -> Truth | None:
        """What happened in [from, to), Unix milliseconds; None unless whole quarters that the workshop knows."""
        try:
            return self.workshop().truth(from_ms, to_ms)
        except ValueError:
            return None

    def between(self, start: datetime, end: datetime) -> Truth | None:
        """The same, for aware instants."""
        return self.truth(round(start.timestamp() * 1000), round(end.timestamp() * 1000))

    def workshop(self) -> Workshop:
        """The simulated site itself."""
        if self._workshop is None:
            self._workshop = build_workshop(seed=self.seed, start=self.start, end=self.end)
        return self._workshop


def write_truth(database_url: str, model: SiteModel, workshop: Workshop) -> None:
    """Note which workshop stands behind the readings of a site."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute(_NOTE)
        connection.execute(
            _WRITE,
            {
                "organisation": model.organisation.id,
                "site": model.site.id,
                "seed": workshop.seed,
                "start": datetime.fromtimestamp(workshop.start_ms / 1000, UTC),
                "end": datetime.fromtimestamp(workshop.end_ms / 1000, UTC),
            },
        )


def read_truth(organisation: str, site: str, *, database_url: str) -> TruthSource | None:
    """The truth of a site in that database; None for every site that no demo simulated.

    Raises psycopg.OperationalError for a database that does not answer.
    """
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        if connection.execute(_IS_NOTED).fetchone() != (True,):
            return None
        row = connection.execute(_READ, {"organisation": organisation, "site": site}).fetchone()
    if row is None:
        return None
    seed, start, end = row
    return TruthSource(seed=int(seed), start=start, end=end)
