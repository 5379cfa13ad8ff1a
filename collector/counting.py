"""What a message adds to its agent's ledger, and what of it stands in quarantine. Pure.

Each reading counts once: as stored, repeated or quarantined. Replaying moves it from the last to one of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collector.batch import Checked, Origin
from collector.quarantine import QuarantineEntry
from schemas.quarantine import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An entry to be written. `counted`: its readings that the ledger counts as quarantined for it."""

    entry: QuarantineEntry
    counted: int
    left_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of an entry that was replayed.

    `kept` is the same entry, refused again; None when it is done with. `is_partial`: the rest of it is refused anew.
    """

    origin: Origin
    stored: int
    repeated: int
    kept: QuarantineEntry | None
    is_partial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What became of a message. `is_new`: the ledger had not entered it before."""

    is_new: bool
    stored: int
    repeated: int
    refused: tuple[QuarantineEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What to add to the ledger's entry, what to put into quarantine, and what became of what was replayed."""

    stored: int
    repeated: int
    quarantined: int
    refusals: tuple[Refusal, ...]
    settlement: Settlement | None


def count_message(message: Checked, came: Came) -> Counts:
    """The counts of one message. Without a place in a ledger nothing of it counts there."""
    origin = message.origin
    if message.place is None:
        stored, repeated, counted = 0, 0, [0] * len(came.refused)
        quarantined = 0
    elif origin is not None and origin.counted:
        counted = _share(origin.counted, came)
        released = origin.counted - sum(counted)
        # A plain reading that came three times counts three times: once stored, it was repeated twice.
        stored, repeated, quarantined = came.stored, max(released - came.stored, 0), -released
    elif came.is_new:
        counted = [entry.readings for entry in came.refused]
        stored, repeated, quarantined = came.stored, came.repeated, sum(counted)
    else:
        # Redelivered: only what turned out not to be there already, which is a number that was used twice.
        counted = [entry.readings if came.stored and entry.reason is Reason.CONFLICT else 0 for entry in came.refused]
        stored, repeated, quarantined = came.stored, 0, sum(counted)
    refusals = tuple(
        Refusal(entry=entry, counted=count, left_of=origin.id if origin else None)
        for entry, count in zip(came.refused, counted, strict=True)
    )
    settlement = None
    if origin is not None:
        kept = _same(origin, came.refused)
        refusals = tuple(refusal for refusal in refusals if refusal.entry is not kept)
        settlement = Settlement(
            origin=origin, stored=came.stored, repeated=came.repeated, kept=kept, is_partial=bool(refusals)
        )
    return Counts(stored=stored, repeated=repeated, quarantined=quarantined, refusals=refusals, settlement=settlement)


def _same(origin: Origin, refused: Sequence[QuarantineEntry]) -> QuarantineEntry | None:
    return next((entry for entry in refused if entry.digest == origin.digest), None)


def _share(counted: int, came: Came) -> list[int]:
    """How much of what was counted for an entry goes on with each of what is refused of it again."""
    shares, left = [], counted
    for entry in came.refused:
        shares.append(min(entry.readings, left))
        left -= shares[-1]
    if shares and not came.stored + came.repeated:
        shares[-1] += left
    return shares
