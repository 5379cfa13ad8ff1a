"""What the collector and the roll-up count, for Prometheus. Names and meanings: docs/operations.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector as Source

from collector.batch import Batch
from collector.buffer import Buffer
from collector.delivery import Delivery
from collector.store import Written
from collector.subscriber import Subscriber

_COMMIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAIT_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_STEP_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_READINGS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000)
_BATCH_MESSAGES = (1, 5, 10, 50, 100, 250, 500, 1_000, 2_500)


class _Counted(Source):
    """A counter that somebody else keeps as a plain number: where it is counted by the thousand that costs nothing."""

    def __init__(self, name: str, documentation: str, read: Callable[[], int]) -> None:
        self._name, self._documentation, self._read = name, documentation, read

    def collect(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self._name, self._documentation, value=self._read())]


class CollectorMetrics:
    """Counters of one collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = self._counter("messages", "Messages committed")
        self.redelivered = self._counter("redelivered_messages", "Messages that had been committed before")
        self.bytes = self._counter("bytes", "Memory that committed messages took, about the size of their payloads")
        self.stored = self._counter("readings_stored", "Readings stored")
        self.repeated = self._counter("readings_repeated", "Readings that were stored already")
        self.late = self._counter("readings_late", "Readings older than the last closed quarter")
        self.quarantined = self._counter(
            "quarantined_readings", "Readings put into quarantine; what holds none counts one", "reason"
        )
        self.replayed = self._counter("replayed_entries", "Quarantined messages that were tried again")
        self.retries = self._counter("write_retries", "Batches tried again as the database was away")
        self.commit_seconds = self._histogram("commit_seconds", "Time of one transaction", _COMMIT_SECONDS)
        self.wait_seconds = self._histogram(
            "arrival_to_commit_seconds", "From the arrival of a batch's first message to its commit", _WAIT_SECONDS
        )
        self.batch_readings = self._histogram("batch_readings", "Readings in one transaction", _BATCH_READINGS)
        self.batch_messages = self._histogram("batch_messages", "Messages in one transaction", _BATCH_MESSAGES)
        self.last_commit = self._gauge("last_commit_timestamp_seconds", "When a batch was committed last")
        self.newest_reading = self._gauge(
            "newest_reading_timestamp_seconds", "Instant of the newest reading that was committed"
        )
        self._newest_ms = 0

    def watch(self, buffer: Buffer, subscriber: Subscriber) -> None:
        """Tell at each scrape what stands in the buffer, and how the connection is."""
        for name, documentation, read in (
            ("buffered_messages", "Messages waiting to be gathered into a batch", lambda: len(buffer)),
            ("buffered_bytes", "Memory that these take", lambda: buffer.size_bytes),
            ("buffered_readings", "Readings in these", lambda: buffer.readings),
            (
                "buffer_limit_messages",
                "At so many messages reading from the broker waits",
                lambda: buffer.most_messages,
            ),
            ("buffer_limit_bytes", "At so many bytes reading from the broker waits", lambda: buffer.most_bytes),
            (
                "unacknowledged_messages",
                "Messages the broker waits for an answer to",
                lambda: subscriber.unacknowledged,
            ),
            ("broker_connected", "1 while subscribed at the broker", subscriber.subscribed.is_set),
        ):
            self._gauge(name, documentation).set_function(read)
        for name, documentation, count in (
            ("broker_connections", "Connections to the broker that came about", lambda: subscriber.connections),
            ("broker_connection_failures", "Connections that failed or broke", lambda: subscriber.failures),
            ("stored_confirmed", "Words `stored` to agents that the broker has taken", lambda: subscriber.stored_said),
        ):
            self.registry.register(_Counted(f"afkobling_collector_{name}", documentation, count))

    def committed(
        self, deliveries: Sequence[Delivery], batch: Batch | None, written: Written, *, now_s: float, at_s: float
    ) -> None:
        """Count a committed batch. `now_s` is the monotonic clock, `at_s` Unix time."""
        self.messages.inc(len(deliveries) - written.redelivered)
        self.bytes.inc(sum(delivery.size for delivery in deliveries))
        self.count(written)
        self.redelivered.inc(written.redelivered)
        for reason, count in written.quarantined.items():
            self.quarantined.labels(reason).inc(count)
        self.last_commit.set(at_s)
        self.batch_messages.observe(len(deliveries))
        self.batch_readings.observe(written.stored + written.repeated + written.quarantined.total())
        if deliveries:
            self.wait_seconds.observe(now_s - deliveries[0].arrived_s)
        if batch is not None and len(batch.rows):
            self._newest_ms = max(self._newest_ms, int(batch.rows.at.max()))
            self.newest_reading.set(self._newest_ms / 1000)

    def count(self, written: Written) -> None:
        """Count the readings of something committed, a batch or a step of a replay."""
        self.stored.inc(written.stored)
        self.repeated.inc(written.repeated)
        self.late.inc(written.late)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"afkobling_collector_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"afkobling_collector_{name}", documentation, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"afkobling_collector_{name}", documentation, buckets=buckets, registry=self.registry)


class RollupMetrics:
    """Counters of one roll-up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.quarters = self._counter("quarters_written", "Rows of consumption written")
        self.recomputed = self._counter("stretches_recomputed", "Stretches computed again for late readings")
        self.readings = self._counter("readings", "Readings followed")
        self.failures = self._counter("failures", "Steps that failed and were tried again")
        self.step_seconds = Histogram(
            "afkobling_rollup_step_seconds", "Time of one step", buckets=_STEP_SECONDS, registry=self.registry
        )
        self.followed_to = self._gauge(
            "followed_to_timestamp_seconds", "Before this instant all readings are to be followed, whoever has the turn"
        )
        self.computed_to = self._gauge(
            "computed_to_timestamp_seconds", "Before this instant quarters are complete, whoever has the turn"
        )
        self.pending = self._gauge(
            "pending_notes", "Notes of late readings to be computed again, counted up to 100,000"
        )

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(f"afkobling_rollup_{name}", documentation, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"afkobling_rollup_{name}", documentation, registry=self.registry)
