"""Versions of CO2e factors: the newest one of a key counts, and none is ever changed or removed.

Whoever writes one leaves a note for the attribution of all days over which it holds, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from api.database import Connection, fetch_all, fetch_one
from api.factors import store as factor_store
from api.factors.given import GivenFactor, GivenSeries
from api.factors.store import no_factor, unix_hour
from api.problems import ProblemError
from api.said import Said

_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('factor'), %(organisation)s)"
_NEWEST: LiteralString = """
SELECT DISTINCT ON (key) * FROM factor
WHERE organisation_id = %(organisation)s AND key = ANY (%(keys)s) ORDER BY key, version DESC
"""
_INSERT: LiteralString = """
INSERT INTO factor (organisation_id, key, version, is_withdrawn, carrier, scope, basis, area, unit, value, gas,
                    from_date, to_date, source, licence, remark, author, reason)
SELECT %(organisation)s, n.key, n.version, %(is_withdrawn)s, n.carrier, n.scope, n.basis, n.area, n.unit, n.value,
       n.gas, n.from_date, n.to_date, n.source, n.licence, n.remark, %(author)s, %(reason)s
FROM jsonb_to_recordset(%(rows)s) AS n (
    key text, version int, carrier text, scope text, basis text, area text, unit text, value numeric, gas text,
    from_date date, to_date date, source text, licence text, remark text)
RETURNING id, key, version
"""
_INSERT_HOURS: LiteralString = """
INSERT INTO factor_hour (factor_id, hour, kg_per_unit)
SELECT %(factor)s, to_timestamp(hour * 3600), kg_per_unit
FROM unnest(%(hours)s::int8[], %(values)s::float8[]) AS n (hour, kg_per_unit)
"""
# Two that hold at one time for the same, of which neither would win.
_CONFLICTS: LiteralString = """
WITH own AS (SELECT * FROM current_factor WHERE organisation_id = %(organisation)s)
SELECT a.key, b.key AS other, a.carrier, greatest(a.from_date, b.from_date) AS from_date
FROM own AS a JOIN own AS b
  ON a.key < b.key AND (a.carrier, a.unit) = (b.carrier, b.unit)
     AND (a.basis, a.area, a.value IS NULL) IS NOT DISTINCT FROM (b.basis, b.area, b.value IS NULL)
     AND a.from_date < coalesce(b.to_date, 'infinity') AND b.from_date < coalesce(a.to_date, 'infinity')
WHERE a.value IS NOT NULL
   OR EXISTS (SELECT FROM factor_hour AS x JOIN factor_hour AS y USING (hour)
              WHERE x.factor_id = a.id AND y.factor_id = b.id)
ORDER BY a.key, b.key LIMIT 20
"""
_TWO_SCOPES: LiteralString = """
SELECT carrier FROM current_factor WHERE organisation_id = %(organisation)s
GROUP BY carrier HAVING count(DISTINCT scope) > 1 ORDER BY carrier LIMIT 20
"""
# A series keeps to UTC, whose days reach into the local days before and after. Local days may be ahead of UTC.
_NOTE_DUE: LiteralString = """
INSERT INTO attribution_due (site_id, from_day, to_day)
SELECT DISTINCT s.id, d.from_day, d.to_day
FROM factor AS f JOIN site AS s ON s.organisation_id = f.organisation_id AND (f.area IS NULL OR f.area = s.grid_area)
CROSS JOIN LATERAL (
    SELECT f.from_date - (f.value IS NULL)::int AS from_day,
           least(f.to_date + (f.value IS NULL)::int, current_date + 2) AS to_day
) AS d
WHERE f.id = ANY (%(ids)s) AND d.from_day < d.to_day
"""
_SAME = (
    "carrier",
    "scope",
    "basis",
    "area",
    "unit",
    "value",
    "gas",
    "from_date",
    "to_date",
    "source",
    "licence",
    "remark",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A version that was written now, or (not `is_new`) that said the same already."""

    key: str
    version: int
    is_new: bool


