"""How all of it is, as the database tells: what waits, what is missing, how far behind. Counted now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg.rows import DictRow

from api.database import Pool, fetch_all, fetch_one
from api.quality.agents import SETTLED_AFTER

_EVERY_S = 15.0
_PATIENCE_S = 2.0
"""A scrape waits no longer for the database."""

_QUARANTINE: LiteralString = """
SELECT reason, count(*) AS entries, sum(readings)::int8 AS readings FROM quarantine
WHERE replayed_at IS NULL AND dropped_at IS NULL GROUP BY reason
"""
# `current`: the epoch that the agent's outbox has now. Of the others, what is missing lies in a file moved aside.
_GAPS: LiteralString = """
SELECT epoch, count(*) AS agents, count(*) FILTER (WHERE missing_since < now() - %(settled)s) AS stalled,
       sum(missing)::int8 AS missing, extract(epoch FROM now() - min(missing_since))::float8 AS oldest_s
FROM (
    SELECT CASE WHEN r.status -> 'outbox' ->> 'epoch' = l.epoch THEN 'current' ELSE 'former' END AS epoch,
           l.missing_since, l.highest_seq - l.stored_seq - (
               SELECT count(*) FROM ledger_ahead AS a
               WHERE (a.organisation, a.site, a.agent, a.epoch) = (l.organisation, l.site, l.agent, l.epoch)
           ) AS missing
    FROM ledger AS l LEFT JOIN agent_report AS r USING (organisation, site, agent)
    WHERE l.missing_since IS NOT NULL AND l.epoch <> ''
) AS gaps
GROUP BY epoch
"""
_REPLAYS: LiteralString = """
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(requested_at)), 0)::float8 AS oldest_s
FROM quarantine_replay WHERE finished_at IS NULL
"""
_AGENTS: LiteralString = "SELECT status ->> 'state' AS state, count(*) AS agents FROM agent_report GROUP BY 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the database said."""

    waiting: list[DictRow]
    gaps: list[DictRow]
    replays: DictRow
    agents: list[DictRow]


class Condition(Collector):
    """Gauges of the whole, for a registry; asked again at a scrape that comes a quarter of a minute after the last.

    Where the database can't be asked they are absent, so that nobody takes what was for what is.
    """

    def __init__(self) -> None:
        self._read_at_s = float("-inf")
        self._turn = asyncio.Lock()
        self._found: _Found | None = None

    async def refresh(self, pool: Pool) -> None:
        """Ask the database again, unless that was done a moment ago. Never raises for a database that is away."""
        async with self._turn:
            if time.monotonic() - self._read_at_s < _EVERY_S:
                return
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    self._found = await _read(pool)
            except (psycopg.Error, TimeoutError):
                self._found = None
            self._read_at_s = time.monotonic()

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants them."""
        found = self._found
        yield _gauge("database_up", "1 when the database answers", {(): float(found is not None)})
        if found is None:
            return
        for name, documentation, column in (
            ("quarantine_entries", "Messages that wait in quarantine", "entries"),
            ("quarantine_readings", "Readings in these", "readings"),
        ):
            yield _gauge(name, documentation, {(row["reason"],): row[column] for row in found.waiting}, "reason")
        by_epoch = {row["epoch"]: row for row in found.gaps}
        for name, documentation, column in (
            ("ledger_agents_with_gaps", "Agents of which a message is missing while later ones came", "agents"),
            ("ledger_stalled_agents", "Those whose first missing message has been so for 15 minutes", "stalled"),
            ("ledger_missing_messages", "Messages missing while later ones came", "missing"),
            ("ledger_oldest_gap_seconds", "How long the ledger that stood still longest has done so", "oldest_s"),
        ):
            values = {(epoch,): by_epoch.get(epoch, {}).get(column, 0) for epoch in ("current", "former")}
            yield _gauge(name, documentation, values, "epoch")
        yield _gauge("replays_waiting", "Replays that are not finished", {(): found.replays["waiting"]})
        yield _gauge(
            "replays_oldest_seconds", "Age of the oldest of these; 0 for none", {(): found.replays["oldest_s"]}
        )
        states = {(row["state"] or "unknown",): row["agents"] for row in found.agents}
        yield _gauge("agents", "Agents by what they last said of themselves", states, "state")


async def _read(pool: Pool) -> _Found:
    async with pool.connection(timeout=_PATIENCE_S) as connection:
        return _Found(
            waiting=await fetch_all(connection, _QUARANTINE),
            gaps=await fetch_all(connection, _GAPS, {"settled": SETTLED_AFTER}),
            replays=await fetch_one(connection, _REPLAYS) or {"waiting": 0, "oldest_s": 0},
            agents=await fetch_all(connection, _AGENTS),
        )


def _gauge(name: str, documentation: str, values: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"afkobling_{name}", documentation, labels=labels)
    for label, value in values.items():
        family.add_metric(label, float(value))
    return family
