"""What is told of an agent's ledger, and whether anything of it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from api.exact_json import Answer, Instant
from api.ledger_store import MOST_RANGES
from api.quality.agents import SETTLED_AFTER


class Verdict(StrEnum):
    """Whether all that the agent numbered is there.

    `on its way`: it lacks for less than 15 minutes, as messages overtake each other and outboxes empty. `no numbers`:
    plain readings, of which nobody can tell.
    """

    COMPLETE = "complete"
    ON_ITS_WAY = "on its way"
    MISSING = "missing"
    NO_NUMBERS = "no numbers"


class Range(Answer):
    """Numbers from the first to the last, both counted."""

    first: Annotated[int, Field(alias="from")]
    last: Annotated[int, Field(alias="to")]


class LedgerAnswer(Answer):
    """One agent and epoch. readings = stored + repeated + quarantined; `complete` when nothing sent is missing."""

    organisation: str
    site: str
    agent: str
    epoch: Annotated[str, Field(description="one life of the agent's outbox; empty: plain readings, without numbers")]
    current: Annotated[bool, Field(description="the agent's outbox has this epoch now, as it says itself")]
    verdict: Verdict
    sent: Annotated[int, Field(description="readings that the agent took, as far as is known: see sent_says")]
    sent_says: Annotated[
        Literal["agent", "collector"],
        Field(description="agent: its last status; collector: those received, as more came since, or it says nothing"),
    ]
    messages: int
    readings: int
    stored: int
    repeated: int
    quarantined: int
    adopted: Annotated[int, Field(description="messages that an earlier database confirmed; this one never saw them")]
    dropped: Annotated[int | None, Field(description="readings given up by the agent, as it says itself")]
    waiting: Annotated[int | None, Field(description="messages in the agent's outbox, as it says itself")]
    last_seq: Annotated[int | None, Field(description="the last message that the agent made, as it says itself")]
    stored_seq: int
    highest_seq: int
    missing: Annotated[
        list[Range], Field(description=f"numbers not arrived although later ones did; the first {MOST_RANGES}")
    ]
    missing_messages: Annotated[int, Field(description="how many these are, all counted")]
    not_arrived: Annotated[int, Field(description="messages after highest_seq that the agent says it made")]
    missing_since: Annotated[
        Instant | None, Field(description="since when stored_seq, or without a gap highest_seq, has not moved on")
    ]
    complete: bool
    state: Annotated[str | None, Field(description="online or offline, as the agent last said")]
    status_at: Instant | None
    first_at: Instant
    last_at: Instant


def told_ledger(row: dict[str, Any]) -> LedgerAnswer:
    """A row of the store as the answer tells it."""
    outbox: Mapping[str, Any] | None = row.pop("outbox")
    said = outbox or {}
    asked_at: datetime = row.pop("asked_at")
    row["missing"] = [Range(first=first, last=last) for first, last in row["missing"]]
    taken, received = said.get("readings"), row["readings"]
    # An agent's word is as old as its last status, and what came since was sent all the same.
    is_current_word = taken is not None and taken >= received
    not_arrived = max(said.get("last_seq", 0) - row["highest_seq"], 0)
    complete = not row["missing_messages"] and not not_arrived
    if not row["missing_messages"]:
        row["missing_since"] = row["last_at"] if not_arrived else None
    return LedgerAnswer(
        **row,
        current=outbox is not None,
        verdict=_verdict(row["epoch"], row["missing_since"], asked_at, complete=complete),
        sent=taken if is_current_word else received,
        sent_says="agent" if is_current_word else "collector",
        dropped=said.get("dropped_readings"),
        waiting=said.get("waiting"),
        last_seq=said.get("last_seq"),
        not_arrived=not_arrived,
        complete=complete,
    )


def _verdict(epoch: str, since: datetime | None, now: datetime, *, complete: bool) -> Verdict:
    if not epoch:
        return Verdict.NO_NUMBERS
    if complete:
        return Verdict.COMPLETE
    return Verdict.MISSING if since is not None and now - since > SETTLED_AFTER else Verdict.ON_ITS_WAY
