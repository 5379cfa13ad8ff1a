"""Which messages to publish now: a window ahead of what is stored, and again what nobody confirmed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_FACTOR = 8
_FIRST_RETRY_S = 1.0


@dataclass(slots=True, kw_only=True)
class _Sent:
    at_s: float
    mid: int | None
    """The broker's number for it; None once the broker has answered."""
    was_refused: bool = False
    repeats: int = 0


class Window:
    """One connection's view. Times are seconds of any steady clock.

    `size` is how far to publish ahead of `stored_seq`; `in_flight` how many the broker may owe an answer for. What is
    not stored after `resend_after_s` without any progress is overdue. Where the broker took it, waits double up to
    eightfold: while the collector is away, the broker keeps the first copy, and more would only fill its queue.
    What the broker refused, or had nobody to give to, is tried again after a second first: after a restart of the
    broker the collector may be back a moment later than we.
    """

    def __init__(self, *, size: int, in_flight: int, resend_after_s: float, stored_seq: int, now_s: float) -> None:
        self._size = size
        self._in_flight = in_flight
        self._resend_after_s = resend_after_s
        self._stored_seq = stored_seq
        self._last_seq = stored_seq
        self._progress_s = now_s
        self._sent: dict[int, _Sent] = {}
        self._seq_of: dict[int, int] = {}

    @property
    def last_seq(self) -> int:
        """The highest seq that was published."""
        return self._last_seq

    @property
    def room(self) -> int:
        """How many new messages may be published now."""
        return max(0, min(self._stored_seq + self._size - self._last_seq, self._in_flight - len(self._seq_of)))

    def note_sent(self, seq: int, mid: int, now_s: float) -> None:
        """`seq` was handed to the broker, which will answer about `mid`."""
        before = self._sent.get(seq)
        self._sent[seq] = _Sent(at_s=now_s, mid=mid, repeats=0 if before is None else before.repeats + 1)
        self._seq_of[mid] = seq
        self._last_seq = max(self._last_seq, seq)

    def note_answered(self, mid: int, *, was_taken: bool) -> int | None:
        """The broker answered about `mid`; returns its seq, if it is one of the window's."""
        seq = self._seq_of.pop(mid, None)
        sent = self._sent.get(seq) if seq is not None else None
        if sent is not None and sent.mid == mid:
            sent.mid, sent.was_refused = None, not was_taken
        return seq

    def note_stored(self, seq: int, now_s: float) -> None:
        """The collector has everything up to `seq`."""
        if seq <= self._stored_seq:
            return
        self._stored_seq = seq
        self._last_seq = max(self._last_seq, seq)
        self._progress_s = now_s
        self._sent = {sent: how for sent, how in self._sent.items() if sent > seq}
        for how in self._sent.values():
            how.repeats = 0

    def overdue(self, now_s: float) -> list[int]:
        """The seqs to publish again now, in order."""
        room = self._in_flight - len(self._seq_of)
        return [seq for seq in sorted(self._sent) if self._due_s(self._sent[seq]) <= now_s][: max(0, room)]

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until something is overdue; None when nothing will be."""
        due = min(map(self._due_s, self._sent.values()), default=float("inf"))
        return None if due == float("inf") else max(0.0, due - now_s)

    def _due_s(self, sent: _Sent) -> float:
        if sent.mid is not None:
            # The broker owes an answer; if it is dead, the keep-alive ends the connection.
            return float("inf")
        if sent.was_refused:
            return sent.at_s + min(_FIRST_RETRY_S * 2.0**sent.repeats, self._resend_after_s)
        factor = min(2.0**sent.repeats, _LONGEST_FACTOR)
        return max(sent.at_s, self._progress_s) + self._resend_after_s * factor
