"""What the agent counts, for Prometheus. A registry of its own, so that one process can run several agents."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from edge.last_readings import LastReadings
from edge.outbox import Outbox

_NEARLY_FULL = 0.9
_FAILING_AFTER = 3
"""Attempts that fail in a row before a driver counts as failing: one alone is an everyday matter."""


class Counters:
    """The agent's counters; names begin with `afkobling_edge_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.taken = self._counter("readings_taken", "readings taken from drivers", "driver")
        self.refused = self._counter("readings_refused", "readings refused, not fit for the wire", "driver")
        self.driver_failures = self._counter("driver_failures", "failed attempts to read a device", "driver")
        self.appended = self._counter("messages_appended", "messages written to the outbox")
        self.published = self._counter("messages_published", "messages handed to the broker, repeats included")
        self.resent = self._counter("messages_resent", "messages published again as nobody confirmed them")
        self.confirmed = self._counter("messages_confirmed", "messages that the collector has stored")
        self.split = self._counter("messages_split", "messages split as they were larger than the broker accepts")
        self.refusals = self._counter("broker_refusals", "messages that the broker refused", "reason")
        self.connections = self._counter("broker_connections", "connections to the broker that came about")
        self.connection_failures = self._counter("broker_connection_failures", "connections that failed or broke")
        self.strange = self._counter("stored_ignored", "`stored` messages that were not about this outbox")
        self.outbox_failures = self._counter("outbox_failures", "attempts to use the outbox that failed")
        self.window = self._gauge("window_messages", "messages allowed ahead of what is stored, just now")
        self.size = self._gauge("outbox_bytes", "what the messages that are not confirmed take")
        self.waiting = self._gauge("outbox_messages", "messages that are not confirmed")
        self.dropped = self._gauge("outbox_dropped_readings", "readings given up at the size limit, this epoch")
        self.online = self._gauge("broker_online", "1 while connected to the broker")
        self.in_flight = self._gauge("in_flight_messages", "messages that the broker owes an answer for")
        self.limit = self._gauge("outbox_limit_bytes", "at so many bytes of these the outbox is full")
        self.oldest = self._gauge("outbox_oldest_seconds", "age of the oldest unconfirmed message; 0 for none")
        self.last_taken = self._gauge(
            "last_taken_timestamp_seconds", "when a driver last gave readings, by the agent's clock", "driver"
        )
        self.certificate_days = self._gauge("certificate_days", "days until the agent's certificate expires; NaN: none")
        self.certificate_days.set(float("nan"))
        self.renewal_failures = self._counter("renewal_failures", "attempts to renew the certificate that failed")
        self.last = LastReadings()
        self.why_offline: str | None = None
        """Why the broker was not reached, or was lost, in words."""
        self._failed_in_a_row: dict[str, int] = {}
        self._outbox: Outbox | None = None
        self._obstacles: dict[str, str] = {}

    def watch(self, outbox: Outbox) -> None:
        """Tell how full the outbox is at each scrape."""
        self._outbox = outbox
        self.waiting.set_function(lambda: outbox.state().waiting)
        self.size.set_function(lambda: outbox.size_bytes)
        self.dropped.set_function(lambda: outbox.state().dropped_readings)
        self.limit.set(outbox.max_bytes)
        self.oldest.set_function(outbox.oldest_s)

    def note_taken(self, driver: str, readings: int, *, now_s: float) -> None:
        """The driver gave so many readings that are fit for the wire."""
        self.taken.labels(driver).inc(readings)
        self.last_taken.labels(driver).set(now_s)
        if self._failed_in_a_row.pop(driver, 0):
            self.note_obstacle(f"driver {driver}", None)

    def note_driver_failure(self, driver: str) -> None:
        """An attempt to read the driver's device failed."""
        self.driver_failures.labels(driver).inc()
        failed = self._failed_in_a_row[driver] = self._failed_in_a_row.get(driver, 0) + 1
        if failed >= _FAILING_AFTER:
            self.note_obstacle(
                f"driver {driver}",
                f"driver {driver} has given nothing in {failed} attempts: the log tells why (driver.away, "
                "driver.failed); check the device's power, cable and address",
            )

    def note_disk(self, reason: str | None) -> None:
        """The outbox can't be written, for this reason; None: it can."""
        self.note_obstacle(
            "disk",
            reason and f"readings cannot be kept on disk ({reason}); free some space, or check the disk and its rights",
        )

    def note_obstacle(self, key: str, words: str | None) -> None:
        """Something keeps the agent from its work, in plain words; None when it is out of the way."""
        if words is None:
            self._obstacles.pop(key, None)
        else:
            self._obstacles[key] = words

    def has_obstacle(self, key: str) -> bool:
        """Whether something of that name is in the way."""
        return key in self._obstacles

    def begin_anew(self) -> None:
        """Other drivers run from now on: what was noted of those before says nothing of these."""
        for driver in self._failed_in_a_row:
            self.note_obstacle(f"driver {driver}", None)
        self._failed_in_a_row.clear()

    @property
    def is_online(self) -> bool:
        """Whether the broker is connected."""
        return bool(self.registry.get_sample_value("afkobling_edge_broker_online"))

    def problems(self) -> list[str]:
        """What keeps the agent from its work now, in plain words; empty when all is well."""
        found = list(self._obstacles.values())
        if not self.is_online:
            found.append("not connected to the broker; readings wait in the outbox. Is it running and reachable?")
        outbox = self._outbox
        if outbox is not None and outbox.size_bytes > _NEARLY_FULL * outbox.max_bytes:
            found.append(
                f"the outbox is nearly full ({outbox.size_bytes} of {outbox.max_bytes} bytes); are broker, collector "
                "and database running? Raise outbox.max_size if there is room"
            )
        return found

    def unfinished(self) -> list[str]:
        """What the agent has at hand, in plain words."""
        waiting = 0 if self._outbox is None else self._outbox.state().waiting
        return [*self.problems(), f"{waiting} messages in the outbox are not confirmed; they stay in its file"]

    def _counter(self, name: str, documentation: str, *labels: str) -> Any:
        return Counter(f"afkobling_edge_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Any:
        return Gauge(f"afkobling_edge_{name}", documentation, labels, registry=self.registry)
