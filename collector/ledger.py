"""The ledger: per agent and epoch, what was sent, what is stored, what is missing.

`stored_seq` is the highest seq up to which everything is committed; what was committed beyond a hole stands in
`ledger_ahead` until the hole is filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg

from collector.batch import Place
from schemas.topics import AgentAddress

LedgerKey = tuple[AgentAddress, str]
"""An agent and its epoch."""

_KEYS: LiteralString = "unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS k(organisation, site, agent, epoch)"

_OPEN: LiteralString = f"""
    INSERT INTO ledger (organisation, site, agent, epoch)
    SELECT * FROM {_KEYS} ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING
"""
# Locked in one order by every collector, so that two of them wait for each other and never deadlock.
_LOCK: LiteralString = f"""
    SELECT organisation, site, agent, epoch, stored_seq, highest_seq
    FROM ledger JOIN {_KEYS} USING (organisation, site, agent, epoch)
    ORDER BY 1, 2, 3, 4 FOR UPDATE OF ledger
"""
_AHEAD: LiteralString = f"""
    SELECT organisation, site, agent, epoch, seq
    FROM ledger_ahead JOIN {_KEYS} USING (organisation, site, agent, epoch)
"""
_UPDATE: LiteralString = """
    UPDATE ledger SET
        stored_seq = k.stored_seq, highest_seq = k.highest_seq, adopted = ledger.adopted + k.adopted,
        messages = ledger.messages + k.messages,
        readings = ledger.readings + k.stored + k.repeated + k.quarantined,
        stored = ledger.stored + k.stored, repeated = ledger.repeated + k.repeated,
        quarantined = ledger.quarantined + k.quarantined,
        last_at = CASE WHEN k.messages > 0 THEN now() ELSE ledger.last_at END,
        missing_since = CASE
            WHEN k.highest_seq <= k.stored_seq THEN NULL
            WHEN ledger.missing_since IS NULL OR k.stored_seq > ledger.stored_seq THEN now()
            ELSE ledger.missing_since END
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int8[], %s::int8[],
                %s::int8[], %s::int8[], %s::int8[], %s::int8[], %s::int8[])
        AS k(organisation, site, agent, epoch, stored_seq, highest_seq, messages, stored, repeated, quarantined,
             adopted)
    WHERE (ledger.organisation, ledger.site, ledger.agent, ledger.epoch)
        = (k.organisation, k.site, k.agent, k.epoch)
"""
_ADD_AHEAD: LiteralString = """
    INSERT INTO ledger_ahead (organisation, site, agent, epoch, seq)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int8[])
"""
_REMOVE_AHEAD: LiteralString = """
    DELETE FROM ledger_ahead a
    USING unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int8[])
        AS k(organisation, site, agent, epoch, seq)
    WHERE (a.organisation, a.site, a.agent, a.epoch, a.seq) = (k.organisation, k.site, k.agent, k.epoch, k.seq)
"""


@dataclass(slots=True, kw_only=True)
class LedgerEntry:
    """One agent's epoch while a transaction holds it."""

    stored_seq: int
    highest_seq: int
    ahead: set[int]
    ahead_before: frozenset[int]
    messages: int = 0
    adopted: int = 0
    stored: int = 0
    repeated: int = 0
    quarantined: int = 0

    def take(self, seq: int | None) -> bool:
        """Enter a message; False when it has been committed before (a redelivery)."""
        if seq is None:
            self.messages += 1
            return True
        if seq <= self.stored_seq or seq in self.ahead:
            return False
        self.messages += 1
        self.highest_seq = max(self.highest_seq, seq)
        self.ahead.add(seq)
        self._close_up()
        return True

    def adopt(self, seq: int) -> None:
        """Take the agent's word that everything up to `seq` was confirmed to it.

        A ledger that is younger than the outbox (a new database, or one restored from a backup) would wait for ever
        for what the agent no longer has.
        """
        if seq > self.stored_seq:
            known = sum(1 for one in self.ahead if one <= seq)
            self.adopted += seq - self.stored_seq - known
            self.stored_seq = seq
            self.highest_seq = max(self.highest_seq, seq)
            self.ahead = {one for one in self.ahead if one > seq}
            self._close_up()

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write back."""
        return bool(self.messages or self.adopted or self.stored or self.repeated or self.quarantined)

    def _close_up(self) -> None:
        while self.stored_seq + 1 in self.ahead:
            self.stored_seq += 1
            self.ahead.discard(self.stored_seq)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The entries that a transaction holds locked."""

    entries: dict[LedgerKey, LedgerEntry] = field(default_factory=dict)

    def entry(self, place: Place) -> LedgerEntry:
        """The entry that a message at this place belongs to."""
        return self.entries[(place.address, place.epoch)]


def lock_ledger(cursor: psycopg.Cursor, keys: Iterable[LedgerKey], *, only_known: Iterable[LedgerKey] = ()) -> Ledger:
    """Open what is new among `keys`, and hold these and `only_known` (where they exist) until the transaction ends."""
    opened = list(dict.fromkeys(keys))
    held = list(dict.fromkeys([*opened, *only_known]))
    if not held:
        return Ledger()
    connection, columns = cursor.connection, _columns(held)
    with connection.pipeline():
        if opened:
            connection.execute(_OPEN, _columns(opened))
        locked = connection.execute(_LOCK, columns)
        beyond = connection.execute(_AHEAD, columns)
    rows = locked.fetchall()
    ahead: dict[LedgerKey, set[int]] = {}
    for organisation, site, agent, epoch, seq in beyond.fetchall():
        ahead.setdefault(_key(organisation, site, agent, epoch), set()).add(seq)
    entries = {}
    for organisation, site, agent, epoch, stored_seq, highest_seq in rows:
        key = _key(organisation, site, agent, epoch)
        found = ahead.get(key, set())
        entries[key] = LedgerEntry(
            stored_seq=stored_seq, highest_seq=highest_seq, ahead=found, ahead_before=frozenset(found)
        )
    return Ledger(entries=entries)


def write_ledger(cursor: psycopg.Cursor, ledger: Ledger) -> None:
    """Write back what changed."""
    changed = {key: entry for key, entry in ledger.entries.items() if entry.is_changed}
    if not changed:
        return
    entries = changed.values()
    cursor.execute(
        _UPDATE,
        [
            *_columns(list(changed)),
            [entry.stored_seq for entry in entries],
            [entry.highest_seq for entry in entries],
            [entry.messages for entry in entries],
            [entry.stored for entry in entries],
            [entry.repeated for entry in entries],
            [entry.quarantined for entry in entries],
            [entry.adopted for entry in entries],
        ],
    )
    added = [(key, seq) for key, entry in changed.items() for seq in entry.ahead - entry.ahead_before]
    removed = [(key, seq) for key, entry in changed.items() for seq in entry.ahead_before - entry.ahead]
    for statement, pairs in ((_ADD_AHEAD, added), (_REMOVE_AHEAD, removed)):
        if pairs:
            cursor.execute(statement, [*_columns([key for key, _ in pairs]), [seq for _, seq in pairs]])


def _columns(keys: Sequence[LedgerKey]) -> list[list[str]]:
    return [
        [address.organisation for address, _ in keys],
        [address.site for address, _ in keys],
        [address.agent for address, _ in keys],
        [epoch for _, epoch in keys],
    ]


def _key(organisation: str, site: str, agent: str, epoch: str) -> LedgerKey:
    return AgentAddress(organisation=organisation, site=site, agent=agent), epoch
