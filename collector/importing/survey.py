"""A first look over a whole file, before any of it is stored: is it sound, which way does it run, what is in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.errors import ImportRefusedError
from collector.importing.layout import Cells, Layout, texts
from collector.importing.meters import NamedMeter
from collector.importing.order import LookAhead, Stand
from schemas.mapping import LongColumns, MappedMeter, Mapping, MappingError

_ROWS = 65_536
_MOST_NAMES = 100_000
_NOT_WANTED = -1

Description = tuple[str, ...]
"""What a row says of its meter, by the columns that the file has of `_DESCRIBING`."""
_DESCRIBING = ("meter", "unit", "resource", "kind", "carrier", "interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a file holds. `seconds`: of one that runs backwards, the rows that mean a second showing of the clock; None
    for one that runs with time.
    """

    rows: int
    seconds: NDArray[np.int64] | None
    named: tuple[NamedMeter, ...]


@dataclass(slots=True, kw_only=True)
class _Looking:
    layout: Layout
    rows: int = 0
    first: int | None = None
    last: int | None = None
    ahead: LookAhead = field(default_factory=LookAhead)
    names: dict[str, int] = field(default_factory=dict)
    described: dict[Description, int] = field(default_factory=dict)

    def take(self, cells: Cells) -> None:
        self.rows += len(cells)
        labels = self.layout.labels(cells)
        codes = self._codes(cells)
        is_timed = labels.times.is_good & (codes >= 0)
        timed = np.flatnonzero(is_timed)
        if not len(timed):
            return
        told = labels.times.micros
        if self.first is None:
            self.first = int(told[timed[0]])
        self.last = int(told[timed[-1]])
        shown = self.layout.shown(labels)
        known = np.flatnonzero(is_timed & ~shown.is_missing)
        self.ahead.take(
            Stand(
                row=cells.row[known],
                meter=codes[known],
                told=told[known],
                shown=type(shown)(first=shown.first[known], second=shown.second[known]),
            )
        )

    def _codes(self, cells: Cells) -> NDArray[np.int32]:
        """Which meter each row is of, as numbers that hold for the whole file; -1 for none that is wanted."""
        long = self.layout.mapping.long
        if long is None:
            return np.zeros(len(cells), dtype=np.int32)
        columns = _describing(self.layout, long)
        parts = [pc.fill_null(pc.utf8_trim_whitespace(texts(cells.columns[name])), "") for name in columns]
        table = pa.table([*parts, pa.array(cells.row)], names=[*(str(i) for i in range(len(parts))), "row"])
        keys = [str(i) for i in range(len(parts))]
        for *description, row in zip(
            *table.group_by(keys, use_threads=False).aggregate([("row", "min")]).to_pydict().values(), strict=True
        ):
            self.described.setdefault(tuple(description), row)
        if len(self.described) > _MOST_NAMES:
            raise ImportRefusedError(
                f"{self.layout.table.path}: column {long.meter} has over {_MOST_NAMES:,} names; does it name meters?"
            )
        encoded = parts[0].dictionary_encode()
        listed = {meter.called for meter in long.meters}
        codes = [
            self.names.setdefault(name, len(self.names)) if name in listed or (name and not listed) else _NOT_WANTED
            for name in encoded.dictionary.to_pylist()
        ]
        found: NDArray[np.int32] = np.array(codes, dtype=np.int32)[encoded.indices.to_numpy()]
        return found


def survey(layout: Layout, *, report: Callable[[int], None] = lambda _: None) -> Survey:
    """Look over the whole file. `report` hears how many rows were read. Raises ImportRefusedError."""
    mapping = layout.mapping
    columns = [*mapping.time.columns, *(_describing(layout, mapping.long) if mapping.long else ())]
    looking = _Looking(layout=layout)
    for cells in layout.read(columns, _ROWS):
        looking.take(cells)
        report(len(cells))
    is_backwards = looking.first is not None and looking.last is not None and looking.first > looking.last
    return Survey(
        rows=looking.rows,
        seconds=looking.ahead.seconds() if is_backwards else None,
        named=_named(mapping, looking.described, _describing_roles(layout, mapping.long) if mapping.long else ()),
    )


def _describing_roles(layout: Layout, long: LongColumns) -> tuple[str, ...]:
    roles = _DESCRIBING[:2] if long.meters else _DESCRIBING
    return tuple(role for role in roles if layout.has(getattr(long, role)))


def _describing(layout: Layout, long: LongColumns) -> list[str]:
    return [getattr(long, role) for role in _describing_roles(layout, long)]


def _named(mapping: Mapping, described: dict[Description, int], roles: Sequence[str]) -> tuple[NamedMeter, ...]:
    long = mapping.long
    if long is None:
        return tuple(NamedMeter(name=meter.column, key=meter.meter, told=meter) for meter in mapping.meters)
    by_name: defaultdict[str, list[Description]] = defaultdict(list)
    for description in sorted(described, key=lambda found: described[found]):
        by_name[description[0]].append(description)
    listed = {meter.called: meter for meter in long.meters}
    found = []
    for name, descriptions in by_name.items():
        if not name or (listed and name not in listed):
            continue
        told = listed.get(name) or _told(long, descriptions, roles)
        units = frozenset(one[roles.index("unit")] for one in descriptions) if "unit" in roles else frozenset[str]()
        found.append(NamedMeter(name=name, key=told.meter if told else name, told=told, units=units))
    return tuple(found)


def _told(long: LongColumns, descriptions: Sequence[Description], roles: Sequence[str]) -> MappedMeter | None:
    """The first row that says enough."""
    for description in descriptions:
        cells: dict[str, str | None] = {
            getattr(long, role): text for role, text in zip(roles, description, strict=True)
        }
        try:
            return long.describe(cells)
        except MappingError:
            continue
    return None
