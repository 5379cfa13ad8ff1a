"""The buffer between the network and the writer: when a batch is there, what bounds it, and who waits for whom."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from collector.buffer import Buffer
from collector.decode import Ignored
from collector.delivery import Delivery

LONG_S = 30.0


def buffer(**given: Any) -> Buffer:
    limits = {
        "most_messages": 100,
        "most_bytes": 1_000,
        "batch_readings": 50,
        "batch_messages": 10,
        "batch_bytes": 500,
        "batch_age_s": LONG_S,
    }
    return Buffer(**(limits | given))


def deliveries(count: int, *, readings: int = 1, size: int = 1, arrived_s: float | None = None) -> list[Delivery]:
    at = time.monotonic() if arrived_s is None else arrived_s
    return [
        Delivery(decoded=Ignored(), size=size, readings=readings, packet_id=i + 1, connection=1, arrived_s=at)
        for i in range(count)
    ]


def ids(taken: list[Delivery]) -> list[int]:
    return [delivery.packet_id for delivery in taken]


@pytest.mark.parametrize(
    ("count", "readings", "size", "taken"),
    [
        pytest.param(5, 10, 1, 5, id="readings"),
        pytest.param(7, 10, 1, 5, id="no-more-readings-than-a-batch"),
        pytest.param(10, 1, 1, 10, id="messages"),
        pytest.param(6, 1, 100, 5, id="bytes"),
        pytest.param(2, 1, 400, 1, id="no-more-bytes-than-a-batch"),
        pytest.param(1, 1, 900, 1, id="one-message-larger-than-a-batch"),
        pytest.param(1, 1, 5_000, 1, id="one-message-larger-than-the-buffer"),
        pytest.param(1, 60, 1, 1, id="one-message-of-more-readings"),
    ],
)
def test_a_batch_is_there_as_soon_as_there_is_enough(count: int, readings: int, size: int, taken: int) -> None:
    full = buffer()
    full.put(deliveries(count, readings=readings, size=size))
    # Were it not enough, this would wait for LONG_S, and the test run into its time limit.
    assert ids(full.take(timeout=0)) == list(range(1, taken + 1))
    left = count - taken
    assert (len(full), full.readings, full.size_bytes) == (left, left * readings, left * size)


def test_few_wait_until_the_oldest_is_old_enough() -> None:
    few = buffer(batch_age_s=0.05)
    few.put(deliveries(3))
    assert ids(few.take(timeout=0)) == [1, 2, 3]
    # What has waited already waits no longer.
    old = buffer()
    old.put(deliveries(2, arrived_s=time.monotonic() - LONG_S))
    assert ids(old.take(timeout=0)) == [1, 2]
    assert old.oldest_s is None


def test_nothing_is_nothing() -> None:
    empty = buffer()
    assert empty.take(timeout=0.01) == []
    empty.close()
    assert empty.take(timeout=LONG_S) == []


@pytest.mark.parametrize("limit", [{"most_messages": 4}, {"most_bytes": 40}], ids=["messages", "bytes"])
def test_who_fills_it_waits_and_who_empties_it_gets_all_in_order(limit: dict[str, int]) -> None:
    small = buffer(**limit)
    filling = threading.Thread(target=small.put, args=(deliveries(10, size=10),), daemon=True)
    filling.start()
    # A full buffer is a batch, however few and young its messages.
    assert [ids(small.take(timeout=LONG_S)) for _ in range(2)] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    filling.join(LONG_S)
    assert not filling.is_alive()
    small.close()
    assert ids(small.take(timeout=0)) == [9, 10]


def test_closing_frees_who_waits_for_room_and_takes_nothing_more() -> None:
    small = buffer(most_messages=2, batch_messages=100)
    filling = threading.Thread(target=small.put, args=(deliveries(5),), daemon=True)
    filling.start()
    small.close()
    filling.join(LONG_S)
    assert not filling.is_alive()
    small.put(deliveries(1))
    assert len(small.take(timeout=0)) <= 2
