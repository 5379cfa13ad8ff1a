"""What the publisher counts and logs. Counters tell how often; the log says it once a minute."""

from __future__ import annotations

import structlog

from edge.broker import CERTIFICATE_REFUSED, Answer, Limits, explain, is_not_accepted
from edge.counters import Counters
from edge.errors import OutboxUnavailableError
from edge.notices import Seldom
from schemas.broker_url import BrokerUrl

log = structlog.get_logger()


class PublisherNotes:
    """One method for each thing worth telling."""

    def __init__(self, broker: BrokerUrl, counters: Counters, *, has_certificate: bool) -> None:
        self._broker = broker
        self._has_certificate = has_certificate
        self._is_unwanted = False
        self._counters = counters
        self._seldom = Seldom()

    def connected(self, limits: Limits) -> None:
        self._counters.connections.inc()
        self._counters.online.set(1)
        self._counters.why_offline = None
        self.fits()
        self._seldom.forget("broker")
        log.info(
            "connected to the broker",
            action="broker.connected",
            broker=str(self._broker),
            receive_maximum=limits.receive_maximum,
            max_packet_bytes=limits.max_packet_bytes,
        )

    def lost(self, reason: str, *, is_refused: bool = False) -> None:
        self._counters.connection_failures.inc()
        self._counters.why_offline = reason
        if is_refused:
            self._unwanted(reason)
        if self._seldom.due("broker"):
            log.warning(
                "not connected to the broker; it is tried again, and readings are kept in the outbox",
                action="broker.lost",
                reason=reason,
            )

    def accepted(self) -> None:
        """The broker took something of ours."""
        if self._is_unwanted:
            self._is_unwanted = False
            self._counters.note_obstacle("broker", None)

    def _unwanted(self, words: str) -> None:
        self._is_unwanted = True
        self._counters.note_obstacle("broker", words)

    def refused(self, answer: Answer, seq: int | None) -> None:
        self._counters.refusals.labels(str(answer.reason)).inc()
        words = explain(answer.reason)
        if self._has_certificate and is_not_accepted(answer.reason):
            # A broker may let a revoked certificate connect, and refuse all that it says.
            words = CERTIFICATE_REFUSED
            self._unwanted(f"{self._broker}: {words}")
        if self._seldom.due(("refused", answer.reason.value)):
            log.error(
                "the broker did not take a message; it is kept and tried again",
                action="publish.refused",
                seq=seq,
                reason=words,
            )

    def strange(self, what: str, detail: str) -> None:
        self._counters.strange.inc()
        if self._seldom.due(what):
            log.warning(what, action="stored.ignored", detail=detail)

    def outbox_failure(self, error: OutboxUnavailableError) -> None:
        self._counters.outbox_failures.inc()
        if self._seldom.due("outbox"):
            log.error("the outbox fails; it is tried again", action="outbox.failed", reason=str(error))

    def again(self, messages: int, *, first_seq: int) -> None:
        self._counters.resent.inc(messages)
        if self._seldom.due("again"):
            log.warning(
                "messages are published again, as the collector has not confirmed them",
                action="publish.again",
                messages=messages,
                first_seq=first_seq,
            )

    def split(self, seq: int, parts: int, *, size_bytes: int, limit_bytes: int) -> None:
        self._counters.split.inc()
        self._counters.note_obstacle("too large", None)
        if self._seldom.due("split"):
            log.warning(
                "a message is larger than the broker accepts; it goes out in parts. Raise the broker's limit, or lower "
                "batch.size",
                action="publish.split",
                seq=seq,
                parts=parts,
                size_bytes=size_bytes,
                broker_limit_bytes=limit_bytes,
            )

    def too_large(self, seq: int, *, size_bytes: int, limit_bytes: int) -> None:
        words = (
            f"message {seq} ({size_bytes} bytes) is larger than the broker accepts ({limit_bytes}), cannot be split, "
            "and blocks those behind it; nothing is lost. Raise the broker's limit"
        )
        self._counters.note_obstacle("too large", words)
        if self._seldom.due("too large"):
            log.error(words, action="publish.too_large", seq=seq)

    def offer_too_large(self, *, size_bytes: int, limit_bytes: int) -> None:
        words = (
            f"what this agent offers ({size_bytes} bytes) is more than one message may hold ({limit_bytes}), so its "
            "meters cannot be adopted from it; its readings go out all the same. Share the meters out to several agents"
        )
        self._counters.note_obstacle("offer", words)
        if self._seldom.due("offer"):
            log.error(words, action="publish.offer_too_large")

    def fits(self) -> None:
        """With another broker, or after a change of its limits, the old words no longer hold."""
        self._counters.note_obstacle("too large", None)
        self._counters.note_obstacle("offer", None)
