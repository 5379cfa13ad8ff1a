"""Whether others in the event loop get their turn, without a look at the clock."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_STARVED = 20
"""A thread had so many turns (of 1 ms or more) and the event loop none: something blocks the loop."""


@asynccontextmanager
async def others_starved() -> AsyncIterator[list[int]]:
    """How many turns a thread had each time that the event loop had none in many of them."""
    loop = asyncio.get_running_loop()
    starved: list[int] = []
    answered = threading.Event()
    over = threading.Event()

    def take_turns() -> None:
        while not over.is_set():
            answered.clear()
            loop.call_soon_threadsafe(answered.set)
            turns = 0
            while not answered.is_set() and not over.is_set():
                time.sleep(0.001)
                turns += 1
            if turns >= _STARVED:
                starved.append(turns)
            time.sleep(0.001)

    taking = asyncio.create_task(asyncio.to_thread(take_turns))
    try:
        yield starved
    finally:
        over.set()
        await taking
