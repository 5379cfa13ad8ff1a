"""When a polled driver reads next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable


def next_due_ms(now_ms: int, *, every_ms: int, last_ms: int | None) -> int:
    """The instant of the next read, after one that was due at `last_ms`; the first is at once.

    Reads fall on whole multiples of the period, so that meters line up with quarters and with each other. Reads that
    were missed are skipped, not made up for.
    """
    if last_ms is None:
        return now_ms
    due = (now_ms // every_ms + 1) * every_ms
    # A sleep may end a moment early by the clock: that read must not come twice. (After a clock that was set back
    # further than that, the count starts from the new time.)
    return due + every_ms if due == last_ms else due


async def ticks(*, every_ms: int, now_ms: Callable[[], int], stop: asyncio.Event) -> AsyncIterator[int]:
    """Waits for each read and gives the instant that it was due, Unix milliseconds. Ends when `stop` is set."""
    due = next_due_ms(now_ms(), every_ms=every_ms, last_ms=None)
    while not await sleep_unless(stop, (due - now_ms()) / 1000):
        yield due
        due = next_due_ms(now_ms(), every_ms=every_ms, last_ms=due)


async def sleep_unless(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep; True when `stop` was set before the time was over."""
    if stop.is_set():
        return True
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    except TimeoutError:
        return False
    return True
