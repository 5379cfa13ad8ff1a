"""Which messages to publish now: a window ahead of what is stored, the newest, and again what nobody confirmed. Pure.

How the window moves, and why, stands in docs/limits.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_LONGEST_FACTOR = 8
_FIRST_RETRY_S = 1.0
_QUICK_S = 1.0
"""A confirmation that takes no longer is quick. One that takes half as long again as the quickest so far is, too."""
_LATE_S = 2.0
"""Silence for as long, and for twice as long as the quickest confirmation took, is late."""
_DAMPING = 1 / 3
"""How much of the way (of its logarithm) a round goes: with the square of the delay, the most that does not swing."""
_USUAL = 20
"""Messages; wider windows are for quick paths, on which an agent alone drains its backlog."""
_NEWEST_AT_ONCE = 2
"""Messages sent ahead of a backlog from one confirmation to the next."""
_MOST_AHEAD = 500
"""Messages sent ahead of a backlog that the backlog has not come to: the collector's ledger notes each."""
_LONGEST_EXPIRY_S = 2**32 - 1


@dataclass(slots=True, kw_only=True)
class _Sent:
    at_s: float
    mid: int | None
    """The broker's number for it; None once the broker has answered."""
    size: int
    is_first: bool
    """Sent once and in its turn: what its confirmation took tells how long things take."""
    was_refused: bool = False
    repeats: int = 0


