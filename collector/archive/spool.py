"""Readings from the order of their instants into the order of sites and meters, in bounded memory.

What fits is sorted in memory. What does not is dealt out to files by groups of meters, each of which fits; one meter
with more readings than that is a group of its own, and needs no sorting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collector.archive.contents import Contents
from collector.archive.rows import PACKED, Ints, Rows, join, unpack

GROUP_READINGS = 2_000_000
_GROUP_METERS = 60_000
"""So that a meter's place in its group fits 16 bits, which numpy sorts by digits."""
_UNKNOWN = -1


def group_meters(readings: Ints, *, most: int = GROUP_READINGS) -> Ints:
    """The group of each meter, ascending: as many neighbours together as hold so many readings at most."""
    groups = np.empty(len(readings), dtype=np.int64)
    group, held, meters = 0, 0, 0
    for nth, count in enumerate(readings.tolist()):
        if meters and (held + count > most or meters == _GROUP_METERS):
            group, held, meters = group + 1, 0, 0
        groups[nth] = group
        held, meters = held + count, meters + 1
    return groups


def by_site(
    pages: Iterable[Rows], contents: Contents, *, folder: Path | None, most: int = GROUP_READINGS
) -> Iterator[tuple[int, Rows]]:
    """Pages sorted by instant, as pieces of one site each, sorted by meter and instant; sites in their order.

    A site may come in several pieces, none with many more readings than `most`. Readings of meters that are not in
    `contents` are left out. `folder` is where what does not fit is kept meanwhile; default: the system's.
    """
    groups = group_meters(contents.readings, most=most)
    place = np.full(int(contents.meter_id.max(initial=0)) + 1, _UNKNOWN, dtype=np.int64)
    place[contents.meter_id] = np.arange(len(contents))
    with tempfile.TemporaryDirectory(prefix="afkobling-archive-", dir=folder) as spool:
        spooled = _deal_out(pages, place, groups, Path(spool))
        for group, parts in spooled:
            first = int(np.searchsorted(groups, group))
            for part in parts:
                yield from _sites_of(part, place, contents, first)


def _deal_out(pages: Iterable[Rows], place: Ints, groups: Ints, spool: Path) -> Iterator[tuple[int, Iterator[Rows]]]:
    count = int(groups[-1]) + 1 if len(groups) else 0
    if count <= 1:
        kept = [_known(page, place)[0] for page in pages]
        yield 0, iter([join(kept)] if sum(len(part) for part in kept) else [])
        return
    for page in pages:
        rows, places = _known(page, place)
        group = groups[places]
        order = np.argsort(group.astype(np.uint16) if count <= 0xFFFF else group, kind="stable")
        records = rows.pack()[order]
        ends = np.cumsum(np.bincount(group, minlength=count))
        for nth in np.unique(group).tolist():
            with (spool / str(nth)).open("ab") as file:
                file.write(records[ends[nth - 1] if nth else 0 : ends[nth]].tobytes())
    for nth in range(count):
        yield nth, _read_spooled(spool / str(nth), is_one_meter=int(np.count_nonzero(groups == nth)) == 1)


def _read_spooled(path: Path, *, is_one_meter: bool) -> Iterator[Rows]:
    """A whole group, or piece after piece of the one meter in it."""
    if not path.exists():
        return
    most = GROUP_READINGS if is_one_meter else -1
    with path.open("rb") as file:
        while len(records := np.fromfile(file, dtype=PACKED, count=most)):
            yield unpack(records)
            if not is_one_meter:
                break
    path.unlink()


def _known(page: Rows, place: Ints) -> tuple[Rows, Ints]:
    """Rows of meters that have a place, and these."""
    places: Ints = np.full(len(page), _UNKNOWN, dtype=np.int64)
    is_near = page.meter_id < len(place)
    places[is_near] = place[page.meter_id[is_near]]
    is_known = places != _UNKNOWN
    if is_known.all():
        return page, places
    return page.select(is_known), places[is_known]


def _sites_of(rows: Rows, place: Ints, contents: Contents, first: int) -> Iterator[tuple[int, Rows]]:
    places = place[rows.meter_id]
    within: NDArray[np.uint16] = (places - first).astype(np.uint16)
    # Instants ascend already, and a stable sort leaves them so.
    order = np.argsort(within, kind="stable")
    site = contents.site_id[places[order]]
    begins = np.flatnonzero(np.r_[True, site[1:] != site[:-1]][: len(site)])
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(site)], strict=True):
        yield int(site[begin]), rows.select(order[begin:end])
