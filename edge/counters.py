"""What the agent counts, for Prometheus. A registry of its own, so that one process can run several agents."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from edge.outbox import Outbox


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
        self.refusals = self._counter("broker_refusals", "messages that the broker refused", "reason")
        self.connections = self._counter("broker_connections", "connections to the broker that came about")
        self.connection_failures = self._counter("broker_connection_failures", "connections that failed or broke")
        self.strange = self._counter("stored_ignored", "`stored` messages that were not about this outbox")
        self.outbox_failures = self._counter("outbox_failures", "attempts to use the outbox that failed")
        self.waiting = self._gauge("outbox_waiting", "messages that are not confirmed")
        self.dropped = self._gauge("outbox_dropped_readings", "readings given up at the size limit, this epoch")
        self.online = self._gauge("broker_online", "1 while connected to the broker")

    def watch(self, outbox: Outbox) -> None:
        """Tell how full the outbox is at each scrape."""
        self.waiting.set_function(lambda: outbox.state().waiting)
        self.dropped.set_function(lambda: outbox.state().dropped_readings)

    def problems(self) -> list[str]:
        """What keeps the agent from its work now, in plain words; empty when all is well."""
        if self.registry.get_sample_value("afkobling_edge_broker_online"):
            return []
        return ["not connected to the broker; readings wait in the outbox. Is it running and reachable?"]

    def _counter(self, name: str, documentation: str, *labels: str) -> Any:
        return Counter(f"afkobling_edge_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Any:
        return Gauge(f"afkobling_edge_{name}", documentation, registry=self.registry)
