"""Files of one site and month each, from sorted readings: noted, written, read back, told of in a manifest."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.archive.contents import Span
from collector.archive.parquet import FileWriter, Held, read_back
from collector.archive.progress import begin_files
from collector.archive.rows import Rows, instant, unix_us
from collector.archive.store import ArchiveStore
from schemas.archive import ArchivedMeter, Manifest, file_path, manifest_path

_SITES: LiteralString = """
    SELECT s.id, o.key, s.key FROM site AS s JOIN organisation AS o ON o.id = s.organisation_id WHERE s.id = ANY(%s)
"""
_METERS: LiteralString = "SELECT id, key, resource, kind, unit FROM meter WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file that was written and read back; it counts once it stands in `archive_file`."""

    site_id: int
    path: str
    month: str
    held: Held
    manifest_bytes: int

    @property
    def readings(self) -> int:
        """How many it holds."""
        return int(self.held.readings.sum())

    @property
    def first_at(self) -> datetime:
        """The instant of its first reading."""
        return instant(int(self.held.first_us.min()))

    @property
    def last_at(self) -> datetime:
        """The instant of its last reading."""
        return instant(int(self.held.last_us.max()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    key: str
    resource: str
    kind: str
    unit: str


def write_site_files(
    connection: psycopg.Connection,
    store: ArchiveStore,
    pieces: Iterable[tuple[int, Rows]],
    *,
    span: Span,
    sites: NDArray[Any],
) -> Iterator[ArchivedFile]:
    """Write pieces of (site, readings sorted by meter and instant) into a file for each site and month (UTC).

    Pieces of a site come one after the other; `sites` are all that may come. Each file is read back from the store
    before it is given. Raises NotVerifiedError, OSError, pa.ArrowInvalid; files that were begun don't count.
    """
    months = _months(span)
    names = {row[0]: (row[1], row[2]) for row in connection.execute(_SITES, [np.unique(sites).tolist()]).fetchall()}
    paths = {
        (site, nth): file_path(
            organisation=organisation,
            site=key,
            from_ms=month[0] // 1000,
            to_ms=month[1] // 1000,
            serial=secrets.token_hex(4),
        )
        for site, (organisation, key) in names.items()
        for nth, month in enumerate(months)
    }
    begin_files(connection, list(paths.values()))
    for site, parts in _together(pieces):
        with ExitStack() as open_files:
            writers: dict[int, FileWriter] = {}
            meters: dict[int, _Meter] = {}
            for rows in parts:
                meters |= _read_meters(connection, rows)
                keys = {number: meter.key for number, meter in meters.items()}
                for nth, month in enumerate(months):
                    own = rows
                    if len(months) > 1:
                        own = rows.select((rows.at_us >= month[0]) & (rows.at_us < month[1]))
                    if len(own) == 0:
                        continue
                    if nth not in writers:
                        sink = open_files.enter_context(store.create(paths[site, nth]))
                        writers[nth] = FileWriter(sink)
                    writers[nth].write(own, keys)
            written = {nth: writer.close() for nth, writer in sorted(writers.items())}
        for nth, sha256 in written.items():
            held = read_back(store, paths[site, nth], sha256)
            yield _tell(store, paths[site, nth], held, site=site, names=names[site], meters=meters)


def _tell(
    store: ArchiveStore, path: str, held: Held, *, site: int, names: tuple[str, str], meters: dict[int, _Meter]
) -> ArchivedFile:
    """Write a file's manifest, from what was read back."""
    month = f"{instant(int(held.first_us.min())):%Y-%m}"
    manifest = Manifest(
        organisation=names[0],
        site=names[1],
        month=month,
        file=path.rsplit("/", 1)[1],
        readings=int(held.readings.sum()),
        bytes=held.size,
        sha256=held.sha256.hex(),
        first_at=instant(int(held.first_us.min())),
        last_at=instant(int(held.last_us.max())),
        meters=[
            ArchivedMeter(
                id=number,
                key=meters[number].key,
                resource=meters[number].resource,
                kind=meters[number].kind,
                unit=meters[number].unit,
                readings=readings,
                first_at=instant(first_us),
                last_at=instant(last_us),
                min=least,
                max=most,
            )
            for number, readings, first_us, last_us, least, most in zip(
                *(column.tolist() for column in (held.meter_id, held.readings, held.first_us, held.last_us)),
                held.least.tolist(),
                held.most.tolist(),
                strict=True,
            )
        ],
    )
    text = manifest.model_dump_json().encode()
    with store.create(manifest_path(path)) as file:
        file.write(text)
    return ArchivedFile(site_id=site, path=path, month=month, held=held, manifest_bytes=len(text))


def _together(pieces: Iterable[tuple[int, Rows]]) -> Iterator[tuple[int, Iterator[Rows]]]:
    """The pieces of each site."""
    source = iter(pieces)
    following = next(source, None)
    while following is not None:
        site = following[0]

        def parts(first: Rows, site: int = site) -> Iterator[Rows]:
            nonlocal following
            yield first
            while (following := next(source, None)) is not None and following[0] == site:
                yield following[1]

        yield site, parts(following[1])


def _read_meters(connection: psycopg.Connection, rows: Rows) -> dict[int, _Meter]:
    found = connection.execute(_METERS, [np.unique(rows.meter_id).tolist()]).fetchall()
    return {row[0]: _Meter(key=row[1], resource=row[2], kind=row[3], unit=row[4]) for row in found}


def _months(span: Span) -> list[tuple[int, int]]:
    """The span cut at the ends of months (UTC), in Unix microseconds."""
    cuts = [span.start]
    while True:
        last = cuts[-1].astimezone(UTC)
        following = datetime(last.year + last.month // 12, last.month % 12 + 1, 1, tzinfo=UTC)
        if following >= span.end:
            break
        cuts.append(following)
    ends = [*cuts[1:], span.end]
    return [(unix_us(start), unix_us(end)) for start, end in zip(cuts, ends, strict=True)]
