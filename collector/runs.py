"""Runs, and what agents say of themselves, on their way into the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from collector.decode import ReportMessage, RunsMessage
from collector.quarantine import QuarantineEntry, quarantine_runs
from schemas.quarantine import Reason
from schemas.topics import Kind
from schemas.wire import RunSpan, Status

_UPSERT_RUNS: LiteralString = """
    INSERT INTO run (line_id, key, state, product_id, order_number, start_at, end_at, said_at)
    SELECT line.id, r.run, r.state, product.id, r.order_number,
           to_timestamp(r.start_ms / 1000.0), to_timestamp(r.end_ms / 1000.0), to_timestamp(r.said_ms / 1000.0)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                %s::int8[], %s::int8[], %s::int8[])
        AS r(organisation, site, line, run, state, product, order_number, start_ms, end_ms, said_ms)
    JOIN organisation ON organisation.key = r.organisation
    JOIN site ON site.organisation_id = organisation.id AND site.key = r.site
    JOIN line ON line.site_id = site.id AND line.key = r.line
    LEFT JOIN product ON product.site_id = site.id AND product.key = r.product
    ON CONFLICT (line_id, key) DO UPDATE SET
        state = excluded.state, product_id = excluded.product_id, order_number = excluded.order_number,
        start_at = excluded.start_at, end_at = excluded.end_at, said_at = excluded.said_at,
        author = NULL, reason = NULL
    WHERE excluded.said_at > run.said_at
       OR (excluded.said_at = run.said_at
           AND (excluded.state, excluded.product_id, excluded.order_number, excluded.start_at, excluded.end_at)
               IS DISTINCT FROM (run.state, run.product_id, run.order_number, run.start_at, run.end_at))
"""
_REMOVE_RUNS: LiteralString = """
    SELECT remove_run(line.id, r.run, to_timestamp(r.said_ms / 1000.0), NULL, NULL)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int8[])
        AS r(organisation, site, line, run, said_ms)
    JOIN organisation ON organisation.key = r.organisation
    JOIN site ON site.organisation_id = organisation.id AND site.key = r.site
    JOIN line ON line.site_id = site.id AND line.key = r.line
    ORDER BY r.organisation, r.site, r.line, r.run COLLATE "C"
"""
_KNOWN: LiteralString = """
    SELECT organisation.key, site.key, line.key, NULL FROM line
    JOIN site ON site.id = line.site_id JOIN organisation ON organisation.id = site.organisation_id
    WHERE (organisation.key, site.key) IN (SELECT * FROM unnest(%(organisations)s::text[], %(sites)s::text[]))
    UNION ALL
    SELECT organisation.key, site.key, NULL, product.key FROM product
    JOIN site ON site.id = product.site_id JOIN organisation ON organisation.id = site.organisation_id
    WHERE (organisation.key, site.key) IN (SELECT * FROM unnest(%(organisations)s::text[], %(sites)s::text[]))
"""
_UPSERT_REPORTS: dict[Kind, LiteralString] = {
    Kind.STATUS: """
        INSERT INTO agent_report (organisation, site, agent, status, status_at, heard_at, clock_ahead_ms)
        VALUES (%(organisation)s, %(site)s, %(agent)s, %(body)s, to_timestamp(%(at)s / 1000.0),
                to_timestamp(%(arrived)s::int8 / 1000.0), %(ahead)s)
        ON CONFLICT (organisation, site, agent) DO UPDATE SET
            status = CASE WHEN excluded.status ? 'outbox' THEN excluded.status
                          ELSE agent_report.status || excluded.status END,
            status_at = excluded.status_at,
            heard_at = coalesce(excluded.heard_at, agent_report.heard_at),
            clock_ahead_ms = coalesce(excluded.clock_ahead_ms, agent_report.clock_ahead_ms)
    """,
    Kind.METERS: """
        INSERT INTO agent_report (organisation, site, agent, offered_meters, offered_at)
        VALUES (%(organisation)s, %(site)s, %(agent)s, %(body)s, to_timestamp(%(at)s / 1000.0))
        ON CONFLICT (organisation, site, agent) DO UPDATE SET
            offered_meters = excluded.offered_meters, offered_at = excluded.offered_at
    """,
}

_REPORTED_AT: LiteralString = """
    SELECT (extract(epoch FROM status_at) * 1000)::int8, (extract(epoch FROM offered_at) * 1000)::int8
    FROM agent_report WHERE (organisation, site, agent) = (%s, %s, %s)
