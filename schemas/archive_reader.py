"""Reads no more of archived files than is asked for: row groups, chosen by their statistics, and kept for a while.

A file never changes, so what was read of it stays true. Instants are Unix microseconds, as exact as the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache
from numpy.typing import NDArray
from pyarrow import fs

from schemas.archive import COLUMNS
from schemas.archive_store import ArchiveAwayError, ArchiveDamagedError, ArchiveError, footer_digest, open_store

_KEPT_BYTES = 192_000_000
_KEPT_FOOTERS = 512
_GROUPS_AT_ONCE = 16
_LEFT_ALONE_SECONDS = 10.0
"""For so long a store that did not answer is not asked again: whoever comes meanwhile need not wait for it too."""
_EVER = (-(2**63), 2**63 - 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file that counts, as `archive_file` has it; `path` is below the archive's root. Both instants are included."""

    site_id: int
    path: str
    readings: int
    first_us: int
    last_us: int
    footer_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Readings as columns; `at` in Unix microseconds."""

    meter_id: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.meter_id)

    def select(self, rows: NDArray[Any] | slice) -> Columns:
        """Only those rows, in that order."""
        return Columns(**{name: getattr(self, name)[rows] for name in COLUMNS})

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return int(sum(getattr(self, name).nbytes for name in COLUMNS))


def join(parts: Sequence[Columns]) -> Columns:
    """The rows of all, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return Columns(**{name: np.concatenate([getattr(part, name) for part in (NOTHING, *parts)]) for name in COLUMNS})


