"""A file that is to be imported, looked over before anything of it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from collector.errors import ImportRefusedError
from collector.importing.conversion import Converter
from collector.importing.formats import Format, open_table
from collector.importing.import_store import NewImport
from collector.importing.layout import Layout, lay_out
from collector.importing.meters import Matched, SiteMeters, match_meters, read_site_meters, site_model_lines
from collector.importing.survey import Survey, survey
from schemas.mapping import Mapping

_READING_RULES = b"1"
"""Goes up when a file is divided or read in another way than before: its pieces are then others."""
_UNKNOWN_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be imported, where, and how. `agent` None: each meter's own. `known_only` leaves out meters that the
    site does not have; `most_quarantined` is how many readings may go to quarantine before the import stops."""

    path: Path
    organisation: str
    site: str
    author: str
    mapping: Mapping | None = None
    form: Format | None = None
    agent: str | None = None
    known_only: bool = False
    most_quarantined: int = 100_000
    future_tolerance_ms: int = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that was looked over, before anything of it is stored. `new` names it in the database."""

    wanted: Wanted
    layout: Layout
    survey: Survey
    site: SiteMeters
    matched: Matched
    new: NewImport
    stamp: tuple[int, int]

    def problems(self) -> list[str]:
        """What keeps it from being imported, each with what to do about it."""
        found = list(self.matched.problems)
        if self.matched.unknown and not self.wanted.known_only:
            names = [meter.key for meter in self.matched.unknown]
            more = f" and {len(names) - _UNKNOWN_NAMED} more" if len(names) > _UNKNOWN_NAMED else ""
            found.append(
                f"site {self.new.site} has no meter {', '.join(names[:_UNKNOWN_NAMED])}{more}. Add them under "
                f"`meters` of site.yaml and apply it, or leave them out with --known-only:\n\n{self.site_model_lines()}"
            )
        if not self.matched.meters and not found:
            found.append(f"{self.wanted.path} names no meter; nothing can be imported")
        return found

    def site_model_lines(self) -> str:
        """A piece of site.yaml for the meters that the site does not have."""
        beside = {meter.address.agent for meter in self.matched.meters}
        return site_model_lines(
            self.matched.unknown[:_UNKNOWN_NAMED], self.site, agent=self.wanted.agent, beside=beside
        )

    def converter(self) -> Converter:
        """Reads the file from its beginning."""
        return Converter(self.layout, self.matched.meters, seconds=self.survey.seconds)

    def check_unchanged(self) -> None:
        """Raises ImportRefusedError when the file is another than the one that was looked over."""
        if _stamp(self.wanted.path) != self.stamp:
            raise ImportRefusedError(
                f"{self.wanted.path} has changed while it was imported; what is stored stays. Import it again when "
                "nothing writes to it any more"
            )


def prepare(
    connection: psycopg.Connection, wanted: Wanted, *, report: Callable[[int], None] = lambda _: None
) -> Prepared:
    """Look the file over. `report` hears how many rows were looked at. Raises ImportRefusedError, MappingError."""
    site = read_site_meters(connection, organisation=wanted.organisation, site=wanted.site)
    stamp, digest = _digest(wanted.path)
    layout = lay_out(open_table(wanted.path, wanted.mapping, wanted.form), wanted.mapping)
    looked = survey(layout, report=report)
    matched = match_meters(looked.named, site, agent=wanted.agent, label=layout.mapping.time.label)
    whole = hashlib.sha256(digest)
    whole.update(layout.mapping.model_dump_json().encode())
    for meter in matched.meters:
        whole.update(f"\0{meter.name}\0{meter.key}\0{meter.address}\0{meter.interval_ms}".encode())
    whole.update(_READING_RULES)
    new = NewImport(
        organisation=wanted.organisation,
        site=wanted.site,
        epoch=f"import-{whole.hexdigest()[:32]}",
        file=wanted.path.name,
        size=stamp[0],
        digest=digest,
        mapping=layout.mapping.name,
        author=wanted.author,
        rows=looked.rows,
    )
    return Prepared(wanted=wanted, layout=layout, survey=looked, site=site, matched=matched, new=new, stamp=stamp)


def _digest(path: Path) -> tuple[tuple[int, int], bytes]:
    """Size and time of the file, and SHA-256 of its bytes. Raises ImportRefusedError."""
    try:
        stamp = _stamp(path)
        with path.open("rb") as file:
            return stamp, hashlib.file_digest(file, "sha256").digest()
    except IsADirectoryError as error:
        raise ImportRefusedError(f"{path} is a folder; name the files in it, as in {path}/*.csv") from error
    except OSError as error:
        raise ImportRefusedError(
            f"{path} cannot be read: {error.strerror}; check the path and its permissions"
        ) from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
