"""Settings of the archive, from the environment (`AFKOBLING_…`), validated whole at start."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.durations import StoredSpanMs

_DAY_MS = 86_400_000


class ArchiveSettings(BaseSettings):
    """Every setting of `afkobling archive`."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    database_url: Annotated[str, Field(description="postgresql://… of the TimescaleDB whose readings are archived")]
    archive_url: Annotated[
        str | None,
        Field(
            min_length=1,
            description="where to: a folder, file:///…, or s3://bucket/prefix?endpoint_override=…; keys of a store "
            "come from its own variables, such as AWS_ACCESS_KEY_ID",
        ),
    ] = None
    archive_retention: Annotated[
        StoredSpanMs, Field(description="how long readings stay in the table: 90d, or hours: 6h")
    ] = 90 * _DAY_MS
    archive_grace: Annotated[
        StoredSpanMs,
        Field(
            description="how long a file stays after its readings went elsewhere: longer than the age of the oldest "
            "backup of the database that you would go back to"
        ),
    ] = 7 * _DAY_MS
    archive_merge_files: Annotated[
        int, Field(ge=0, description="so many small files of a site and month are merged into one; 0: never")
    ] = 24
    archive_every: Annotated[StoredSpanMs, Field(description="how often `--forever` looks for what is due")] = 600_000
    archive_spool: Annotated[
        Path | None,
        Field(description="a folder for what does not fit into memory meanwhile; default: the system's"),
    ] = None
    archive_metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Prometheus metrics and health on 127.0.0.1")
    ] = None
    chunk_interval: Annotated[
        StoredSpanMs | None,
        Field(description="how long the table's next chunks span, down to hours: 1h; default: as it is (7d at first)"),
    ] = None
    columnstore: Annotated[
        bool, Field(description="compress older chunks by column, where the server's edition can")
    ] = False
    meter_index: Annotated[
        bool,
        Field(
            description="index closed chunks by meter too: one meter's recent readings are found at once, for 31 bytes "
            "a reading on disk"
        ),
    ] = False

    @property
    def retention(self) -> timedelta:
        """How long readings stay in the table."""
        return timedelta(milliseconds=self.archive_retention)

    @property
    def grace(self) -> timedelta:
        """How long a file that does not count any more is kept."""
        return timedelta(milliseconds=self.archive_grace)

    @property
    def chunk_span(self) -> timedelta | None:
        """How long the table's next chunks span."""
        return None if self.chunk_interval is None else timedelta(milliseconds=self.chunk_interval)
