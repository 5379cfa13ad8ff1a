"""Messages that can't be stored, each with the reason that the quarantine must give for it. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.chaos.meters import CABINET, SITE
from schemas.quarantine import Reason
from schemas.topics import AgentAddress, Kind
from schemas.wire import ARROW_TYPE, JSON_TYPE, MAX_PAYLOAD_BYTES

EPOCH = "POISON"
"""Of all poison that has one: no outbox of the run has it."""
_METER, _UNIT = "power", "kWh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """What is published, and how it is known again in quarantine: by its payload, or by its number."""

    name: str
    reason: Reason
    topic: str
    payload: bytes
    content_type: str = JSON_TYPE
    epoch: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """For whom a poison is made. `seq` is a number of its own, `at_ms` a good instant (Unix milliseconds)."""

    organisation: str
    seq: int
    at_ms: int
    rng: random.Random

    def topic(self, agent: str = CABINET, kind: Kind = Kind.READINGS) -> str:
        return AgentAddress(organisation=self.organisation, site=SITE, agent=agent).topic(kind)

    def message(self, **changed: Any) -> bytes:
        """A good message but for what is changed."""
        good = {
            "v": 1,
            "epoch": EPOCH,
            "seq": self.seq,
            "sent_at": self.at_ms,
            "meters": [_METER],
            "units": [_UNIT],
            "meter": [0],
            "at": [self.at_ms],
            "value": [self.rng.randrange(10**6) / 7],
        }
        return json.dumps({**good, **changed}).encode()


def _changed(name: str, reason: Reason, **changed: Any) -> Callable[[Dose], Poison]:
    def make(dose: Dose) -> Poison:
        return Poison(
            name=name, reason=reason, topic=dose.topic(), payload=dose.message(**changed), epoch=EPOCH, seq=dose.seq
        )

    return make


def _unreadable(name: str, spoil: Callable[[Dose], bytes], content_type: str = JSON_TYPE) -> Callable[[Dose], Poison]:
    def make(dose: Dose) -> Poison:
        return Poison(
            name=name, reason=Reason.MALFORMED, topic=dose.topic(), payload=spoil(dose), content_type=content_type
        )

    return make


def _oversized(dose: Dose) -> Poison:
    payload = dose.message(padding="x" * MAX_PAYLOAD_BYTES)
    return Poison(
        name="oversized", reason=Reason.OVERSIZED, topic=dose.topic(), payload=payload, epoch=EPOCH, seq=dose.seq
    )


def _foreign_version(dose: Dose) -> Poison:
    topic = dose.topic().replace("/v1/", "/v2/")
    return Poison(name="foreign topic", reason=Reason.FOREIGN_TOPIC, topic=topic, payload=dose.message())


def _unknown_agent(dose: Dose) -> Poison:
    topic = dose.topic("stranger")
    return Poison(
        name="unknown agent",
        reason=Reason.UNKNOWN_AGENT,
        topic=topic,
        payload=dose.message(),
        epoch=EPOCH,
        seq=dose.seq,
    )


def _garbled(dose: Dose) -> bytes:
    """Bytes that begin like an Arrow stream."""
    return b"\xff\xff\xff\xff\x10\x00\x00\x00" + dose.rng.randbytes(dose.rng.randrange(1, 400))


POISONS: tuple[Callable[[Dose], Poison], ...] = (
    _unreadable("torn JSON", lambda dose: dose.message()[: dose.rng.randrange(2, 60)] + str(dose.seq).encode()),
    _unreadable("noise", lambda dose: dose.rng.randbytes(64)),
    _unreadable("deep nesting", lambda dose: b"[" * 50_000 + str(dose.seq).encode()),
    _unreadable("Arrow garbage", _garbled, ARROW_TYPE),
    _unreadable("JSON called Arrow", lambda dose: dose.message(), ARROW_TYPE),
    _unreadable("unknown content type", lambda dose: dose.message(), "text/plain"),
    _changed("columns of unequal length", Reason.MALFORMED, value=[]),
    _changed("a row of no meter", Reason.MALFORMED, meter=[7]),
    _changed("wrong version", Reason.WRONG_VERSION, v=2),
    _changed("wrong unit", Reason.WRONG_UNIT, units=["MWh"]),
    _changed("unknown meter", Reason.UNKNOWN_METER, meters=["no-such-meter"]),
    _changed("a meter's name that no table holds", Reason.UNKNOWN_METER, meters=["pow\0er"]),
    _changed("not a number", Reason.NOT_A_NUMBER, value=[float("nan")]),
    _changed("endless", Reason.NOT_A_NUMBER, value=[float("-inf")]),
    _changed("out of range", Reason.OUT_OF_RANGE, value=[1e300]),
    _changed("in the year 2150", Reason.FUTURE, at=[5_680_281_600_000]),
    _changed("before 2000", Reason.TOO_OLD, at=[0]),
    _oversized,
    _foreign_version,
    _unknown_agent,
)


def number_used_twice(topic: str, payload: bytes) -> Poison:
    """The message once more, under its number, with another value for each of its instants."""
    message = json.loads(payload)
    changed = {**message, "value": [value + 0.5 for value in message["value"]]}
    return Poison(
        name="a number used twice",
        reason=Reason.CONFLICT,
        topic=topic,
        payload=json.dumps(changed).encode(),
        epoch=message["epoch"],
        seq=message["seq"],
    )
