"""Work that may never come back, such as on a network share that went away: in a thread that holds up nobody's end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Apart:
    """One thread's worth of work at a time. A pool would wait for a thread that hangs when the program ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._hanging: asyncio.Future[Any] | None = None

    async def run(self, work: Callable[[], T], *, timeout_s: float, stop: asyncio.Event) -> T:
        """What the work gives. Raises what it raises; TimeoutError when it takes too long, or earlier work still does.

        Also when `stop` is set meanwhile: its caller has no use for the answer then.
        """
        if self._hanging is not None and not self._hanging.done():
            raise TimeoutError("it still does not answer")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        answer.add_done_callback(_forget)
        self._hanging = answer
        threading.Thread(target=_work, args=(work, loop, answer), name=self._name, daemon=True).start()
        stopped = asyncio.ensure_future(stop.wait())
        waited: list[asyncio.Future[Any]] = [answer, stopped]
        try:
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if answer.done():
            return answer.result()
        raise TimeoutError(f"no answer in {timeout_s:g} s")


def _work(work: Callable[[], T], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T]) -> None:
    def tell(give: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if answer.done() else give())
        except RuntimeError:
            return  # The loop is closed: nobody waits any more.

    try:
        found = work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
        raised = error
        tell(lambda: answer.set_exception(raised))
    else:
        tell(lambda: answer.set_result(found))


def _forget(answer: asyncio.Future[Any]) -> None:
    # Looked at, so that nobody complains of an error that nobody asked for.
    if not answer.cancelled():
        answer.exception()
