"""What an agent says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.batch import Draft
from edge.counters import Counters
from edge.messages import encode_readings
from edge.outbox import Outbox, WhenFull
from schemas.topics import Kind


def value(counters: Counters, name: str, **labels: str) -> float | None:
    return counters.registry.get_sample_value(f"afkobling_edge_{name}", labels)


@pytest.fixture
def counters() -> Counters:
    """Of an agent that is connected."""
    counters = Counters()
    counters.online.set(1)
    return counters


def test_a_driver_that_gives_nothing_is_told_until_it_gives_something(counters: Counters) -> None:
    for _ in range(2):
        counters.note_driver_failure("meters")
    assert counters.problems() == []
    counters.note_driver_failure("meters")
    (told,) = counters.problems()
    assert "driver meters has given nothing in 3 attempts" in told
    counters.note_taken("other", 1, now_s=1.0)
    counters.note_driver_failure("meters")
    assert "in 4 attempts" in counters.problems()[0]
    counters.note_taken("meters", 5, now_s=1_767_225_600.0)
    assert counters.problems() == []
    assert value(counters, "driver_failures_total", driver="meters") == 4
    assert value(counters, "readings_taken_total", driver="meters") == 5
    assert value(counters, "last_taken_timestamp_seconds", driver="meters") == 1_767_225_600.0
    counters.note_driver_failure("meters")
    assert counters.problems() == []


def test_a_disk_that_fails_is_told_with_its_reason(counters: Counters) -> None:
    counters.note_disk("no space left")
    (told,) = counters.problems()
    assert "cannot be kept on disk (no space left)" in told
    counters.note_disk(None)
    assert counters.problems() == []


def test_the_outbox_is_told_at_each_scrape(counters: Counters, tmp_path: Path) -> None:
    now_ms = 1_767_225_600_000
    outbox = Outbox(tmp_path / "o.sqlite", max_bytes=1_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: now_ms)
    counters.watch(outbox)
    assert value(counters, "outbox_oldest_seconds") == 0
    assert value(counters, "outbox_limit_bytes") == 1_000_000
    sent_at = now_ms - 90_000
    draft = Draft(
        kind=Kind.READINGS,
        readings=1,
        encode=lambda epoch, seq: encode_readings([], epoch=epoch, seq=seq, sent_at_ms=sent_at),
    )
    outbox.append([draft])
    assert value(counters, "outbox_oldest_seconds") == 90
    assert value(counters, "outbox_messages") == 1
    assert (value(counters, "outbox_bytes") or 0) > 64
    assert counters.unfinished() == ["1 messages in the outbox are not confirmed; they stay in its file"]
    outbox.confirm(outbox.epoch, 1)
    assert value(counters, "outbox_oldest_seconds") == 0
    outbox.close()
    assert value(counters, "outbox_oldest_seconds") == 0