"""


def write_runs(
    cursor: psycopg.Cursor, messages: Sequence[tuple[int, RunsMessage]]
) -> list[tuple[int, QuarantineEntry]]:
    """Enter runs of known lines and products; the rest comes back for quarantine, a run at a time.

    A run that is said to be cancelled is removed, and what was said of it before stays out however late it comes. Each
    message stands beside its number, which comes back with what is refused of it.
    """
    if not messages:
        return []
    sites = list({(m.address.organisation, m.address.site) for _, m in messages})
    known = set(
        cursor.execute(_KNOWN, {"organisations": [o for o, _ in sites], "sites": [s for _, s in sites]}).fetchall()
    )
    latest: dict[tuple[str, str, str, str], tuple[int, RunSpan]] = {}
    refused = []
    for number, message in messages:
        place = (message.address.organisation, message.address.site)
        for span in message.runs.runs:
            if (*place, span.line, None) not in known:
                refused.append((number, _refuse(message, span, f"line {span.line!r}")))
            elif span.product is not None and (*place, None, span.product) not in known:
                refused.append((number, _refuse(message, span, f"product {span.product!r}")))
            else:
                key, said = (*place, span.line, span.run), message.runs.sent_at
                # One statement can't touch a row twice: the latest word about a run is the one that goes in.
                if key not in latest or said >= latest[key][0]:
                    latest[key] = (said, span)
    # In one order for every collector, so that two of them never wait for each other.
    ordered = [(key, *latest[key]) for key in sorted(latest)]
    told = [
        (*key, span.state, span.product, span.order, span.start, span.end, said)
        for key, said, span in ordered
        if not span.cancelled
    ]
    if told:
        cursor.execute(_UPSERT_RUNS, [list(column) for column in zip(*told, strict=True)])
    cancelled = [(*key, said) for key, said, span in ordered if span.cancelled]
    if cancelled:
        cursor.execute(_REMOVE_RUNS, [list(column) for column in zip(*cancelled, strict=True)])
    return refused


def _refuse(message: RunsMessage, span: RunSpan, what: str) -> QuarantineEntry:
    detail = f"run {span.run!r} names {what}, which the site model has not; add it, or correct the source of runs"
    return quarantine_runs(message, [span], Reason.UNKNOWN_LINE, detail)


def is_news(cursor: psycopg.Cursor, message: ReportMessage) -> bool:
    """Whether the agent has not said something later of itself, which an old message must not replace."""
    address, report = message.address, message.report
    values = [address.organisation, address.site, address.agent]
    known_at, offered_at = cursor.execute(_REPORTED_AT, values).fetchone() or (None, None)
    latest = known_at if isinstance(report, Status) else offered_at
    return latest is None or report.at > latest


def write_reports(cursor: psycopg.Cursor, messages: Sequence[ReportMessage]) -> None:
    """Keep each agent's latest status and offered meters. The last will says only `offline`: the rest is kept."""
    for message in sorted(messages, key=lambda message: str(message.address)):
        kind = Kind.STATUS if isinstance(message.report, Status) else Kind.METERS
        # The last will was written when the agent connected; its instant says nothing about when the line went dead.
        address, report = message.address, message.report
        values = {
            "organisation": address.organisation,
            "site": address.site,
            "agent": address.agent,
            "body": report.model_dump_json(exclude_none=True),
            "at": report.at,
            "arrived": message.arrived_ms,
            "ahead": _clock_ahead_ms(message),
        }
        cursor.execute(_UPSERT_REPORTS[kind], values)


def _clock_ahead_ms(message: ReportMessage) -> int | None:
    """How far the agent's clock was ahead of ours when it spoke; None where the message can't tell.

    Only a status that came straight from the agent tells: one that the broker had kept is of any age, and the last will
    was written when the agent connected.
    """
    report = message.report
    if message.arrived_ms is None or not isinstance(report, Status) or report.outbox is None:
        return None
    return report.at - message.arrived_ms
