"""From what drivers took to the outbox, a batch at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from edge.backoff import Backoff
from edge.batch import Draft, Gathering
from edge.counters import Counters
from edge.errors import EdgeTransientError
from edge.notices import Seldom
from edge.outbox import Outbox
from edge.readings import Taken

log = structlog.get_logger()


class Writer:
    """Empties the queue that drivers fill. `appended` is called after each commit."""

    def __init__(
        self,
        *,
        queue: asyncio.Queue[Taken | None],
        gathering: Gathering,
        outbox: Outbox,
        counters: Counters,
        appended: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._queue = queue
        self._gathering = gathering
        self._outbox = outbox
        self._counters = counters
        self._appended = appended
        self._now_ms = now_ms
        self._seldom = Seldom()
        self._give_up_s: float | None = None
        self._kept: list[Callable[[], None]] = []

    def stop_trying(self, *, after_s: float) -> None:
        """From then on, what an outbox that fails does not take is given up, loudly: the agent has to end."""
        self._give_up_s = time.monotonic() + after_s

    async def run(self) -> None:
        """Until None comes through the queue: no more will come."""
        more = True
        while more:
            try:
                async with asyncio.timeout(self._gathering.due_in_s(time.monotonic())):
                    taken = await self._queue.get()
            except TimeoutError:
                await self._append(self._gathering.take(now_ms=self._now_ms))
                continue
            if taken is None:
                more = False
            else:
                self._gathering.add(taken, time.monotonic())
                if taken.kept is not None:
                    self._kept.append(taken.kept)
            if not more or self._gathering.is_full or not self._gathering.waits:
                await self._append(self._gathering.take(now_ms=self._now_ms))

    async def _append(self, drafts: Sequence[Draft]) -> None:
        """Until the outbox has it. What waits meanwhile is bounded by the queue, and drivers wait behind that."""
        if drafts and not await self._keep(drafts):
            self._kept.clear()
            return
        for kept in self._kept:
            kept()
        self._kept.clear()

    async def _keep(self, drafts: Sequence[Draft]) -> bool:
        """False when the agent had to end before the outbox took them."""
        backoff = Backoff(initial_s=0.2, cap_s=2)
        while (error := await self._try_append(drafts)) is not None:
            self._counters.outbox_failures.inc()
            self._counters.note_disk(str(error))
            if self._seldom.due("failure"):
                log.error(
                    "readings cannot be kept on disk; they wait in memory, and reading stops when that is full",
                    action="outbox.failed",
                    reason=str(error),
                )
            wait_s = backoff.next_s()
            if self._give_up_s is not None and time.monotonic() + wait_s > self._give_up_s:
                log.critical(
                    "the agent stops while the outbox fails: readings in memory are lost",
                    action="agent.lost",
                    readings=sum(draft.readings for draft in drafts),
                )
                return False
            await asyncio.sleep(wait_s)
        self._counters.note_disk(None)
        if self._seldom.forget("failure"):
            log.info("the outbox works again", action="outbox.back")
        self._counters.appended.inc(len(drafts))
        self._appended()
        return True

    async def _try_append(self, drafts: Sequence[Draft]) -> EdgeTransientError | None:
        try:
            await asyncio.to_thread(self._outbox.append, drafts)
        except EdgeTransientError as error:
            return error
        return None
