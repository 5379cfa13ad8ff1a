"""What to publish now, and what again."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.window import Window

PLENTY = 1_000


def window(size: int = 4, in_flight: int = 100, **changes: Any) -> Window:
    given = {"size": size, "in_flight": in_flight, "resend_after_s": 30, "stored_seq": 10, "now_s": 0} | changes
    return Window(**given)


def wide_window(size: int = 4, in_flight: int = 100) -> Window:
    """One that has grown to its full size, with everything up to 10 stored at 0 s."""
    w = window(size, in_flight, stored_seq=-100_000, sent_before=-100_000)
    while w.allowed < size:
        for seq in range(w.last_seq + 1, w.last_seq + 1 + w.allowed):
            send(w, seq)
            answer(w, seq)
        w.note_stored(w.last_seq, 0)
    w.note_stored(10, 0)
    return w


def send(window: Window, *seqs: int, now_s: float = 0, size: int = 0) -> None:
    for seq in seqs:
        window.note_sent(seq, mid=100 + seq, now_s=now_s, size=size)


def answer(window: Window, *seqs: int, was_taken: bool = True) -> None:
    for seq in seqs:
        assert window.note_answered(100 + seq, was_taken=was_taken) == seq


class TestWidth:
    def test_it_begins_with_one_and_grows_while_confirmations_are_quick(self) -> None:
        w = window(8)
        widths = []
        for now_s in range(10):
            fresh = [seq for seq in w.fresh(PLENTY, now_s) if seq < PLENTY]
            widths.append(len(fresh))
            send(w, *fresh, now_s=now_s)
            answer(w, *fresh)
            w.note_stored(w.last_seq, now_s + 0.1)
        assert widths == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]

    def test_no_further_ahead_than_its_size(self) -> None:
        w = wide_window(4)
        assert w.fresh(14, 0) == [11, 12, 13, 14]
        send(w, 11, 12, 13, 14)
        assert w.fresh(14, 0) == []
        w.note_stored(12, 1)
        assert w.fresh(16, 1) == [15, 16]

    def test_one_that_needs_little_does_not_widen(self) -> None:
        w = window(20)
        for seq in range(11, 40):
            assert w.fresh(seq, 10 * seq) == [seq]
            send(w, seq, now_s=10 * seq)
            answer(w, seq)
            w.note_stored(seq, 10 * seq + 0.1)
        assert w.allowed == 2

    @pytest.mark.parametrize(("took_s", "width"), [(0.9, 20), (2, 5), (3, 2), (10, 1)])
    def test_it_falls_with_the_square_of_what_confirmations_take(self, took_s: float, width: int) -> None:
        w = wide_window(20)
        now_s = 0.0
        for _ in range(30):
            fresh = w.fresh(w.last_seq + w.allowed, now_s)
            send(w, *fresh, now_s=now_s)
            answer(w, *fresh)
            now_s += took_s
            w.note_stored(w.last_seq, now_s)
        assert w.allowed == width

    def test_of_a_round_that_is_late_each_confirmation_counts_its_part(self) -> None:
        at_once, one_by_one = wide_window(20), wide_window(20)
        for w in (at_once, one_by_one):
            send(w, *range(11, 31), now_s=0)
            answer(w, *range(11, 31))
        at_once.note_stored(30, 1.9)
        for seq in range(11, 31):
            one_by_one.note_stored(seq, 1.9)
        assert abs(at_once.allowed - one_by_one.allowed) <= 1
        assert at_once.allowed < 14

    def test_a_path_that_is_always_slow_is_not_late(self) -> None:
        w = window(8)
        for now_s in range(0, 100, 10):
            fresh = [seq for seq in w.fresh(PLENTY, now_s) if seq < PLENTY]
            send(w, *fresh, now_s=now_s)
            answer(w, *fresh)
            w.note_stored(w.last_seq, now_s + 6)
        assert w.allowed == 8

    def test_silence_narrows_it_to_one(self) -> None:
        w = wide_window(8)
        send(w, 11, now_s=0)
        answer(w, 11)
        for now_s in range(20):
            w.fresh(11, now_s)
        assert w.allowed == 1
        assert w.fresh(12, 20) == [12], "the newest goes out all the same"

    def test_the_broker_never_owes_more_answers_than_it_allows(self) -> None:
        w = wide_window(4, in_flight=2)
        assert w.fresh(PLENTY, 0) == [11, 12]
        send(w, 11, 12)
        assert w.fresh(PLENTY, 0) == []
        answer(w, 11)
        assert w.fresh(PLENTY, 0) == [13]

    def test_bytes_bound_it_too_but_one_always_goes(self) -> None:
        w = window(most_bytes=1_000)
        assert w.may_send(5_000)
        send(w, 11, size=600)
        assert w.may_send(400)
        assert not w.may_send(401)
        answer(w, 11)
        assert not w.may_send(401), "the broker still has it"
        w.note_stored(11, 1)
        assert w.may_send(5_000)


class TestNewest:
    def test_the_newest_goes_ahead_of_a_backlog(self) -> None:
        w = window()
        assert w.fresh(500, 0) == [11, 500]
        send(w, 11, 500)
        assert w.fresh(501, 0) == [501]
        send(w, 501)
        assert w.fresh(502, 0) == [], "two are enough until something is confirmed"
        answer(w, 11, 500, 501)
        w.note_stored(11, 0.1)
        assert w.fresh(502, 0) == [12, 13, 502]

    def test_what_went_ahead_is_not_sent_again_when_the_backlog_comes_there(self) -> None:
        w = wide_window(4)
        send(w, 11, 12, 13, 14, 16)
        answer(w, 11, 12, 13, 14, 16)
        assert w.last_seq == 14
        w.note_stored(14, 1)
        assert w.fresh(18, 1) == [15, 17, 18]
        send(w, 15)
        assert w.last_seq == 16
        answer(w, 15)
        w.note_stored(16, 1)
        assert w.last_seq == 16

    def test_what_went_ahead_and_was_refused_waits_for_its_turn(self) -> None:
        w = window()
        send(w, 11, 500)
        answer(w, 500, was_taken=False)
        assert 500 not in w._ahead
        assert w.overdue(1_000) == []

    def test_what_went_ahead_and_was_lost_is_published_again_in_its_turn(self) -> None:
        w = window()
        send(w, 11, 13)
        send(w, 12)
        answer(w, 11, 12, 13)
        w.note_stored(12, 1)
        assert w.overdue(30.9) == []
        assert w.overdue(31) == [13]

    def test_how_many_are_ahead_is_bounded(self) -> None:
        w = window()
        send(w, 11)
        for nth in range(2_000):
            newest = 100_000 + 10 * nth
            if newest in w.fresh(newest, nth):
                send(w, newest)
                answer(w, newest)
            seq = 11 + nth
            w.note_stored(seq, nth)
            if seq + 1 in w.fresh(newest, nth):
                send(w, seq + 1)
                answer(w, seq + 1)
        assert len(w._ahead) == 500


class TestAgain:
    def test_unanswered_is_not_repeated_but_unconfirmed_is_with_growing_waits(self) -> None:
        w = window()
        send(w, 11)
        assert w.overdue(1_000) == []
        assert w.due_in_s(0) is None
        answer(w, 11)
        assert w.overdue(29) == []
        assert w.overdue(30) == [11]
        assert w.due_in_s(10) == 20
        send(w, 11, now_s=30)
        answer(w, 11)
        assert w.overdue(89) == []
        assert w.overdue(90) == [11]

    def test_while_nothing_is_heard_only_the_first_is_repeated(self) -> None:
        w = wide_window(20)
        send(w, *range(11, 31))
        answer(w, *range(11, 31))
        sent: Counter[int] = Counter()
        for now_s in range(3_600):
            for seq in w.overdue(now_s):
                sent[seq] += 1
                send(w, seq, now_s=now_s)
                answer(w, seq)
        assert sent == {11: 17}

    def test_when_the_first_is_answered_for_the_rest_follows_soon(self) -> None:
        w = wide_window(20)
        send(w, *range(11, 31))
        answer(w, *range(11, 31))
        assert w.overdue(30) == [11]
        send(w, 11, now_s=30)
        answer(w, 11)
        stored, now_s, rounds = 11, 30.1, []
        w.note_stored(11, now_s)
        while stored < 30:
            assert w.overdue(now_s + 1.9) == []
            now_s += 2
            again = w.overdue(now_s)
            rounds.append(len(again))
            send(w, *again, now_s=now_s)
            answer(w, *again)
            stored = again[-1]
            w.note_stored(stored, now_s)
        assert len(rounds) <= 6
        assert sum(rounds) == 19

    def test_a_hole_is_filled_by_one_message(self) -> None:
        w = wide_window(4)
        send(w, 11, 12, 13, 14)
        answer(w, 11, 12, 13, 14)
        assert w.overdue(30) == [11]
        send(w, 11, now_s=30)
        answer(w, 11)
        w.note_stored(14, 30.1)
        assert w.overdue(1_000) == []

    def test_refused_is_tried_again_soon_then_less_often(self) -> None:
        w = window()
        now_s = 0.0
        for wait_s in (1, 2, 4, 8, 16, 30, 30):
            send(w, 11, now_s=now_s)
            answer(w, 11, was_taken=False)
            assert w.overdue(now_s + wait_s - 0.1) == []
            now_s += wait_s
            assert w.overdue(now_s) == [11]

    def test_of_the_refused_the_first_is_tried_and_the_rest_at_once_when_it_is_taken(self) -> None:
        w = wide_window(4)
        send(w, 11, 12, 13)
        answer(w, 11, 12, 13, was_taken=False)
        assert w.overdue(1) == [11]
        send(w, 11, now_s=1)
        assert w.overdue(1) == []
        answer(w, 11, was_taken=False)
        assert w.overdue(2.9) == []
        assert w.overdue(3) == [11]
        send(w, 11, now_s=3)
        answer(w, 11)
        assert w.overdue(3) == [12]

    def test_progress_gives_the_rest_its_time_again(self) -> None:
        w = window()
        send(w, 11, 12)
        answer(w, 11, 12)
        w.note_stored(11, 29)
        assert w.overdue(58) == []
        assert w.overdue(59) == [12]

    def test_only_copies_expire_and_the_next_one_comes_by_then(self) -> None:
        w = window(sent_before=12)
        assert [w.expiry_s(seq) for seq in (11, 12, 13)] == [240, 240, None]
        send(w, 11, 12, 13)
        assert w.expiry_s(13) == 240
        assert window(resend_after_s=1e12).expiry_s(11) is None
        assert window(resend_after_s=1e12, sent_before=11).expiry_s(11) == 2**32 - 1
        assert window(resend_after_s=0.001, sent_before=11).expiry_s(11) == 1

    def test_a_confirmation_beyond_what_was_sent_now_moves_on(self) -> None:
        w = window()
        w.note_stored(40, 1)
        assert (w.last_seq, w.fresh(41, 1)) == (40, [41])
        assert w.note_answered(7, was_taken=True) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["send", "answer", "store", "repeat", "append"]), st.floats(0, 100)), max_size=80
    ),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_bounds_hold_in_any_order(steps: list[tuple[str, float]], size: int, in_flight: int) -> None:
    w = Window(size=size, in_flight=in_flight, resend_after_s=30, stored_seq=0, now_s=0)
    last, stored, owed, mid, now_s = 3, 0, [], 0, 0.0
    once: set[int] = set()
    unheard = 0
    for step, amount in steps:
        now_s += amount
        if step == "append":
            last += int(amount)
        elif step == "send":
            for seq in w.fresh(last, now_s):
                assert seq not in once
                assert stored < seq <= last
                once.add(seq)
                unheard += 1
                mid += 1
                w.note_sent(seq, mid, now_s)
                owed.append(mid)
        elif step == "repeat":
            for seq in w.overdue(now_s):
                assert stored < seq <= w.last_seq
                mid += 1
                w.note_sent(seq, mid, now_s)
                owed.append(mid)
        elif step == "answer" and owed:
            seq_answered = w.note_answered(owed.pop(), was_taken=amount < 50)
            if seq_answered is not None and seq_answered > w.last_seq and amount >= 50:
                once.discard(seq_answered)
        elif step == "store":
            before, stored = stored, min(w.last_seq, stored + int(amount) % 3)
            w.note_stored(stored, now_s)
            unheard = 0 if stored > before else unheard
        assert unheard <= size + 2, "a window and two newest from one confirmation to the next"
        assert len(owed) <= in_flight
        assert 1 <= w.allowed <= size
        assert w.last_seq <= last


class World:
    """An agent's messages through a broker that loses some, to a collector that is away at times. One second a step."""

    def __init__(self, seed: int, *, size: int, loss: float) -> None:
        self.rng = random.Random(seed)
        self.window = Window(size=size, in_flight=50, resend_after_s=5, stored_seq=0, now_s=0)
        self.last = self.rng.choice([0, 5, 300])
        self.queue: list[tuple[int, int]] = []
        self.has: set[int] = set()
        self.stored = 0
        self.copies: Counter[int] = Counter()
        self.mid = 0
        self.loss = loss

    def publish(self, seq: int, now_s: int) -> None:
        self.mid += 1
        self.copies[seq] += 1
        expires_s = now_s + (self.window.expiry_s(seq) or 10**9)
        self.window.note_sent(seq, self.mid, now_s, size=100)
        is_lost = self.rng.random() < self.loss
        self.window.note_answered(self.mid, was_taken=not is_lost or self.rng.random() < 0.5)
        if not is_lost:
            self.queue.append((seq, expires_s))

    def step(self, now_s: int, *, is_away: bool, pace: int) -> None:
        for seq in self.window.overdue(now_s):
            self.publish(seq, now_s)
        for seq in self.window.fresh(self.last, now_s):
            self.publish(seq, now_s)
        self.queue = [(seq, expires_s) for seq, expires_s in self.queue if expires_s > now_s]
        if is_away:
            return
        taken, self.queue = self.queue[:pace], self.queue[pace:]
        self.has |= {seq for seq, _ in taken}
        while self.stored + 1 in self.has:
            self.stored += 1
        if taken:
            self.window.note_stored(self.stored, now_s)
        in_order = self.window.last_seq - self.stored
        assert self.window._bytes == 100 * in_order - 100 * sum(how.size == 0 for how in self.window._sent.values())


