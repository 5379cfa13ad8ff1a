"""The collector: take what arrived, check it, write it in one transaction, then acknowledge and say *stored*.

Two threads of our own, besides the network's: one gathers and checks the next batch while the other waits for the
database to commit the last. At most one batch waits between them; what is further behind stays with the broker.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import structlog

from collector.batch import Batch, assemble
from collector.connection import connect
from collector.decode import Decoded, ReadingsMessage, decode
from collector.meter_index import MeterIndex, load_meter_index
from collector.metrics import CollectorMetrics
from collector.settings import CollectorSettings
from collector.store import StaleModelError, Written, write_batch
from collector.subscriber import Buffer, Delivery, Subscriber
from schemas.wire import Stored

_LOG = structlog.get_logger(__name__)
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_UP_SECONDS = 0.5
"""How long a thread waits for work before it looks whether it should stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """Deliveries of one batch in order of arrival, decoded, and checked where the site model was known already."""

    deliveries: list[Delivery]
    decoded: list[Decoded]
    batch: Batch | None
    index: MeterIndex | None


class Collector:
    """Runs until `stop`. One writing connection; what the database refuses for now is tried again, never dropped."""

    def __init__(
        self,
        settings: CollectorSettings,
        *,
        metrics: CollectorMetrics | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self.metrics = metrics or CollectorMetrics()
        self._clock_ms = clock_ms
        # Twice the window: after a reconnect the broker sends the unacknowledged again while the old are still here.
        self._buffer = Buffer(most_messages=2 * settings.receive_maximum, most_bytes=settings.buffer_bytes)
        self._subscriber = Subscriber(
            broker_url=settings.broker_url,
            client_id=settings.collector_id,
            share_group=settings.share_group,
            receive_maximum=settings.receive_maximum,
            buffer=self._buffer,
        )
        self._gathered: queue.Queue[_Gathered] = queue.Queue(maxsize=1)
        self._connection: psycopg.Connection | None = None
        self._index: MeterIndex | None = None
        self._is_stopping = threading.Event()

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError when the database is not ours to write to."""
        gatherers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather")
        self._subscriber.start()
        gatherer = gatherers.submit(self._gather_all)
        try:
            while not self._is_stopping.is_set():
                try:
                    gathered = self._gathered.get(timeout=_LOOK_UP_SECONDS)
                except queue.Empty:
                    if gatherer.done():
                        gatherer.result()  # a defect ended it: let it be seen rather than sit idle
                    continue
                written = self._write(gathered)
                if written is not None:
                    self._confirm(gathered, written)
        finally:
            self._is_stopping.set()
            self._subscriber.stop()
            gatherers.shutdown()
            self._drop_connection()

    def stop(self) -> None:
        """Finish the batch at hand and end. Safe from a signal handler, before `run`, and twice."""
        self._is_stopping.set()

    def problems(self) -> list[str]:
        """What keeps this collector from its work now, in plain words; empty when all is well."""
        found = []
        if not self._subscriber.is_connected:
            found.append("no subscription at the broker; is it running, and may this client subscribe?")
        if self._connection is None or self._connection.closed:
            found.append("no connection to the database yet; is it running and reachable?")
        return found

    def _gather_all(self) -> None:
        while not self._is_stopping.is_set():
            gathered = self._gather()
            self.metrics.buffered.set(len(self._buffer))
            while gathered.deliveries and not self._is_stopping.is_set():
                try:
                    self._gathered.put(gathered, timeout=_LOOK_UP_SECONDS)
                    break
                except queue.Full:
                    continue

    def _gather(self) -> _Gathered:
        """Take messages until there are readings enough, or the first has waited long enough."""
        deliveries: list[Delivery] = []
        decoded: list[Decoded] = []
        readings, deadline = 0, None
        while not self._is_stopping.is_set() and readings < self._settings.batch_readings:
            wait = _LOOK_UP_SECONDS if deadline is None else deadline - time.monotonic()
            if wait <= 0:
                break
            for delivery in self._buffer.take(timeout=wait):
                message = decode(delivery.incoming)
                deliveries.append(delivery)
                decoded.append(message)
                readings += len(message.meter) if isinstance(message, ReadingsMessage) else 1
            if not deliveries:
                break
            if deadline is None:
                deadline = time.monotonic() + self._settings.batch_age_ms / 1000
        index = self._index
        batch = self._assemble(decoded, index) if index and deliveries else None
        return _Gathered(deliveries=deliveries, decoded=decoded, batch=batch, index=index)

    def _assemble(self, decoded: list[Decoded], index: MeterIndex) -> Batch:
        return assemble(decoded, index, now_ms=self._clock_ms(), future_tolerance_ms=self._settings.future_tolerance_ms)

    def _write(self, gathered: _Gathered) -> Written | None:
        """Try until it is committed; None when asked to stop first, and then nothing of it is acknowledged."""
        attempt = 0
        while True:
            started = time.monotonic()
            try:
                written = self._write_once(gathered)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.metrics.retries.inc()
                self._drop_connection()
                delay = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                attempt += 1
                _LOG.warning("database away, trying again", action="write", error=str(error).strip(), wait_s=delay)
                if self._is_stopping.wait(delay):
                    return None
            else:
                self.metrics.commit_seconds.observe(time.monotonic() - started)
                return written

    def _write_once(self, gathered: _Gathered) -> Written:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings.database_url, role="collector")
            self._index = None
        batch, index = gathered.batch, gathered.index
        while True:
            if batch is None or index is None:
                index = self._index = self._index or load_meter_index(self._connection)
                batch = self._assemble(gathered.decoded, index)
            try:
                return write_batch(self._connection, batch, model_version=index.version)
            except StaleModelError:
                # The site model moved after the check: look again at what it says now.
                if self._index is index:
                    self._index = None
                batch = None

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _confirm(self, gathered: _Gathered, written: Written) -> None:
        for delivery in gathered.deliveries:
            self._subscriber.acknowledge(delivery)
        for (address, epoch), seq in written.stored_seq.items():
            self._subscriber.publish_stored(address, Stored(epoch=epoch, seq=seq))
        self.metrics.messages.inc(len(gathered.deliveries) - written.redelivered)
        self.metrics.redelivered.inc(written.redelivered)
        self.metrics.stored.inc(written.stored)
        self.metrics.repeated.inc(written.repeated)
        self.metrics.late.inc(written.late)
        for reason, count in written.quarantined.items():
            self.metrics.quarantined.labels(reason).inc(count)
