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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import structlog

from collector.archive_watch import ArchiveWatch
from collector.batch import Batch, assemble, unstorable
from collector.buffer import Buffer
from collector.condition import Condition
from collector.connection import TRANSIENT, connect
from collector.decode import Decoded
from collector.delivery import Delivery
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
_STEPS = 3
"""Batches that are on their way at the same time."""


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
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self.metrics = CollectorMetrics()
        self._clock_ms = clock_ms
        # Twice the window: after a reconnect the broker sends the unacknowledged again while the old are still here.
        self._buffer = Buffer(
            most_messages=2 * settings.receive_maximum,
            most_bytes=settings.buffer_bytes,
            batch_readings=settings.batch_readings,
            # What the broker may send ahead is shared by the batch that fills, the one that is checked and the one that
            # is written: were it all in one, the others would stand still.
            batch_messages=max(settings.receive_maximum // _STEPS, 1),
            batch_bytes=settings.batch_bytes,
            batch_age_s=settings.batch_age_ms / 1000,
        )
        self._subscriber = Subscriber(
            broker_url=settings.broker_url,
            tls=settings.broker_tls,
            client_id=settings.collector_id,
            share_group=settings.share_group,
            receive_maximum=settings.receive_maximum,
            most_message_bytes=settings.most_message_bytes,
            buffer=self._buffer,
            clock_ms=clock_ms,
        )
        self.metrics.watch(self._buffer, self._subscriber)
        self._condition = Condition()
        self._archive = ArchiveWatch()
        self._gathering: Future[None] | None = None
        self._gathered: queue.Queue[_Gathered] = queue.Queue(maxsize=1)
        self._connection: psycopg.Connection | None = None
        self._index: MeterIndex | None = None
        self._is_stopping = threading.Event()
        self._look_for_replays_at = 0.0

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError when the database is not ours to write to."""
        gatherers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather")
        self._subscriber.start()
        gathering = self._gathering = gatherers.submit(self._gather_all)
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
        found = self._subscriber.problems()
        if self._gathering is not None and self._gathering.done() and not self._is_stopping.is_set():
            found.append("the thread that gathers batches has ended; restart the collector and report its log")
        if self._archive.problem is not None:
            found.append(self._archive.problem)
        return found + self._condition.problems(oldest_s=self._buffer.oldest_s, now_s=time.monotonic())

    def unfinished(self) -> list[str]:
        """What was begun and is neither stored nor acknowledged, in plain words."""
        return [
            *self._condition.at_hand(now_s=time.monotonic()),
            f"{self._subscriber.unacknowledged} messages are not acknowledged; they come again",
        ]

    def _gather_all(self) -> None:
        while not self._is_stopping.is_set():
            deliveries = self._buffer.take(timeout=_LOOK_UP_SECONDS)
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

    def _write(self, gathered: _Gathered) -> Written | None:
        """Try until it is committed; None when asked to stop first, and then nothing of it is acknowledged."""
        attempt = 0
        self._condition.begins(gathered.deliveries[0].arrived_s, time.monotonic())
        while True:
            started = time.monotonic()
            try:
                written = self._write_once(gathered)
            except TRANSIENT as error:
                self.metrics.retries.inc()
                self._condition.failed(error)
                self._drop_connection()
                delay = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                attempt += 1
                said = str(error).strip()
                _LOG.warning("database away, trying again", action="database.away", error=said, wait_s=delay)
                if self._is_stopping.wait(delay):
                    return None
            else:
                self.metrics.commit_seconds.observe(time.monotonic() - started)
                self._condition.works()
                return written

    def _write_once(self, gathered: _Gathered) -> Written:
        connection = self._connected()
        if gathered.batch is not None and gathered.index is not None:
            try:
                return write_batch(connection, gathered.batch, model_version=gathered.index.version)
            except StaleModelError:
                self._index = None
            except (psycopg.DataError, psycopg.IntegrityError):
                pass  # found out below, message by message
        return self._write_decoded(connection, gathered.decoded)

    def _write_decoded(self, connection: psycopg.Connection, decoded: list[Decoded]) -> Written:
        """In one transaction; where the database refuses what is in it, in halves, until the one message is found."""
        try:
            return self._write_checked(connection, decoded)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(decoded) == 1:
                _LOG.exception("the database refuses a message", action="message.refused")
                return self._write_checked(connection, [unstorable(decoded[0], str(error))])
            _LOG.warning("the database refuses one of these", action="message.refused", messages=len(decoded))
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
            self._condition.failed(error)
            self._drop_connection()
            self._look_for_replays_at = time.monotonic() + _RETRY_SECONDS[-1]
            _LOG.warning("database away, replaying later", action="replay.postponed", error=str(error).strip())

    def _replay_once(self) -> None:
        connection = self._connected()
        self._archive.tend(connection, time.monotonic())
        is_asked_for = is_replay_asked_for(connection)
        self._condition.works()
        if not is_asked_for:
            return
        self._index = self._index or load_meter_index(connection)
        step = replay_step(
            connection,
            self._index,
            now_ms=self._clock_ms(),
            future_tolerance_ms=self._settings.future_tolerance_ms,
        )
        if step is not None:
            self._look_for_replays_at = 0.0
            self.metrics.replayed.inc(step.tried)
            if step.written is not None:
                self.metrics.count(step.written)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings.database_url, role="collector")
            self._condition.connected(self._connection)
            self._index = None
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _confirm(self, gathered: _Gathered, written: Written) -> None:
        at = self._clock_ms()
        stored = [
            (address, Stored(epoch=epoch, seq=seq, at=at)) for (address, epoch), seq in written.stored_seq.items()
        ]
        self._subscriber.confirm(Confirmation(deliveries=gathered.deliveries, stored=stored))
        self.metrics.committed(
            gathered.deliveries, gathered.batch, written, now_s=time.monotonic(), at_s=self._clock_ms() / 1000
        )
