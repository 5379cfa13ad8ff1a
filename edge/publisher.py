"""Publishes what the outbox holds, and lets go of it when the collector says that it is stored."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from edge.backoff import Backoff
from edge.batch import split_message
from edge.broker import NO_SUBSCRIBERS, BrokerConnection, Identity, Limits
from edge.condition import Condition
from edge.configuration import EdgeConfiguration
from edge.counters import Counters
from edge.errors import BrokerRefusesError, BrokerUnavailableError, ForeignConfirmationError, OutboxUnavailableError
from edge.messages import encode_meters, encode_status, shortened
from edge.outbox import Outbox
from edge.outbox_table import Waiting
from edge.publisher_notes import PublisherNotes
from edge.session import Published, Session
from schemas.topics import AgentAddress, Kind
from schemas.wire import OfferedMeter, OutboxState, Stored

_STATUS_S = 10.0
_NEWS_S = 1.0
"""What is new is said at once, and no more often than this."""
_STEADY_S = 10.0
"""A connection that lasted as long was a good one: the next attempt comes soon."""
_TURN_S = 1.0
"""Once a second the clock is looked at, whatever happens."""
_AT_ONCE = 20
"""Messages taken out of the outbox at once: bounded memory with a wide window, too."""


class Publisher:
    """Connects for ever, with a growing wait in between, until stopped."""

    def __init__(
        self,
        *,
        configuration: EdgeConfiguration,
        outbox: Outbox,
        offers: Sequence[OfferedMeter],
        counters: Counters,
        condition: Condition,
        version: str,
        now_ms: Callable[[], int],
        hear_configuration: Callable[[bytes], None] | None = None,
    ) -> None:
        """`hear_configuration` gets what was sent to be run with; without it, that is not listened to."""
        self._configuration = configuration
        self._address: AgentAddress = configuration.address
        self._outbox = outbox
        self._offers = offers
        self._counters = counters
        self._condition = condition
        self._version = version
        self._now_ms = now_ms
        self._hear_configuration = hear_configuration
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drain_until_s = 0.0
        self._is_reconnecting = False
        self._published = Published()
        self._notes = PublisherNotes(
            configuration.broker, counters, has_certificate=configuration.tls.certificate is not None
        )

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def reconnect(self) -> None:
        """End the connection in good order and open another, as with a new certificate. Nothing is lost by it."""
        self._is_reconnecting = True
        self.wake()

    async def all_stored(self) -> None:
        """Returns when nothing in the outbox waits for a confirmation."""
        while self._outbox.state().waiting:
            self._progress.clear()
            await self._progress.wait()

    async def stop(self, *, drain_s: float) -> None:
        """Publish and wait for confirmations until nothing waits or the time is over; `run` then ends. Safe twice."""
        if not self._stopping.is_set():
            self._drain_until_s = time.monotonic() + drain_s
            self._stopping.set()
        self.wake()

    async def run(self) -> None:
        """Until stopped."""
        backoff = Backoff(initial_s=0.5, cap_s=30)
        while not self._stopping.is_set():
            connection = BrokerConnection(
                self._configuration.broker, self._configuration.tls, self._identity(), self._wake
            )
            began_s = time.monotonic()
            self._is_reconnecting = clean = False
            try:
                await asyncio.to_thread(self._condition.note_connecting)
                limits = await connection.open()
                self._notes.connected(limits)
                clean = await self._serve(connection, limits)
            except BrokerUnavailableError as error:
                self._notes.lost(str(error), is_refused=isinstance(error, BrokerRefusesError))
            finally:
                self._counters.online.set(0)
                await connection.close(clean=clean)
            if connection.lost and not clean:
                self._notes.lost(connection.lost)
            if time.monotonic() - began_s > _STEADY_S:
                backoff.reset()
            await self._pause(0 if clean or self._stopping.is_set() else backoff.next_s())

    async def _serve(self, connection: BrokerConnection, limits: Limits) -> bool:
        """Until the connection is lost (False), another is wanted, or everything is said before a stop (True)."""
        session = Session(self._configuration, limits, self._outbox, self._published)
        self._publish_offers(connection, session)
        while connection.lost is None:
            if self._is_reconnecting:
                return True
            self._wake.clear()
            self._hear_answers(connection, session)
            await self._hear_arrivals(connection, session)
            await self._publish_due(connection, session)
            await self._write_confirmed()
            state = self._outbox.state()
            self._publish_status_if_due(connection, session, state)
            if self._stopping.is_set() and (not state.waiting or time.monotonic() > self._drain_until_s):
                await self._say_goodbye(connection, session)
                return True
            due_s = session.window.due_in_s(time.monotonic())
            await self._woken(_TURN_S if due_s is None else min(_TURN_S, due_s))
        return False

    def _hear_answers(self, connection: BrokerConnection, session: Session) -> None:
        while connection.answers:
            answer = connection.answers.popleft()
            taken = not answer.reason.is_failure and answer.reason.value != NO_SUBSCRIBERS
            seq = session.window.note_answered(answer.mid, was_taken=taken)
            # Nobody need listen to status or meters: they are retained.
            if not taken and (seq is not None or answer.reason.is_failure):
                self._notes.refused(answer, seq)
            elif taken:
                self._notes.accepted()

    async def _hear_arrivals(self, connection: BrokerConnection, session: Session) -> None:
        """Of several confirmations only the furthest costs a write."""
        while connection.arrivals:
            arrival = connection.arrivals.popleft()
            if arrival.kind is Kind.CONFIGURATION:
                if self._hear_configuration is not None:
                    self._hear_configuration(arrival.payload)
                continue
            try:
                stored = Stored.model_validate_json(arrival.payload)
            except ValidationError as error:
                self._notes.strange("a `stored` message cannot be read", str(error))
                continue
            if stored.epoch != self._outbox.epoch:
                # Usual once after a new outbox: the broker still keeps the word about the one before.
                self._notes.strange("a `stored` message is of another epoch", stored.epoch)
            elif session.stored is None or stored.seq > session.stored.seq:
                session.stored = stored
        await self._confirm(session)

    async def _confirm(self, session: Session) -> None:
        stored = session.stored
        before = self._outbox.state().stored_seq
        if stored is None:
            return
        try:
            await asyncio.to_thread(self._outbox.confirm, stored.epoch, stored.seq)
        except ForeignConfirmationError as error:
            self._notes.strange("a `stored` message is refused", str(error))
            session.stored = None
            return
        except OutboxUnavailableError as error:
            # Kept in `session.stored`, so tried again at the next turn.
            self._notes.outbox_failure(error)
            return
        session.stored = None
        is_fresh = stored.seq > session.last_seq_before
        self._condition.note_stored(said_ms=stored.at if is_fresh else None)
        self._counters.confirmed.inc(max(0, stored.seq - before))
        session.window.note_stored(stored.seq, time.monotonic())
        self._progress.set()

    async def _write_confirmed(self) -> None:
        if self._outbox.is_confirmation_due:
            try:
                await asyncio.to_thread(self._outbox.write_confirmed)
            except OutboxUnavailableError as error:
                self._notes.outbox_failure(error)

    async def _publish_due(self, connection: BrokerConnection, session: Session) -> None:
        if session.epoch != self._outbox.epoch:
            session.begin(self._outbox)
        window = session.window
        try:
            overdue = window.overdue(time.monotonic())
            if overdue:
                self._notes.again(await self._publish(connection, session, overdue), first_seq=overdue[0])
            while connection.lost is None:
                fresh = window.fresh(self._outbox.state().last_seq, time.monotonic())[:_AT_ONCE]
                if not fresh or await self._publish(connection, session, fresh) < len(fresh):
                    break
        except OutboxUnavailableError as error:
            self._notes.outbox_failure(error)
        self._counters.window.set(window.allowed)
        self._counters.in_flight.set(window.in_flight)

    async def _publish(self, connection: BrokerConnection, session: Session, seqs: Sequence[int]) -> int:
        """How many of them, from the first on, the broker has been given."""
        count = 0
        for waiting in await asyncio.to_thread(self._outbox.messages, seqs):
            topic = self._address.topic(waiting.kind)
            if not session.takes(topic, waiting.payload):
                # Sent all the same, it would end the connection, again and again.
                await self._split(session, topic, waiting)
                break
            mid = session.publish(connection, topic, waiting)
            if mid is None:
                break
            count += 1
        self._counters.published.inc(count)
        return count

    async def _split(self, session: Session, topic: str, waiting: Waiting) -> None:
        limit = session.most_payload_bytes(topic)
        drafts = split_message(waiting.kind, waiting.payload, max_bytes=limit, now_ms=self._now_ms)
        size = len(waiting.payload)
        if not drafts:
            self._notes.too_large(waiting.seq, size_bytes=size, limit_bytes=limit)
            return
        seqs = await asyncio.to_thread(self._outbox.replace, waiting, drafts)
        self._notes.split(waiting.seq, len(seqs), size_bytes=size, limit_bytes=limit)
        # An empty message stands in its place now: go on at once.
        self.wake()

    def _publish_status_if_due(self, connection: BrokerConnection, session: Session, state: OutboxState) -> None:
        now_s = time.monotonic()
        # What somebody should know at once: that the outbox began anew, gave readings up, or what became of a
        # configuration.
        news = (state.epoch, state.dropped_readings, self._condition.told())
        since_s = now_s - session.status_s
        if since_s >= _STATUS_S or (news != session.news and since_s >= _NEWS_S):
            session.status_s, session.news = now_s, news
            self._publish_status(connection, session, online=True, state=state)

    async def _woken(self, within_s: float) -> None:
        """Until something came from the broker or into the outbox, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()

    async def _say_goodbye(self, connection: BrokerConnection, session: Session) -> None:
        mid = self._publish_status(connection, session, online=False, state=self._outbox.state())
        deadline = time.monotonic() + 1
        while mid is not None and connection.lost is None and time.monotonic() < deadline:
            self._wake.clear()
            if any(answer.mid == mid for answer in connection.answers):
                return
            await self._woken(0.2)

    def _publish_offers(self, connection: BrokerConnection, session: Session) -> None:
        payload = encode_meters(self._offers, at_ms=self._now_ms())
        if self._publish_retained(connection, session, Kind.METERS, payload) is None and connection.lost is None:
            limit = session.most_payload_bytes(self._address.topic(Kind.METERS))
            self._notes.offer_too_large(size_bytes=len(payload), limit_bytes=limit)

    def _publish_status(
        self, connection: BrokerConnection, session: Session, *, online: bool, state: OutboxState
    ) -> int | None:
        """In as many words as the broker takes."""
        at_ms = self._now_ms()
        for health in shortened(self._condition.health()):
            status = encode_status(
                online=online,
                at_ms=at_ms,
                version=self._version,
                outbox=state,
                configuration=self._condition.told(),
                health=health,
            )
            if session.takes(self._address.topic(Kind.STATUS), status):
                break
        return self._publish_retained(connection, session, Kind.STATUS, status)

    def _publish_retained(
        self, connection: BrokerConnection, session: Session, kind: Kind, payload: bytes
    ) -> int | None:
        """The broker's number for it; None when the connection is gone, or would be with a message of that size."""
        topic = self._address.topic(kind)
        return connection.publish(topic, payload, retain=True) if session.takes(topic, payload) else None

    def _identity(self) -> Identity:
        # The broker sends the will, whose `at` is when we connected: since when we are offline nobody can know.
        kinds = [Kind.STORED] + ([] if self._hear_configuration is None else [Kind.CONFIGURATION])
        return Identity(
            client_id=f"afkobling/{self._address}",
            subscriptions={self._address.topic(kind): kind for kind in kinds},
            will_topic=self._address.topic(Kind.STATUS),
            will_payload=encode_status(online=False, at_ms=self._now_ms(), version=self._version, outbox=None),
        )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
