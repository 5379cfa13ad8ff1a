"""The archive's layout: raw readings as Parquet files by site and month, which any engine can read.

    v1/organisation=acme/site=hall/month=2026-03/20260301T000000Z-20260308T000000Z-1a2b3c4d.parquet
    v1/organisation=acme/site=hall/month=2026-03/20260301T000000Z-20260308T000000Z-1a2b3c4d.json

A file has the readings of one site in a span within one month (UTC), sorted by meter and instant, and never changes.
The `.json` beside it is its manifest. Which files count says the table `archive_file`: one that stands there counts,
one that does not is left over from a run that was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from schemas.topics import Key

LAYOUT = "v1"
ARCHIVE_SCHEMA = pa.schema(
    [
        pa.field("meter_id", pa.int32(), nullable=False),
        pa.field("meter", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("quality", pa.int16(), nullable=False),
    ]
)
"""One row a reading. `meter_id` is the database's number of the meter, `meter` its key when it was archived."""
COLUMNS = ("meter_id", "at", "value", "quality")
ROW_GROUP_READINGS = 131_072
"""Rows of a row group, at most. Statistics of `meter_id` and `at` say which groups to read."""


class ArchivedMeter(BaseModel):
    """What a manifest tells of a meter, as it was when the file was written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int
    key: Key
    resource: str
    kind: str
    unit: str
    readings: int
    first_at: datetime
    last_at: datetime
    min: float
    max: float


class Manifest(BaseModel):
    """The `.json` beside a file. `sha256` is of the file's bytes, in hexadecimal digits."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1] = 1
    organisation: Key
    site: Key
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    file: str
    readings: int
    bytes: int
    sha256: str
    first_at: datetime
    last_at: datetime
    meters: list[ArchivedMeter]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRows:
    """Readings as columns, sorted by meter and instant within each file; `at` in Unix milliseconds."""

    meter_id: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.meter_id)


def file_path(*, organisation: str, site: str, from_ms: int, to_ms: int, serial: str) -> str:
    """Where a file of readings in [from_ms, to_ms) stands below the archive's root; its month is that of from_ms."""
    begin, end = (f"{datetime.fromtimestamp(ms / 1000, UTC):%Y%m%dT%H%M%SZ}" for ms in (from_ms, to_ms))
    month = f"{datetime.fromtimestamp(from_ms / 1000, UTC):%Y-%m}"
    return f"{LAYOUT}/organisation={organisation}/site={site}/month={month}/{begin}-{end}-{serial}.parquet"


def manifest_path(path: str) -> str:
    """Where the manifest of a file stands."""
    return path.removesuffix(".parquet") + ".json"


def read_rows(
    filesystem: pa.fs.FileSystem, paths: Iterable[str], *, from_ms: int, to_ms: int, meter_ids: NDArray[Any] | None
) -> Iterator[ArchivedRows]:
    """Readings with from_ms ≤ at < to_ms, of all meters or of some; one table a file that has any, in the given order.

    `paths` are below the filesystem's root. Raises OSError where the store is away or a file is missing, and
    pa.ArrowInvalid where one is damaged.
    """
    first, last = (pa.scalar(ms * 1000, pa.timestamp("us", tz="UTC")) for ms in (from_ms, to_ms))
    condition = (pc.field("at") >= first) & (pc.field("at") < last)
    if meter_ids is not None:
        condition &= pc.field("meter_id").isin(pa.array(meter_ids, pa.int32()))
    for path in paths:
        table = pq.read_table(path, filesystem=filesystem, columns=list(COLUMNS), filters=condition, partitioning=None)
        if table.num_rows:
            yield ArchivedRows(
                meter_id=table.column("meter_id").to_numpy().astype(np.int32),
                at=table.column("at").to_numpy().astype("datetime64[us]").astype(np.int64) // 1000,
                value=table.column("value").to_numpy(),
                quality=table.column("quality").to_numpy(),
            )