@pytest.mark.parametrize("seed", range(40))
def test_everything_arrives_whatever_is_lost(seed: int) -> None:
    world = World(seed, size=1 + seed % 20, loss=0.3)
    away_until_s = 0
    for now_s in range(20_000):
        if now_s < 400:
            world.last += world.rng.random() < 0.3
            if world.rng.random() < 0.01:
                away_until_s = now_s + world.rng.randrange(100)
        elif world.stored == world.last:
            break
        world.step(now_s, is_away=now_s < away_until_s, pace=world.rng.randrange(1, 30))
    assert world.stored == world.last
    assert world.has == set(range(1, world.last + 1))


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_is_lost_and_nobody_silent_nothing_is_sent_twice(seed: int) -> None:
    world = World(seed, size=20, loss=0)
    for now_s in range(1_000):
        world.last += now_s < 500 and now_s % 3 == 0
        world.step(now_s, is_away=False, pace=4)
    assert world.stored == world.last
    assert set(world.copies.values()) <= {1}


@pytest.mark.parametrize("backlog", [0, 1_000])
def test_an_hour_without_a_collector_leaves_little_at_the_broker(backlog: int) -> None:
    world = World(1, size=20, loss=0)
    world.last = backlog
    for now_s in range(60):
        world.step(now_s, is_away=False, pace=5)
    held = []
    for now_s in range(60, 3_660):
        world.last += now_s % 10 == 0
        world.step(now_s, is_away=True, pace=5)
        held.append(len(world.queue))
    assert max(held) <= 20 + 2 + 4, "a window, the newest, and copies that have not expired"
    assert sum(world.copies.values()) < len(world.copies) + 3_600 / 40 + 5
