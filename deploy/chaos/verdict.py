"""Whether every reading is where it belongs, once: what is there against what was taken. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from deploy.chaos.evidence import Evidence, LedgerRow, Quarantined
from deploy.chaos.meters import AGENTS, BY_KEY, CLOCK, PRESS, consumption_of
from deploy.chaos.poison import EPOCH
from schemas.quarantine import Reason
from schemas.wire import FIRST_INSTANT, OutboxState

_SHOWN = 5
_CLOCK_REASONS = frozenset({Reason.FUTURE, Reason.TOO_OLD})
Key = tuple[str, int]
"""Meter and instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`findings` says what is wrong and where, a line each; empty when all is well.

    Counts are of readings. `dropped`: what the outbox that may drop says it gave up; `missing` of it came in no other
    way. `repeated`: came again, and were stored once all the same.
    """

    taken: int
    stored: int
    quarantined: dict[str, int]
    dropped: int
    missing: int
    lost: int
    doubled: int
    strange: int
    repeated: int
    poison: dict[str, int]
    is_ledger_right: bool
    is_consumption_right: bool
    is_rebuilt_identical: bool
    was_late: bool
    findings: list[str] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdict:
    """Compare everything with the ground truth."""
    findings: list[str] = []
    stored = {(row.meter or "", row.at_ms): row.value for row in evidence.stored}
    doubled = len(evidence.stored) - len(stored)
    if doubled:
        findings.append(f"{doubled} readings are stored more than once")
    strange = sorted(key for key, value in stored.items() if evidence.taken.get(key) != value)
    if strange:
        findings.append(f"{len(strange)} readings are stored that no driver took so: {_few(strange)}")
    if flawed := [row for row in evidence.stored if row.quality]:
        findings.append(f"{len(flawed)} readings changed their quality on the way")
    held = _held(evidence, findings)
    nowhere = [key for key, value in evidence.taken.items() if stored.get(key) != value and (*key, value) not in held]
    may_drop = [key for key in nowhere if BY_KEY[key[0]].agent == PRESS]
    lost = sorted(set(nowhere) - set(may_drop))
    if lost:
        findings.append(f"{len(lost)} readings are lost: {_few(lost)}")
    ledger_findings = list(_ledger(evidence, missing=len(may_drop)))
    consumption_findings = list(_consumption(evidence))
    poison_findings = list(_poison(evidence))
    findings += [*ledger_findings, *consumption_findings, *poison_findings]
    if not evidence.is_rebuilt_identical:
        findings.append("computed anew from the readings, consumption comes out differently")
    dropped = evidence.outboxes[PRESS].dropped_readings
    return Verdict(
        taken=len(evidence.taken),
        stored=len(stored),
        quarantined=dict(Counter(reason.value for reason in held.values())),
        dropped=dropped,
        missing=len(may_drop),
        # More than the outbox says it gave up is lost without a word.
        lost=len(lost) + max(0, len(may_drop) - dropped),
        doubled=doubled,
        strange=len(strange),
        repeated=sum(row.repeated for row in evidence.ledger),
        poison=dict(Counter(poison.reason.value for poison in evidence.poisons)),
        is_ledger_right=not ledger_findings,
        is_consumption_right=not consumption_findings,
        is_rebuilt_identical=evidence.is_rebuilt_identical,
        was_late=evidence.was_late,
        findings=findings,
    )


def _held(evidence: Evidence, findings: list[str]) -> dict[tuple[str, int, float], Reason]:
    """The taken readings that stand in quarantine. What stands there of an agent without a good reason is a finding."""
    held: dict[tuple[str, int, float], Reason] = {}
    for entry in evidence.quarantine:
        if entry.agent not in evidence.outboxes or entry.epoch != evidence.outboxes[entry.agent].epoch:
            continue
        if any(entry.is_of(poison) for poison in evidence.poisons):
            continue
        try:
            readings = entry.readings()
        except ValidationError as error:
            findings.append(f"{_place(entry)} stands in quarantine and can't be read again: {error}")
            continue
        if not _is_deserved(entry, readings):
            findings.append(f"{_place(entry)} is in quarantine for no good reason: {entry.reason}: {entry.detail}")
        held.update(dict.fromkeys(readings, entry.reason))
    return held


def _is_deserved(entry: Quarantined, readings: Sequence[tuple[str, int, float]]) -> bool:
    """Only the clock of one agent was ever wrong."""
    if entry.agent != CLOCK or entry.reason not in _CLOCK_REASONS:
        return False
    too_old = [at_ms < FIRST_INSTANT for _, at_ms, _ in readings]
    return all(too_old) if entry.reason is Reason.TOO_OLD else not any(too_old)


def _ledger(evidence: Evidence, *, missing: int) -> Iterator[str]:
    """Ledger and outboxes say the same, and the sums are those of the tables."""
    rows = {(row.agent, row.epoch): row for row in evidence.ledger}
    for agent in AGENTS:
        outbox = evidence.outboxes[agent]
        row = rows.pop((agent, outbox.epoch), None)
        if row is None:
            yield f"{agent}: the ledger does not know the epoch {outbox.epoch} of its outbox"
            continue
        yield from _entry(agent, outbox, row, missing=missing if agent == PRESS else 0)
        counted = sum(
            entry.counted for entry in evidence.quarantine if (entry.agent, entry.epoch) == (agent, outbox.epoch)
        )
        if counted != row.quarantined:
            yield f"{agent}: the ledger counts {row.quarantined} readings in quarantine, and {counted} stand there"
    for agent, epoch in sorted(rows):
        if epoch != EPOCH:
            yield f"{agent}: the ledger has an epoch {epoch} that its outbox does not; did an outbox begin anew?"
    if (entered := sum(row.stored for row in evidence.ledger)) != len(evidence.stored):
        yield f"the ledger counts {entered} readings as stored, and {len(evidence.stored)} are"


def _entry(agent: str, outbox: OutboxState, row: LedgerRow, *, missing: int) -> Iterator[str]:
    if row.ahead or row.adopted:
        yield f"{agent}: {row.ahead} messages stand behind a hole, {row.adopted} were believed without being seen"
    numbers = {outbox.last_seq, outbox.stored_seq, row.stored_seq, row.highest_seq, row.messages}
    if len(numbers) > 1:
        yield (
            f"{agent}: the outbox numbered {outbox.last_seq} messages and forgot {outbox.stored_seq}; the ledger has "
            f"{row.messages}, up to {row.highest_seq}, without a hole up to {row.stored_seq}"
        )
    # What was given up may have come through before, or come again: so it is that much at most.
    never_came = outbox.readings - row.readings
    if not missing <= never_came <= outbox.dropped_readings:
        yield (
            f"{agent}: the outbox took {outbox.readings} readings, the ledger has {row.readings}; {never_came} never "
            f"came, {outbox.dropped_readings} were dropped and counted, {missing} are nowhere"
        )


def _consumption(evidence: Evidence) -> Iterator[str]:
    """Of each meter, what its stored readings come to."""
    by_meter: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in evidence.stored:
        if row.meter is not None and row.meter in BY_KEY:
            by_meter[row.meter].append((row.at_ms, row.value))
    for key, readings in sorted(by_meter.items()):
        true = consumption_of(key, sorted(readings))
        if true is not None and evidence.consumption.get(key) != true:
            told = evidence.consumption.get(key)
            yield f"{key}: its readings come to {true} billionths, its consumption is {told}"


def _poison(evidence: Evidence) -> Iterator[str]:
    for poison in evidence.poisons:
        if not any(entry.is_of(poison) for entry in evidence.quarantine):
            yield f"poison ({poison.name}, seq {poison.seq}) is not in quarantine as {poison.reason}"


def _place(entry: Quarantined) -> str:
    return f"{entry.agent}, epoch {entry.epoch}, seq {entry.seq}"


def _few(keys: Sequence[Key]) -> str:
    return ", ".join(f"{meter} at {at_ms}" for meter, at_ms in keys[:_SHOWN]) + (" …" if len(keys) > _SHOWN else "")
