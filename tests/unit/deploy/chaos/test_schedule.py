"""Every kind of fault has its turn, and only what was seen to happen counts."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from deploy.chaos.fault import Kind, Open, Running
from deploy.chaos.schedule import Cards


def drawn(seed: int, count: int) -> list[Kind]:
    cards = Cards(random.Random(seed), list(Kind))
    return [cards.draw() for _ in range(count)]


def test_each_kind_comes_once_before_any_comes_twice():
    assert Counter(drawn(1, len(Kind))) == Counter(Kind)


def test_the_seed_tells_the_order():
    assert drawn(1, 200) == drawn(1, 200)
    assert drawn(1, 200) != drawn(2, 200)


def test_every_kind_goes_on_coming():
    assert min(Counter(drawn(3, 500))[kind] for kind in Kind) >= 10


def test_what_came_to_nothing_comes_again_soon():
    cards = Cards(random.Random(1), list(Kind))
    kind = cards.draw()
    cards.put_back(kind)
    again = [cards.draw() for _ in range(7)]
    assert again[0] is not kind
    assert kind in again


def test_what_always_comes_to_nothing_keeps_nothing_else_from_coming():
    cards = Cards(random.Random(1), list(Kind))
    others: Counter[Kind] = Counter()
    for _ in range(500):
        kind = cards.draw()
        if kind is Kind.VANISH:
            cards.put_back(kind)
        others[kind] += 1
    assert min(others[kind] for kind in Kind) >= 10


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_fault_is_made_good_whether_it_was_seen_or_not(is_seen: bool):
    healed: list[str] = []
    running = Running()
    running.add(
        Open(
            kind=Kind.STALL,
            place="here",
            claims=frozenset({"here"}),
            is_seen=lambda: is_seen,
            make_good=lambda: healed.append("here"),
        )
    )
    assert running.claimed == {"here"}
    [happened] = running.end_due()
    assert (happened.kind, happened.is_seen, healed) == (Kind.STALL, is_seen, ["here"])
    assert running.claimed == frozenset()


def test_a_fault_lasts_until_it_is_seen():
    seen = [False]
    running = Running()
    running.add(Open(kind=Kind.TEAR, place="", claims=frozenset(), most_s=3600, is_seen=lambda: seen[0]))
    assert running.end_due() == []
    seen[0] = True
    assert [happened.is_seen for happened in running.end_due()] == [True]


def test_in_the_end_everything_is_made_good_at_once():
    running = Running()
    running.add(Open(kind=Kind.SKEW, place="", claims=frozenset(), least_s=3600, most_s=3600))
    assert running.end_due() == []
    assert len(running.end_due(at_once=True)) == 1
    assert len(running) == 0
