"""An agent's status as labelled lines, for a terminal and for the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.status_words import Language, in_language, size, span
from edge.certificate import days_left
from edge.local_status import ClockStatus, LocalStatus, OutboxStatus
from schemas.wire import ConfigurationState

_NEAR_MS = 1_000
"""A difference below is the way that messages take."""


def status_lines(status: LocalStatus, language: Language = Language.ENGLISH) -> Iterator[tuple[str, str]]:
    """Label and what it is, in the order in which one would look."""

    def say(text: str) -> str:
        return in_language(text, language)

    if status.running:
        connected = "connected" if status.broker.connected else "not connected"
        why = f": {status.broker.reason}" if status.broker.reason else ""
        yield say("Broker"), f"{status.broker.address} – {say(connected)}{why}"
    else:
        yield say("Broker"), status.broker.address
    yield say("Outbox"), _outbox(status.outbox, status.at, language)
    if status.running:
        stored_at = status.outbox.stored_at
        ago = say("not since it started") if stored_at is None else f"{span(status.at - stored_at, language)} "
        yield say("Stored last"), ago if stored_at is None else ago + say("ago")
    yield say("Clock"), _clock(status.clock, language)
    yield say("Certificate"), _certificate(status, language)
    yield say("Configuration"), _configuration(status.configuration, language)
    if status.disk_free_bytes is not None:
        yield say("Disk"), f"{size(status.disk_free_bytes, language)} {say('free')}"
    if status.version is not None:
        since = status.started_at
        running = "" if since is None else f", {say('running since')} {span(status.at - since, language)}"
        yield say("Version"), status.version + running


def _outbox(outbox: OutboxStatus, at_ms: int, language: Language) -> str:
    def say(text: str) -> str:
        return in_language(text, language)

    parts = [say("nothing waits")]
    if outbox.messages:
        parts = [f"{outbox.messages} {say('messages')}", f"{outbox.readings} {say('readings')}"]
        limit = "" if outbox.limit_bytes is None else f" {say('of')} {size(outbox.limit_bytes, language)}"
        parts.append(size(outbox.bytes, language) + limit)
        if outbox.oldest_at is not None:
            parts.append(f"{say('oldest')} {span(at_ms - outbox.oldest_at, language)}")
    if outbox.dropped_readings:
        parts.append(f"{outbox.dropped_readings} {say('readings')} {say('given up')}")
    return ", ".join(parts)


def _clock(clock: ClockStatus, language: Language) -> str:
    ahead_ms = clock.ahead_ms
    if ahead_ms is None:
        beside = "not compared with the collector's yet"
    elif abs(ahead_ms) < _NEAR_MS:
        beside = "as the collector's"
    else:
        side = "ahead of the collector" if ahead_ms > 0 else "behind the collector"
        beside = f"{span(abs(ahead_ms), language)} {in_language(side, language)}"
    kept = {True: "synchronised", False: "not synchronised", None: ""}[clock.synchronised]
    return ", ".join(in_language(part, language) for part in (beside, kept) if part)


def _certificate(status: LocalStatus, language: Language) -> str:
    until = status.certificate_until
    if until is None:
        return in_language("none", language)
    days = days_left(until, status.at)
    return in_language("expired", language) if days < 0 else f"{days} {in_language('days left', language)}"


def _configuration(state: ConfigurationState, language: Language) -> str:
    running = f"version {state.running}" if state.running else in_language("the file on this machine", language)
    if not state.latest:
        return running
    sent = "" if state.latest == state.running else f"; version {state.latest}"
    standing = in_language(state.standing, language)
    return f"{running}{sent} {standing}" + (f": {state.reason}" if state.reason else "")
