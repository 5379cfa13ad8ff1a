"""Reads a file whole columns at a time, at a site that has all meters of its mapping."""

from __future__ import annotations

from pathlib import Path

from collector.importing.conversion import Converter
from collector.importing.formats import open_table
from collector.importing.layout import lay_out
from collector.importing.meters import SiteMeter, SiteMeters, match_meters
from collector.importing.survey import survey
from schemas.mapping import Mapping


def at_site(mapping: Mapping) -> SiteMeters:
    described = mapping.long.meters if mapping.long else mapping.meters
    meters = {
        m.meter: SiteMeter(
            key=m.meter, agent="cabinet", resource=m.resource, kind=m.kind, unit=m.unit, interval_ms=m.interval
        )
        for m in described
    }
    return SiteMeters(organisation="acme", site="hall", meters=meters, agents=frozenset({"cabinet"}))


def read_columns(path: Path, mapping: Mapping, rows: int) -> tuple[list[tuple[str, int, float, str]], Converter]:
    layout = lay_out(open_table(path, mapping), mapping)
    found = survey(layout)
    matched = match_meters(found.named, at_site(mapping), agent=None, label=mapping.time.label)
    assert (matched.unknown, matched.problems) == ((), ())
    converter = Converter(layout, matched.meters, seconds=found.seconds)
    converter.__class__ = type("Small", (Converter,), {"rows_a_piece": rows})
    readings = [
        (matched.meters[m].key, at, value, piece.units[u] if u >= 0 else matched.meters[m].unit)
        for piece in converter.pieces()
        for m, at, value, u in zip(
            piece.meter.tolist(), piece.at.tolist(), piece.value.tolist(), piece.unit.tolist(), strict=True
        )
    ]
    return readings, converter
