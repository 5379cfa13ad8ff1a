"""A source that can be read only once hears when what it gave is on disk, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edge.batch import Draft, Gathering
from edge.counters import Counters
from edge.errors import OutboxUnavailableError
from edge.outbox import Outbox, WhenFull
from edge.readings import Reading, Taken
from edge.writer import Writer

NOW_MS = 1_795_298_400_000


def reading(value: float) -> Reading:
    return Reading(meter="oven", at_ms=NOW_MS, value=value, unit="kWh")


def make_writer(outbox: Outbox, queue: asyncio.Queue[Taken | None], *, age_s: float) -> Writer:
    return Writer(
        queue=queue,
        gathering=Gathering(max_readings=100, max_age_s=age_s, max_bytes=10_000),
        outbox=outbox,
        counters=Counters(),
        appended=lambda: None,
        now_ms=lambda: NOW_MS,
    )


def open_outbox(folder: Path) -> Outbox:
    return Outbox(folder / "outbox.sqlite", max_bytes=1_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: NOW_MS)


async def test_kept_is_called_after_the_commit(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    kept_at: list[int] = []
    queue: asyncio.Queue[Taken | None] = asyncio.Queue()
    for value in (1.0, 2.0):
        queue.put_nowait(Taken(readings=[reading(value)], kept=lambda: kept_at.append(outbox.state().readings)))
    queue.put_nowait(None)
    await make_writer(outbox, queue, age_s=60).run()
    # Both were there, whole, when the first was told.
    assert kept_at == [2, 2]
    outbox.close()


async def test_nothing_to_keep_is_kept_at_once(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    kept = asyncio.Event()
    queue: asyncio.Queue[Taken | None] = asyncio.Queue()
    queue.put_nowait(Taken(kept=kept.set))
    running = asyncio.create_task(make_writer(outbox, queue, age_s=60).run())
    async with asyncio.timeout(30):
        await kept.wait()
    queue.put_nowait(None)
    await running
    outbox.close()


async def test_what_the_outbox_does_not_take_is_not_kept(tmp_path: Path) -> None:
    class Full(Outbox):
        def append(self, drafts: Sequence[Draft]) -> list[int]:
            raise OutboxUnavailableError("the disk is full")

    outbox = Full(
        tmp_path / "outbox.sqlite", max_bytes=1_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: NOW_MS
    )
    kept: list[None] = []
    queue: asyncio.Queue[Taken | None] = asyncio.Queue()
    queue.put_nowait(Taken(readings=[reading(1)], kept=lambda: kept.append(None)))
    queue.put_nowait(None)
    writer = make_writer(outbox, queue, age_s=0.01)
    writer.stop_trying(after_s=0)
    await writer.run()
    assert kept == []
    outbox.close()
