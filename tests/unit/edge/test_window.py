"""What to publish now, and what again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.window import Window


def window(size: int = 4, in_flight: int = 100) -> Window:
    return Window(size=size, in_flight=in_flight, resend_after_s=30, stored_seq=10, now_s=0)


def send(window: Window, *seqs: int, now_s: float = 0) -> None:
    for seq in seqs:
        window.note_sent(seq, mid=100 + seq, now_s=now_s)


def answer(window: Window, *seqs: int, was_taken: bool = True) -> None:
    for seq in seqs:
        assert window.note_answered(100 + seq, was_taken=was_taken) == seq


def test_no_further_ahead_than_its_size() -> None:
    w = window()
    assert w.room == 4
    send(w, 11, 12, 13, 14)
    assert (w.room, w.last_seq) == (0, 14)
    w.note_stored(12, 1)
    assert w.room == 2


def test_the_broker_never_owes_more_answers_than_it_allows() -> None:
    w = window(in_flight=2)
    send(w, 11, 12)
    assert w.room == 0
    answer(w, 11)
    assert w.room == 1


def test_unanswered_is_not_repeated_but_unconfirmed_is_with_growing_waits() -> None:
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


def test_refused_is_tried_again_soon_then_less_often() -> None:
    w = window()
    now_s = 0.0
    for wait_s in (1, 2, 4, 8, 16, 30, 30):
        send(w, 11, now_s=now_s)
        answer(w, 11, was_taken=False)
        assert w.overdue(now_s + wait_s - 0.1) == []
        now_s += wait_s
        assert w.overdue(now_s) == [11]


def test_progress_gives_the_rest_its_time_again() -> None:
    w = window()
    send(w, 11, 12)
    answer(w, 11, 12)
    w.note_stored(11, 29)
    assert w.overdue(58) == []
    assert w.overdue(59) == [12]


def test_a_confirmation_beyond_what_was_sent_now_moves_on() -> None:
    w = window()
    w.note_stored(40, 1)
    assert (w.last_seq, w.room) == (40, 4)
    assert w.note_answered(7, was_taken=True) is None


@given(
    st.lists(st.tuples(st.sampled_from(["send", "answer", "store", "repeat"]), st.floats(0, 100)), max_size=80),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_bounds_hold_in_any_order(steps: list[tuple[str, float]], size: int, in_flight: int) -> None:
    w = Window(size=size, in_flight=in_flight, resend_after_s=30, stored_seq=0, now_s=0)
    stored, owed, mid, now_s = 0, [], 0, 0.0
    for step, amount in steps:
        now_s += amount
        if step == "send" and w.room:
            mid += 1
            w.note_sent(w.last_seq + 1, mid, now_s)
            owed.append(mid)
        elif step == "repeat":
            for seq in w.overdue(now_s):
                assert stored < seq <= w.last_seq
                mid += 1
                w.note_sent(seq, mid, now_s)
                owed.append(mid)
        elif step == "answer" and owed:
            w.note_answered(owed.pop(), was_taken=amount < 50)
        elif step == "store":
            stored = min(w.last_seq, stored + int(amount) % 3)
            w.note_stored(stored, now_s)
        assert len(owed) <= in_flight
        assert w.last_seq - stored <= size
        assert 0 <= w.room <= min(size, in_flight)
