"""The collector: take what arrived, check it, write it in one transaction, then acknowledge and say *stored*.

The network's thread decodes. A second one gathers and checks the next batch while ours waits for the database to
commit the last; at most one batch stands between them. What is further behind stays with the broker.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import structlog

from collector.batch import Batch, assemble, unstorable
from collector.buffer import Buffer, Delivery
from collector.connection import TRANSIENT, connect
from collector.decode import Decoded
from collector.meter_index import MeterIndex, load_meter_index
from collector.metrics import CollectorMetrics
from collector.replay import is_replay_asked_for, replay_step
from collector.settings import CollectorSettings
from collector.store import StaleModelError, Written, add_up, write_batch
from collector.subscriber import Confirmation, Subscriber
from schemas.wire import Stored

_LOG = structlog.get_logger(__name__)
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_UP_SECONDS = 0.5
"""How long a thread waits for work before it looks whether it should stop."""
_LOOK_FOR_REPLAYS_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """Deliveries in order of arrival, and the batch made of them by `index` where that was known already."""

    deliveries: list[Delivery]
    batch: Batch | None
    index: MeterIndex | None

    @property
    def decoded(self) -> list[Decoded]:
        """The messages themselves."""
        return [delivery.decoded for delivery in self.deliveries]


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
            clock_ms=clock_ms,
        )
        self._gathered: queue.Queue[_Gathered] = queue.Queue(maxsize=1)
        self._connection: psycopg.Connection | None = None
        self._index: MeterIndex | None = None
        self._is_stopping = threading.Event()
        self._look_for_replays_at = 0.0

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError when the database is not ours to write to."""
        gatherers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather")
        self._subscriber.start()
        gathering = gatherers.submit(self._gather_all)
        try:
            while not self._is_stopping.is_set():
                self._replay()
                try:
                    gathered = self._gathered.get(timeout=_LOOK_UP_SECONDS)
                except queue.Empty:
                    if gathering.done():
                        gathering.result()  # a defect ended it: better seen than idle
                    continue
                written = self._write(gathered)
                if written is not None:
                    self._confirm(gathered.deliveries, written)
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
        found = self._subscriber.problems()
        if self._connection is None or self._connection.closed:
            found.append("no connection to the database yet; is it running and reachable?")
        return found

    def _gather_all(self) -> None:
        while not self._is_stopping.is_set():
            deliveries = self._gather()
            self.metrics.buffered.set(len(self._buffer))
            if not deliveries:
                continue
            index = self._index
            gathered = _Gathered(deliveries=deliveries, batch=None, index=None)
            if index is not None:
                gathered = _Gathered(deliveries=deliveries, batch=self._assemble(gathered.decoded, index), index=index)
            while not self._is_stopping.is_set():
                with contextlib.suppress(queue.Full):
                    self._gathered.put(gathered, timeout=_LOOK_UP_SECONDS)
                    break

    def _assemble(self, decoded: list[Decoded], index: MeterIndex) -> Batch:
        return assemble(decoded, index, now_ms=self._clock_ms(), future_tolerance_ms=self._settings.future_tolerance_ms)

    def _gather(self) -> list[Delivery]:
        """Messages in order of arrival, until there are readings enough or the first has waited long enough."""
        deliveries: list[Delivery] = []
        readings, deadline = 0, None
        while not self._is_stopping.is_set() and readings < self._settings.batch_readings:
            wait = _LOOK_UP_SECONDS if deadline is None else deadline - time.monotonic()
            if wait <= 0:
                break
            taken = self._buffer.take(timeout=wait, most_readings=self._settings.batch_readings - readings)
            if not taken and deadline is None:
                break
            deliveries += taken
            readings += sum(delivery.readings for delivery in taken)
            deadline = deadline or time.monotonic() + self._settings.batch_age_ms / 1000
        return deliveries

    def _write(self, gathered: _Gathered) -> Written | None:
        """Try until it is committed; None when asked to stop first, and then nothing of it is acknowledged."""
        attempt = 0
        while True:
            started = time.monotonic()
            try:
                written = self._write_once(gathered)
            except TRANSIENT as error:
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
        if gathered.batch is not None and gathered.index is not None:
            try:
                return write_batch(self._connection, gathered.batch, model_version=gathered.index.version)
            except StaleModelError:
                self._index = None
            except (psycopg.DataError, psycopg.IntegrityError):
                pass  # found out below, message by message
        return self._write_decoded(self._connection, gathered.decoded)

    def _write_decoded(self, connection: psycopg.Connection, decoded: list[Decoded]) -> Written:
        """In one transaction; where the database refuses what is in it, in halves, until the one message is found."""
        try:
            return self._write_checked(connection, decoded)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            _LOG.exception("the database refuses a message", action="refused", messages=len(decoded))
            if len(decoded) == 1:
                return self._write_checked(connection, [unstorable(decoded[0], str(error))])
            half = len(decoded) // 2
            return add_up(
                self._write_decoded(connection, decoded[:half]), self._write_decoded(connection, decoded[half:])
            )

    def _write_checked(self, connection: psycopg.Connection, decoded: list[Decoded]) -> Written:
        while True:
            index = self._index = self._index or load_meter_index(connection)
            batch = self._assemble(decoded, index)
            try:
                return write_batch(connection, batch, model_version=index.version)
            except StaleModelError:
                # The site model moved: look again at what it says now.
                self._index = None

    def _replay(self) -> None:
        """One step of what somebody asked to be replayed, so that what is new waits for no more than that."""
        if time.monotonic() < self._look_for_replays_at:
            return
        self._look_for_replays_at = time.monotonic() + _LOOK_FOR_REPLAYS_SECONDS
        try:
            self._replay_once()
        except StaleModelError:
            self._index = None
            self._look_for_replays_at = 0.0
        except TRANSIENT as error:
            # Nothing of the step is done; it is tried again.
            self._drop_connection()
            self._look_for_replays_at = time.monotonic() + _RETRY_SECONDS[-1]
            _LOG.warning("database away, replaying later", action="replay", error=str(error).strip())

    def _replay_once(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings.database_url, role="collector")
            self._index = None
        if not is_replay_asked_for(self._connection):
            return
        self._index = self._index or load_meter_index(self._connection)
        step = replay_step(
            self._connection,
            self._index,
            now_ms=self._clock_ms(),
            future_tolerance_ms=self._settings.future_tolerance_ms,
        )
        if step is not None:
            self._look_for_replays_at = 0.0
            self.metrics.replayed.inc(step.tried)
            if step.written is not None:
                self.metrics.stored.inc(step.written.stored)
                self.metrics.repeated.inc(step.written.repeated)
                self.metrics.late.inc(step.written.late)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _confirm(self, deliveries: list[Delivery], written: Written) -> None:
        stored = [(address, Stored(epoch=epoch, seq=seq)) for (address, epoch), seq in written.stored_seq.items()]
        self._subscriber.confirm(Confirmation(deliveries=deliveries, stored=stored))
        self.metrics.messages.inc(len(deliveries) - written.redelivered)
        self.metrics.redelivered.inc(written.redelivered)
        self.metrics.stored.inc(written.stored)
        self.metrics.repeated.inc(written.repeated)
        self.metrics.late.inc(written.late)
        for reason, count in written.quarantined.items():
            self.metrics.quarantined.labels(reason).inc(count)
