"""What the collector and the roll-up count, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_COMMIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class CollectorMetrics:
    """Counters of one collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("afkobling_collector_messages", "Messages committed", registry=self.registry)
        self.redelivered = Counter(
            "afkobling_collector_redelivered", "Messages that had been committed before", registry=self.registry
        )
        self.stored = Counter("afkobling_collector_readings_stored", "Readings stored", registry=self.registry)
        self.repeated = Counter(
            "afkobling_collector_readings_repeated", "Readings that were stored already", registry=self.registry
        )
        self.late = Counter(
            "afkobling_collector_readings_late", "Readings older than the last closed quarter", registry=self.registry
        )
        self.quarantined = Counter(
            "afkobling_collector_quarantined", "Readings or messages in quarantine", ["reason"], registry=self.registry
        )
        self.replayed = Counter(
            "afkobling_collector_entries_replayed", "Quarantined messages that were tried again", registry=self.registry
        )
        self.commit_seconds = Histogram(
            "afkobling_collector_commit_seconds",
            "Time of one transaction",
            buckets=_COMMIT_SECONDS,
            registry=self.registry,
        )
        self.retries = Counter(
            "afkobling_collector_retries", "Batches tried again as the database was away", registry=self.registry
        )
        self.buffered = Gauge(
            "afkobling_collector_buffered_messages", "Messages waiting to be written", registry=self.registry
        )


class RollupMetrics:
    """Counters of one roll-up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.quarters = Counter("afkobling_rollup_quarters_written", "Rows of consumption", registry=self.registry)
        self.recomputed = Counter(
            "afkobling_rollup_late_recomputed", "Stretches recomputed for late readings", registry=self.registry
        )
        self.readings = Counter("afkobling_rollup_readings", "Readings followed", registry=self.registry)
        self.followed_to = Gauge(
            "afkobling_rollup_followed_to_seconds",
            "Unix time before which readings are followed",
            registry=self.registry,
        )
        self.computed_to = Gauge(
            "afkobling_rollup_computed_to_seconds",
            "Unix time before which quarters are complete",
            registry=self.registry,
        )
        self.failures = Counter("afkobling_rollup_failures", "Steps tried again", registry=self.registry)
