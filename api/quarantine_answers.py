"""What is told of the quarantine: entries, what was done with them, and what a person may ask for."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.exact_json import Answer, Instant
from api.quarantine_store import EntryState
from api.said import Words
from schemas.quarantine import Reason
from schemas.topics import Key

EntryNumber = Annotated[int, Field(ge=1, lt=2**63)]


class QuarantineAnswer(Answer):
    """A message that could not be stored, or what is left of one.

    `dropped_at`: a person said that it is not to be stored. `left_of` is the entry whose replay left this over; that
    entry has then no payload of its own any more: what was stored of it are readings, and the rest is here.
    """

    id: int
    state: EntryState
    received_at: Instant
    reason: str
    detail: str
    topic: str
    site: str | None
    agent: str | None
    epoch: str | None
    seq: int | None
    readings: int
    content_type: str
    payload_bytes: int
    times: Annotated[int, Field(description="how often the same came; a dropped entry stays dropped")]
    tried_at: Instant | None
    replayed_at: Instant | None
    dropped_at: Instant | None
    stored: int
    repeated: int
    left_of: int | None


class ActAnswer(Answer):
    """What was done with an entry. `author` and `because` are null where nobody said; `replay` is its number."""

    at: Instant
    act: Literal["replayed", "refused again", "dropped", "reopened"]
    author: str | None
    because: str | None
    replay: int | None


class QuarantinedMessage(QuarantineAnswer):
    """The same with all that was done with it, and with its payload: text when it is UTF-8, else base64."""

    history: list[ActAnswer]
    payload: str
    payload_encoding: Literal["utf-8", "base64"]


class MarkRequest(BaseModel):
    """Which entries to drop, or to take back: those that fit all that is given, of which something must be.

    `all` with nothing else means every entry of the organisation. `because` is kept beside the token's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Key | None = None
    agent: Key | None = None
    meter: Key | None = None
    reason: Reason | None = None
    entry: EntryNumber | None = None
    all: bool = False
    because: Words

    @model_validator(mode="after")
    def _names_some(self) -> MarkRequest:
        if not self.all and not (self.site or self.agent or self.meter or self.reason or self.entry):
            raise ValueError("say which: site, agent, meter, reason or entry, or all for every entry")
        return self


class Because(BaseModel):
    """Who asks for it, and why, where that is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    author: Words
    because: Words | None = None


class MarkAnswer(Answer):
    """How many entries were dropped or taken back, how many readings they hold, and the entries by reason."""

    entries: int
    readings: int
    reasons: dict[str, int]


def told_message(row: dict[str, Any]) -> QuarantinedMessage:
    """An entry with its payload, as people can read it."""
    text, encoding = _text(bytes(row.pop("payload")))
    return QuarantinedMessage(**row, payload=text, payload_encoding=encoding)


def told_marks(rows: list[dict[str, Any]]) -> MarkAnswer:
    """What a change came to."""
    return MarkAnswer(
        entries=sum(row["entries"] for row in rows),
        readings=sum(row["readings"] for row in rows),
        reasons={row["reason"]: row["entries"] for row in rows},
    )


def _text(payload: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