NOTHING = Columns(
    meter_id=np.empty(0, np.int32), at=np.empty(0, np.int64), value=np.empty(0), quality=np.empty(0, np.int16)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Footer:
    """A file's metadata, and of each row group the least and the most of `meter_id` and `at`."""

    metadata: pq.FileMetaData
    meters: NDArray[np.int64]
    instants: NDArray[np.int64]

    def groups(self, from_us: int, to_us: int, meter_ids: NDArray[Any] | None) -> list[int]:
        """Row groups that may hold something of [from_us, to_us); `meter_ids` sorted, None: all meters."""
        may = (self.instants[:, 1] >= from_us) & (self.instants[:, 0] < to_us)
        if meter_ids is not None:
            may &= np.searchsorted(meter_ids, self.meters[:, 0]) < np.searchsorted(
                meter_ids, self.meters[:, 1], "right"
            )
        return [int(group) for group in np.flatnonzero(may)]


class ArchiveReader:
    """Reads the files of the archive at an address. `clock` gives seconds, `lock` keeps threads apart.

    `groups_read` counts the row groups that were fetched and decoded. Raises ArchiveAddressError.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        lock: AbstractContextManager[Any],
        most_bytes: int = _KEPT_BYTES,
    ) -> None:
        self._filesystem, self._root = open_store(url)
        self._url = url
        self._clock = clock
        self._lock = lock
        self._groups: LRUCache[tuple[str, int], Columns] = LRUCache(most_bytes, getsizeof=lambda part: part.size)
        self._footers: LRUCache[str, _Footer] = LRUCache(_KEPT_FOOTERS)
        self._away: tuple[float, ArchiveAwayError] | None = None
        self.groups_read = 0

    def read(
        self, file: ArchivedFile, *, from_us: int, to_us: int, meter_ids: NDArray[Any] | None = None
    ) -> Iterator[Columns]:
        """Readings with from_us ≤ at < to_us, of all meters or of some, sorted by meter and instant.

        One table a row group that has any. Raises ArchiveAwayError or ArchiveDamagedError, at any step.
        """
        wanted = None if meter_ids is None else np.unique(meter_ids)
        for part in self.parts(file, from_us=from_us, to_us=to_us, meter_ids=wanted):
            mine = np.flatnonzero((part.at >= from_us) & (part.at < to_us))
            if wanted is not None:
                mine = mine[np.isin(part.meter_id[mine], wanted)]
            if len(mine) == len(part):
                yield part
            elif len(mine):
                yield part.select(mine)

    def parts(
        self, file: ArchivedFile, *, from_us: int, to_us: int, meter_ids: NDArray[Any] | None
    ) -> Iterator[Columns]:
        """The row groups that may hold any of it, whole and in order; `meter_ids` sorted. Raises as `read` does."""
        if file.last_us < from_us or file.first_us >= to_us:
            return
        groups = self._guarded(file, partial(self._footer, file)).groups(from_us, to_us, meter_ids)
        for begin in range(0, len(groups), _GROUPS_AT_ONCE):
            some = groups[begin : begin + _GROUPS_AT_ONCE]
            kept = {group: part for group in some if (part := self._kept(file.path, group)) is not None}
            missing = [group for group in some if group not in kept]
            if missing:
                kept |= self._guarded(file, partial(self._fetch, file, missing))
            for group in some:
                yield kept[group]

    def check(self) -> None:
        """Raises ArchiveAwayError while the store does not answer."""
        try:
            root = self._filesystem.get_file_info(self._root)
        except OSError as reason:
            raise self._silent(reason) from reason
        if root.type == fs.FileType.NotFound:
            raise self._missing()
        self._away = None

    def _kept(self, path: str, group: int) -> Columns | None:
        with self._lock:
            part: Columns | None = self._groups.get((path, group))
            return part

    def _footer(self, file: ArchivedFile) -> _Footer:
        with self._lock:
            found: _Footer | None = self._footers.get(file.path)
        if found is None:
            with self._filesystem.open_input_file(self._place(file)) as source:
                if footer_digest(source) != file.footer_sha256:
                    raise ArchiveDamagedError("its footer is not the one that was written")
                found = _read_footer(pq.read_metadata(source))
            if found.metadata.num_rows != file.readings:
                raise pa.ArrowInvalid(f"it has {found.metadata.num_rows} readings; {file.readings} were written")
            with self._lock:
                self._footers[file.path] = found
        return found

    def _fetch(self, file: ArchivedFile, groups: list[int]) -> dict[int, Columns]:
        footer = self._footer(file)
        with self._filesystem.open_input_file(self._place(file)) as source:
            # Checksums: what the disk made of a file since is told, and never taken for what a meter said.
            opened = pq.ParquetFile(source, metadata=footer.metadata, page_checksum_verification=True)
            table = opened.read_row_groups(groups, columns=list(COLUMNS))
        found: dict[int, Columns] = {}
        begin = 0
        for group in groups:
            count = footer.metadata.row_group(group).num_rows
            found[group] = _columns(table.slice(begin, count))
            begin += count
        with self._lock:
            self.groups_read += len(groups)
            for group, part in found.items():
                if part.size <= self._groups.maxsize // 4:
                    self._groups[file.path, group] = part
        return found

    def _place(self, file: ArchivedFile) -> str:
        return f"{self._root.rstrip('/')}/{file.path}"

    def _guarded(self, file: ArchivedFile, work: Callable[[], _T]) -> _T:
        if self._away is not None and self._clock() < self._away[0]:
            raise self._away[1]
        try:
            found = work()
        except (OSError, pa.ArrowException, ArchiveDamagedError) as error:
            failure = self._failure(file, error)
            if isinstance(failure, ArchiveAwayError):
                self._away = (self._clock() + _LEFT_ALONE_SECONDS, failure)
            raise failure from error
        self._away = None
        return found

    def _failure(self, file: ArchivedFile, error: Exception) -> ArchiveError:
        """A file that can't be read while the store answers is damaged; else the store is away."""
        try:
            there = self._filesystem.get_file_info([self._root, self._place(file)])
        except OSError as reason:
            return self._silent(reason)
        if there[0].type == fs.FileType.NotFound:
            return self._missing()
        if there[1].type == fs.FileType.NotFound:
            return ArchiveDamagedError(
                f"the archive lacks {file.path} ({file.readings} readings); bring it back from a copy of {self._url}, "
                "then run `afkobling archive verify`"
            )
        if isinstance(error, PermissionError):
            return ArchiveAwayError(f"{file.path} in the archive at {self._url} may not be read by us; mend its rights")
        return ArchiveDamagedError(
            f"{file.path} in the archive at {self._url} can't be read ({_brief(error)}); run `afkobling archive "
            "verify` and bring the file back from a copy"
        )

    def _silent(self, reason: OSError) -> ArchiveAwayError:
        return ArchiveAwayError(
            f"the archive at {self._url} does not answer ({_brief(reason)}); bring the store back, or mend its address "
            "or keys, and try again"
        )

    def _missing(self) -> ArchiveAwayError:
        return ArchiveAwayError(f"the archive at {self._url} is not there; is its disk mounted, and readable to us?")


def match(part: Columns, meter_id: NDArray[Any], at: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of the readings a row group holds, and the rows where it does. It is sorted by meter and instant."""
    nothing = np.empty(0, np.intp)
    if not len(at):
        return nothing, nothing
    near = np.flatnonzero((part.at >= at.min()) & (part.at <= at.max()))
    if not len(near):
        return nothing, nothing
    earliest, latest = int(part.at[near].min()), int(part.at[near].max())
    # One number a row, as two columns can't be searched at once: the meter's place among those here, then the instant.
    is_next = np.diff(part.meter_id[near], prepend=part.meter_id[near[0]]) != 0
    meters = np.r_[part.meter_id[near[0]], part.meter_id[near[is_next]]]
    span = latest - earliest + 1
    key = np.cumsum(is_next) * span + (part.at[near] - earliest)
    nth = np.minimum(np.searchsorted(meters, meter_id), len(meters) - 1)
    asked = nth * span + (np.clip(at, earliest, latest) - earliest)
    place = np.minimum(np.searchsorted(key, asked), len(key) - 1)
    is_there = (key[place] == asked) & (part.meter_id[near[place]] == meter_id) & (part.at[near[place]] == at)
    return np.flatnonzero(is_there), near[place[is_there]]


def _read_footer(metadata: pq.FileMetaData) -> _Footer:
    names = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    meters, instants = (
        np.array([_bounds(metadata.row_group(i).column(names.index(name))) for i in range(metadata.num_row_groups)])
        for name in ("meter_id", "at")
    )
    return _Footer(metadata=metadata, meters=meters.reshape(-1, 2), instants=instants.reshape(-1, 2))


def _bounds(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """The least and the most that a row group's column holds; instants in microseconds."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return _EVER
    return _whole(statistics.min), _whole(statistics.max)


def _whole(value: int | datetime) -> int:
    if isinstance(value, int):
        return value
    return (value - _EPOCH) // timedelta(microseconds=1)


def _columns(table: pa.Table) -> Columns:
    # Copies of their own: what is kept must not hold the memory of all that was read with it.
    at = table.column("at").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return Columns(
        meter_id=np.array(table.column("meter_id"), dtype=np.int32),
        at=np.array(at, dtype=np.int64),
        value=np.array(table.column("value"), dtype=np.float64),
        quality=np.array(table.column("quality"), dtype=np.int16),
    )


def _brief(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