class Window:
    """One connection's view. Times are seconds of any steady clock, sizes are bytes.

    In order, messages go out up to `allowed` ahead of `stored_seq`, as long as the unconfirmed ones fit into
    `most_bytes` (one always does) and the broker owes at most `in_flight` answers. `allowed` begins at 1, grows up to
    `size` while confirmations are quick, and falls with the square of what they take beyond, so that the agents of a
    country that come back all at once share a short queue in place of a long one.

    What is not stored after `resend_after_s` without any progress is overdue. Then its first message alone is published
    again, with waits that double up to eightfold: the broker keeps the first copy, and more would only fill its queue.
    When it is answered for, the rest follows, at first slowly. What the broker refused, or had nobody to give to, is
    tried again one by one, the first after a second.

    While a backlog is longer than the window, the newest message goes out ahead of it, a few from one confirmation to
    the next, and is not sent again when the backlog has come there.
    """

    def __init__(
        self,
        *,
        size: int,
        in_flight: int,
        resend_after_s: float,
        stored_seq: int,
        now_s: float,
        most_bytes: float = math.inf,
        sent_before: int = 0,
    ) -> None:
        """`sent_before`: the highest seq that was published on an earlier connection, 0 for none."""
        self._size = size
        self._most_in_flight = in_flight
        self._resend_after_s = resend_after_s
        self._most_bytes = most_bytes
        self._stored_seq = stored_seq
        self._reached = stored_seq
        self._sent_before = sent_before
        self._progress_s = now_s
        # In order, up to `_reached`; and beyond a gap.
        self._sent: dict[int, _Sent] = {}
        self._ahead: dict[int, _Sent] = {}
        self._newest_left = _NEWEST_AT_ONCE
        self._seq_of: dict[int, int] = {}
        self._bytes = 0
        self._allowed = 1.0
        self._quickest_s = math.inf
        self._narrowed_s = now_s
        self._recover_to = 0
        self._recovering_since_s = now_s

    @property
    def last_seq(self) -> int:
        """The seq up to which all was published, in order."""
        return self._reached

    @property
    def in_flight(self) -> int:
        """How many answers the broker owes."""
        return len(self._seq_of)

    @property
    def allowed(self) -> int:
        """How far in-order messages may be ahead of what is stored, just now."""
        return int(self._allowed)

    def may_send(self, size: int) -> bool:
        """Whether a message of that size fits beside those that are not confirmed."""
        return self._bytes == 0 or self._bytes + size <= self._most_bytes

    def fresh(self, last_seq: int, now_s: float) -> list[int]:
        """What to publish for the first time, of an outbox that goes up to `last_seq`; in this order."""
        self._look(now_s)
        free = self._most_in_flight - self.in_flight
        reach = min(last_seq, self._stored_seq + self.allowed)
        found = [seq for seq in range(self._reached + 1, reach + 1) if seq not in self._ahead][: max(0, free)]
        is_behind = last_seq > max(reach, self._reached) and last_seq not in self._ahead
        if is_behind and len(found) < free and self._newest_left and len(self._ahead) < _MOST_AHEAD:
            found.append(last_seq)
        return found

    def overdue(self, now_s: float) -> list[int]:
        """The seqs to publish again now, in order."""
        self._look(now_s)
        free = self._most_in_flight - self.in_flight
        due = [seq for seq, due_s in self._due().items() if due_s <= now_s]
        if due and not self._is_recovering and not self._sent[due[0]].was_refused:
            self._recover_to, self._recovering_since_s = self._reached, now_s
            self._allowed = 1.0
        return due[: max(0, min(free, self.allowed))]

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until something is overdue; None when nothing will be."""
        due_s = min(self._due().values(), default=math.inf)
        return None if due_s == math.inf else max(0.0, due_s - now_s)

    def expiry_s(self, seq: int) -> int | None:
        """After how long the broker may forget this copy of a message; None for a first one.

        The next copy follows by then: so copies don't pile up at the broker, however long the collector is away.
        """
        if seq not in self._sent and seq > self._sent_before:
            return None
        return max(1, math.ceil(min(self._resend_after_s * _LONGEST_FACTOR, _LONGEST_EXPIRY_S)))

    def note_sent(self, seq: int, mid: int, now_s: float, *, size: int = 0) -> None:
        """`seq` was handed to the broker, which will answer about `mid`."""
        if seq <= self._stored_seq:
            return
        self._seq_of[mid] = seq
        before = self._sent.get(seq)
        if before is not None:
            self._sent[seq] = replace(before, at_s=now_s, mid=mid, is_first=False, repeats=before.repeats + 1)
            return
        self._bytes += size
        is_newest = seq > self._stored_seq + self.allowed
        self._newest_left -= is_newest
        if seq == self._reached + 1:
            is_first = seq > self._sent_before and not is_newest
            self._sent[seq] = _Sent(at_s=now_s, mid=mid, size=size, is_first=is_first)
            self._reached = seq
            self._close_up()
        else:
            self._ahead[seq] = _Sent(at_s=now_s, mid=mid, size=size, is_first=False)

    def note_answered(self, mid: int, *, was_taken: bool) -> int | None:
        """The broker answered about `mid`; returns its seq, if it is one of the window's."""
        seq = self._seq_of.pop(mid, None)
        if seq is None:
            return None
        sent = self._sent.get(seq)
        if sent is not None and sent.mid == mid:
            sent.mid, sent.was_refused = None, not was_taken
        ahead = self._ahead.get(seq)
        if ahead is not None:
            # The watermark does not tell when it is stored: the broker's word ends its share of the bytes.
            self._bytes -= ahead.size
            ahead.mid, ahead.size = None, 0
            if not was_taken:
                # Its turn comes with the backlog.
                del self._ahead[seq]
        return seq

    def note_stored(self, seq: int, now_s: float) -> None:
        """The collector has everything up to `seq`."""
        if seq <= self._stored_seq:
            return
        confirmed = [how for sent, how in self._sent.items() if sent <= seq]
        was_full = self._reached - self._stored_seq >= self.allowed
        self._stored_seq = seq
        self._progress_s = now_s
        self._newest_left = _NEWEST_AT_ONCE
        self._sent = {sent: how for sent, how in self._sent.items() if sent > seq}
        for how in self._sent.values():
            how.repeats = 0
        passed = [how for sent, how in self._ahead.items() if sent <= seq]
        self._ahead = {sent: how for sent, how in self._ahead.items() if sent > seq}
        self._bytes -= sum(how.size for how in (*confirmed, *passed))
        self._reached = max(self._reached, seq)
        self._close_up()
        first = [how.at_s for how in confirmed if how.is_first]
        if first:
            self._quickest_s = min(self._quickest_s, now_s - max(first))
            self._aim(now_s - max(first), len(confirmed), was_full=was_full)
        elif was_full and confirmed:
            self._allowed = min(float(self._size), self._allowed + len(confirmed) / self._allowed)

    def _aim(self, took_s: float, confirmed: int, *, was_full: bool) -> None:
        """Move towards what the delay allows, in proportion to how much of the window was confirmed.

        All who share a queue see the same delay, and so come to the same width, whoever was there first.
        """
        slow = took_s / max(_QUICK_S, 1.5 * self._quickest_s)
        # Where others wait, a wide window is worth no more than a usual one.
        aim = float(self._size) if slow <= 1 else min(self._size, _USUAL) / slow**2
        part = min(1.0, confirmed / self._allowed)
        wanted = self._allowed * (aim / self._allowed) ** (_DAMPING * part)
        if wanted > self._allowed:
            wanted = max(wanted, min(aim, self._allowed + part)) if was_full else self._allowed
        self._allowed = min(float(self._size), max(1.0, wanted))

    def _look(self, now_s: float) -> None:
        """Silence is late, too."""
        if not self._sent:
            return
        since_s = max(min(how.at_s for how in self._sent.values()), self._progress_s, self._narrowed_s)
        if now_s - since_s > self._late_s:
            self._allowed = max(1.0, self._allowed / 2)
            self._narrowed_s = now_s

    @property
    def _late_s(self) -> float:
        return _LATE_S if self._quickest_s == math.inf else max(_LATE_S, 2 * self._quickest_s)

    def _close_up(self) -> None:
        """What was sent ahead and has now nothing missing before it stands in order."""
        while self._reached + 1 in self._ahead:
            self._reached += 1
            self._sent[self._reached] = self._ahead.pop(self._reached)

    @property
    def _is_recovering(self) -> bool:
        return self._stored_seq < self._recover_to

    @property
    def _was_heard(self) -> bool:
        """Whether anything was confirmed since the recovery began."""
        return self._progress_s > self._recovering_since_s

    def _due(self) -> dict[int, float]:
        """When each is overdue, in order. What becomes of the first goes for the others, so they wait for it."""
        due: dict[int, float] = {}
        was_one_refused = False
        for seq in sorted(self._sent):
            sent = self._sent[seq]
            if sent.was_refused and was_one_refused:
                continue
            was_one_refused = was_one_refused or sent.was_refused
            due[seq] = self._due_s(seq, sent)
            if self._is_recovering and not self._was_heard:
                break
        return due

    def _due_s(self, seq: int, sent: _Sent) -> float:
        if sent.mid is not None:
            # The broker owes an answer; if it is dead, the keep-alive ends the connection.
            return math.inf
        if sent.was_refused:
            return sent.at_s + min(_FIRST_RETRY_S * 2.0**sent.repeats, self._resend_after_s)
        since_s = max(sent.at_s, self._progress_s)
        if seq <= self._recover_to and sent.repeats == 0 and self._was_heard:
            return since_s + min(_LATE_S, self._resend_after_s)
        return since_s + self._resend_after_s * min(2.0**sent.repeats, _LONGEST_FACTOR)
