"""Whether the archive still holds what the database says it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pydantic import ValidationError

from collector.archive.errors import NotVerifiedError
from collector.archive.files import ListedFile
from collector.archive.parquet import Held, read_back
from collector.archive.rows import instant
from collector.archive.store import ArchiveStore
from schemas.archive import Manifest, manifest_path
from schemas.archive_store import ArchiveDamagedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A file that is not what was written, and why."""

    path: str
    problem: str


def check_file(store: ArchiveStore, file: ListedFile, *, only_size: bool = False) -> Iterator[Damage]:
    """What is wrong with a file and its manifest; nothing where all is well.

    With `only_size` nothing is read: it tells what is missing or cut off. Raises OSError where the store does not
    answer.
    """
    size = store.size(file.path)
    if size is None:
        yield Damage(path=file.path, problem="is missing")
        return
    if size != file.size:
        yield Damage(path=file.path, problem=f"has {size:,} bytes, not {file.size:,}")
        return
    if only_size:
        if store.size(manifest_path(file.path)) is None:
            yield Damage(path=manifest_path(file.path), problem="is missing")
        return
    try:
        held = read_back(store, file.path, file.sha256)
    except (NotVerifiedError, ArchiveDamagedError, pa.ArrowInvalid, OSError) as error:
        # The store has just told its size: what fails now is the file.
        yield Damage(path=file.path, problem=f"is damaged: {' '.join(str(error).split())}")
        return
    problem = _compare(file, held)
    if problem is not None:
        yield Damage(path=file.path, problem=problem)
        return
    yield from _check_manifest(store, file, held)


def _compare(file: ListedFile, held: Held) -> str | None:
    readings = int(held.readings.sum())
    if readings != file.readings:
        return f"holds {readings:,} readings, not {file.readings:,}"
    if (instant(int(held.first_us.min())), instant(int(held.last_us.max()))) != (file.first_at, file.last_at):
        return "begins or ends at another instant than the database says"
    return None


def _check_manifest(store: ArchiveStore, file: ListedFile, held: Held) -> Iterator[Damage]:
    path = manifest_path(file.path)
    try:
        with store.open(path) as source:
            manifest = Manifest.model_validate_json(source.read())
    except (ArchiveDamagedError, OSError):
        yield Damage(path=path, problem="is missing or can't be read")
        return
    except ValidationError as error:
        yield Damage(path=path, problem=f"is no manifest: {error.errors()[0]['msg']}")
        return
    told = [
        (meter.id, meter.readings, meter.first_at, meter.last_at, meter.min, meter.max) for meter in manifest.meters
    ]
    found = [
        (number, readings, instant(first), instant(last), least, most)
        for number, readings, first, last, least, most in zip(
            *(
                getattr(held, name).tolist()
                for name in ("meter_id", "readings", "first_us", "last_us", "least", "most")
            ),
            strict=True,
        )
    ]
    if (manifest.sha256, manifest.readings, told) != (held.sha256.hex(), file.readings, found):
        yield Damage(path=path, problem="tells of other readings than the file holds")
