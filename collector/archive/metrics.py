"""What the archiver counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ArchiveMetrics:
    """Counters of one archiver."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.readings = Counter("afkobling_archive_readings", "Readings archived", registry=self.registry)
        self.chunks = Counter("afkobling_archive_chunks", "Chunks archived and dropped", registry=self.registry)
        self.bytes = Counter("afkobling_archive_bytes", "Bytes of the files written", registry=self.registry)
        self.late = Counter(
            "afkobling_archive_readings_late", "Readings that came while they were copied", registry=self.registry
        )
        self.failures = Counter("afkobling_archive_failures", "Chunks that stay for now", registry=self.registry)
        self.merged = Counter("afkobling_archive_files_merged", "Files merged into larger ones", registry=self.registry)
        self.due = Gauge("afkobling_archive_due_chunks", "Chunks waiting to be archived", registry=self.registry)
        self.archived_to = Gauge(
            "afkobling_archive_archived_to_timestamp_seconds",
            "Unix time before which readings are archived, as far as they were due",
            registry=self.registry,
        )