async def put(
    connection: Connection,
    organisation_id: int,
    factors: Sequence[GivenFactor],
    series: Sequence[GivenSeries],
    said: Said,
) -> list[Written]:
    """Write a version of each, all or none; what says the same as the newest version is left as it is.

    Hours of a series that are known and not given again are taken over into the new version. Raises a 409 problem
    where two would hold at one time and neither would win, or a carrier would have two scopes.
    """
    own = {"organisation": organisation_id}
    async with connection.transaction():
        await connection.execute(_LOCK, own)
        keys = [*(given.key for given in factors), *(given.key for given in series)]
        newest = {row["key"]: row for row in await fetch_all(connection, _NEWEST, {**own, "keys": keys})}
        _refuse_changed_kind([*factors, *series], newest)
        rows = [row for given in factors if _differs(row := given.columns(), newest.get(given.key))]
        hours: dict[str, Mapping[int, float]] = {}
        for one in series:
            before = newest.get(one.key)
            known = await _known_hours(connection, before)
            whole = replace(one, hours={**known, **one.hours})
            if _differs(row := whole.columns(), before) or whole.hours != known:
                rows.append(row)
                hours[one.key] = whole.hours
        written = await _insert(connection, organisation_id, rows, newest, said)
        for key, values in hours.items():
            ordered = sorted(values)
            bound = {"factor": written[key][0], "hours": ordered, "values": [values[hour] for hour in ordered]}
            await connection.execute(_INSERT_HOURS, bound)
        await _refuse_conflicts(connection, own)
        await _note_due(connection, written, newest)
    return [
        Written(key=key, version=written[key][1] if key in written else newest[key]["version"], is_new=key in written)
        for key in keys
    ]


async def withdraw(connection: Connection, organisation_id: int, key: str, said: Said) -> None:
    """Take a factor back by a version that says so. Raises a 404 or 409 problem."""
    own = {"organisation": organisation_id}
    async with connection.transaction():
        await connection.execute(_LOCK, own)
        newest = {row["key"]: row for row in await fetch_all(connection, _NEWEST, {**own, "keys": [key]})}
        if key not in newest:
            raise no_factor(key)
        old = newest[key]
        if old["is_withdrawn"]:
            raise ProblemError(
                HTTPStatus.CONFLICT, "withdrawn-already", f"the factor {key} was withdrawn by {old['author']} already"
            )
        written = await _insert(connection, organisation_id, [old], newest, said, is_withdrawn=True)
        await _note_due(connection, written, newest)


def _differs(row: Mapping[str, Any], old: DictRow | None) -> bool:
    return old is None or old["is_withdrawn"] or any(row[name] != old[name] for name in _SAME)


def _refuse_changed_kind(given: Sequence[GivenFactor | GivenSeries], newest: Mapping[str, DictRow]) -> None:
    for one in given:
        old = newest.get(one.key)
        if old is not None and (old["value"] is None) != isinstance(one, GivenSeries):
            kind = "by hour" if old["value"] is None else "constant"
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "another-kind-of-factor",
                f"the factor {one.key} is {kind}; give this one another key",
            )


async def _known_hours(connection: Connection, old: DictRow | None) -> dict[int, float]:
    if old is None or old["is_withdrawn"]:
        return {}
    return {unix_hour(row["hour"]): row["kg_per_unit"] for row in await factor_store.hours(connection, old["id"])}


async def _insert(
    connection: Connection,
    organisation_id: int,
    rows: Sequence[Mapping[str, Any]],
    newest: Mapping[str, DictRow],
    said: Said,
    *,
    is_withdrawn: bool = False,
) -> dict[str, tuple[int, int]]:
    """Id and version of each key that was written."""
    if not rows:
        return {}
    plain = [
        {
            **{name: row[name] for name in ("key", *_SAME)},
            "version": newest[row["key"]]["version"] + 1 if row["key"] in newest else 1,
            "value": None if row["value"] is None else str(row["value"]),
            "from_date": row["from_date"].isoformat(),
            "to_date": None if row["to_date"] is None else row["to_date"].isoformat(),
        }
        for row in rows
    ]
    values = {
        "organisation": organisation_id,
        "rows": Jsonb(plain),
        "is_withdrawn": is_withdrawn,
        "author": said.author,
        "reason": said.reason,
    }
    return {row["key"]: (row["id"], row["version"]) for row in await fetch_all(connection, _INSERT, values)}


async def _refuse_conflicts(connection: Connection, own: Mapping[str, int]) -> None:
    if found := await fetch_all(connection, _CONFLICTS, own):
        errors = [
            {
                "place": row["key"],
                "message": f"holds for {row['carrier']} from {row['from_date']} on, as {row['other']} does",
            }
            for row in found
        ]
        listed = "; ".join(f"{error['place']}: {error['message']}" for error in errors[:5])
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "ambiguous-factors",
            f"{listed}; neither would win, so give the older one a `to` or withdraw one of them; nothing was stored",
            errors=errors,
        )
    row = await fetch_one(connection, _TWO_SCOPES, own)
    if row is not None:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "two-scopes",
            f"{row['carrier']} would have factors of both scopes; call the one that the site burns and the one that it "
            "buys by different names; nothing was stored",
        )


async def _note_due(
    connection: Connection, written: Mapping[str, tuple[int, int]], newest: Mapping[str, DictRow]
) -> None:
    """Both the days of the new version and those of the one before have to be computed again."""
    ids = [number for number, _ in written.values()] + [newest[key]["id"] for key in written if key in newest]
    await connection.execute(_NOTE_DUE, {"ids": ids})
