"""What became of a file, as an answer for programs and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from collector.importing.findings import LISTED, Findings, LeftOut
from collector.importing.import_store import FileImport
from collector.importing.importer import Imported
from collector.importing.meters import FoundMeter
from collector.importing.prepared import Prepared
from collector.importing.rehearsal import Rehearsal

_NAMED = 20


def rehearsal_answer(prepared: Prepared, found: Rehearsal) -> dict[str, Any]:
    """What an import would do. `problems` keep it from being done."""
    return {
        **_file(prepared),
        "dry_run": True,
        "problems": prepared.problems(),
        "new": found.new,
        "repeated": found.repeated,
        "quarantined": dict(found.quarantined),
        "doubled": found.doubled,
        "doubled_is_sure": found.is_sure,
        **_findings(prepared, found.findings),
        "listed": [_listed(one) for one in (*found.findings.listed, *found.listed)],
    }


def import_answer(prepared: Prepared, done: Imported) -> dict[str, Any]:
    """What an import came to, all runs of it together; `now` is of this one."""
    answer = {**_file(prepared), "dry_run": False, **_counts(done.record)}
    answer |= {"was_done": done.was_done, "resumed_at_row": done.resumed_at, "late": done.now.late}
    answer["now"] = {
        "stored": done.now.stored,
        "repeated": done.now.repeated,
        "quarantined": dict(done.now.quarantined),
    }
    answer["namesake"] = record_answer(done.namesake) if done.namesake else None
    if done.findings is not None:
        answer |= _findings(prepared, done.findings)
        answer["listed"] = [_listed(one) for one in done.findings.listed]
    return answer


def record_answer(record: FileImport) -> dict[str, Any]:
    """An import as it stands."""
    return {
        "file": record.file,
        "bytes": record.size,
        "mapping": record.mapping,
        "author": record.author,
        "epoch": record.epoch,
        **_counts(record),
    }


def record_line(record: FileImport) -> str:
    """The same in words."""
    begun = f"{record.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    state = "done" if record.finished_at else f"stopped after {record.rows_done:,} of {record.rows:,} rows"
    counts = f"{record.stored:,} stored, {record.repeated:,} there already, {record.quarantined:,} in quarantine"
    return f"{begun}  {record.file}  {state}: {counts}  ({record.mapping}, by {record.author})"


def sentences(answer: Mapping[str, Any]) -> list[str]:
    """An answer in words, only what there is to say."""
    told = [*_dry(answer)] if answer["dry_run"] else [*_done(answer)]
    if "rows" in answer and "meters" in answer:
        told += _found(answer)
    return [f"{answer['file']}: {told[0]}", *(f"  {line}" for line in told[1:])]


def _dry(answer: Mapping[str, Any]) -> Iterator[str]:
    refused = sum(answer["quarantined"].values())
    yield (
        f"{answer['rows']:,} rows, read with mapping {answer['mapping']}: {answer['new']:,} readings would be stored, "
        f"{answer['repeated']:,} are there already, {refused:,} would go to quarantine; nothing was done (dry run)"
    )
    for reason, count in answer["quarantined"].items():
        yield f"{count:,} would go to quarantine: {reason}"
    if answer["doubled"]:
        yield f"{answer['doubled']:,} readings repeat an instant of the same meter"
    if not answer["doubled_is_sure"]:
        yield "rows go far back in time; readings doubled far apart in the file show only when it is imported"
    for problem in answer["problems"]:
        yield f"can't be imported so: {problem}"


def _done(answer: Mapping[str, Any]) -> Iterator[str]:
    counts = (
        f"{answer['stored']:,} readings stored, {answer['repeated']:,} were there already, "
        f"{answer['quarantined']:,} in quarantine"
    )
    if answer["was_done"]:
        when = _minute(answer["finished_at"])
        yield f"was imported on {when} by {answer['author']}, nothing is left to do: {counts}"
        return
    yield f"{answer['rows']:,} rows, read with mapping {answer['mapping']}: {counts}"
    if answer["resumed_at_row"]:
        yield f"went on behind row {answer['resumed_at_row']:,}, where it was stopped; the counts are of all of it"
    for reason, count in answer["now"]["quarantined"].items():
        yield f"{count:,} went to quarantine: {reason} (`afkobling quarantine list`)"
    if answer["late"]:
        yield "the roll-up has passed that time already; it computes its consumption again by itself"
    namesake = answer["namesake"]
    if namesake:
        yield (
            f"a file of this name was imported on {_minute(namesake['started_at'])} with other contents; this one "
            "was taken from its beginning, and what was stored already was left as it was"
        )


def _found(answer: Mapping[str, Any]) -> Iterator[str]:
    meters: Sequence[Mapping[str, Any]] = answer["meters"]
    for meter in meters[:_NAMED]:
        span = f", {meter['first_at']} to {meter['last_at']}" if meter["readings"] else ""
        missing = f", {meter['missing']:,} intervals in between are missing" if meter.get("missing") else ""
        yield f"{meter['meter']} ({meter['agent']}): {meter['readings']:,} readings{span}{missing}"
    if len(meters) > _NAMED:
        yield f"… and {len(meters) - _NAMED:,} more meters"
    said = {
        "out_of_order": "rows stand out of order, which does no harm",
        "moved_midnights": "rows labelled 0:00 were taken as the end of their day",
        "ambiguous": "local times that the clock showed twice were told apart by the order of rows",
        "blank": "cells have no value",
        "left_out": "rows or values can't be read and are left out",
    }
    for name, words in said.items():
        if answer[name]:
            yield f"{answer[name]:,} {words}"
    if answer["is_backwards"]:
        yield "the newest row stands first"
    for name, count in list(answer["unwanted"].items())[:_NAMED]:
        yield f"{count:,} rows of {name!r} are left out: the mapping or the site model does not have it"
    for name in answer["unknown_columns"][:_NAMED]:
        yield f"column {name!r} is left out: the site model does not have its meter"
    listed = answer["listed"]
    for one in listed:
        yield f"{answer['counted_by']} {one['row']}: {one['reason']}" if one["row"] else one["reason"]
    if len(listed) >= LISTED:
        yield "… and more"


def _file(prepared: Prepared) -> dict[str, Any]:
    return {
        "file": str(prepared.wanted.path),
        "bytes": prepared.new.size,
        "mapping": prepared.new.mapping,
        "author": prepared.new.author,
        "epoch": prepared.new.epoch,
        "rows": prepared.new.rows,
    }


def _counts(record: FileImport) -> dict[str, Any]:
    names = ("rows", "rows_done", "stored", "repeated", "quarantined", "left_out", "blank")
    return {name: getattr(record, name) for name in names} | {
        "started_at": _instant(record.started_at),
        "finished_at": _instant(record.finished_at) if record.finished_at else None,
    }


def _findings(prepared: Prepared, found: Findings) -> dict[str, Any]:
    names = ("left_out", "blank", "out_of_order", "moved_midnights", "ambiguous")
    return {name: getattr(found, name) for name in names} | {
        "counted_by": prepared.layout.table.counted,
        "is_backwards": prepared.survey.seconds is not None,
        "unwanted": dict(found.unwanted.most_common()),
        "unknown_columns": _unknown_columns(prepared),
        "meters": [_meter(prepared, meter, found, i) for i, meter in enumerate(prepared.matched.meters)],
    }


def _unknown_columns(prepared: Prepared) -> list[str]:
    """Columns that --known-only leaves out; names in rows are counted as `unwanted`."""
    if prepared.layout.mapping.long is not None or not prepared.wanted.known_only:
        return []
    return [meter.name for meter in prepared.matched.unknown]


def _meter(prepared: Prepared, meter: FoundMeter, found: Findings, i: int) -> dict[str, Any]:
    readings = int(found.readings[i])
    answer: dict[str, Any] = {
        "meter": meter.key,
        "agent": meter.address.agent,
        "unit": meter.unit,
        "readings": readings,
    }
    if not readings:
        return answer | {"first_at": None, "last_at": None}
    first, last = int(found.first_at[i]), int(found.last_at[i])
    answer |= {"first_at": _instant_of(first), "last_at": _instant_of(last)}
    span = prepared.site.meters[meter.key].interval_ms
    if span:
        # Doubled ones hide as many.
        answer["missing"] = max(0, (last - first) // span + 1 - readings)
    return answer


def _listed(one: LeftOut) -> dict[str, Any]:
    return {"row": one.row, "reason": one.reason}


def _instant_of(at_ms: int) -> str:
    try:
        return _instant(datetime.fromtimestamp(at_ms / 1000, UTC))
    except (ValueError, OverflowError):
        return f"{at_ms} ms"


def _minute(instant: str) -> str:
    """An answer's instant, for a person."""
    return f"{instant[:16].replace('T', ' ')} UTC"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
