"""Keeps the agent's certificate from expiring: asks for the next one in the last third of its time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from edge.backoff import Backoff
from edge.configuration import EdgeConfiguration
from edge.counters import Counters
from edge.enrolment.identity import AgentIdentity, IdentityError, finish, read_identity
from edge.errors import EdgeError, EdgePermanentError, EdgeTransientError

log = structlog.get_logger()

_LOOK_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 3600.0
_WORTH_TELLING_MS = 14 * 86_400_000
"""From here on a renewal that fails is told as a problem; before, there is time."""
_TAKES_S = 120
_TRY_AGAIN = 75
_DAY_MS = 86_400_000

Renew = Callable[[Path], Awaitable[None]]
"""Renews in that folder. Raises EdgeError."""


async def renew_apart(folder: Path) -> None:
    """In a process of its own: its libraries take memory that a running agent does not need. Raises EdgeError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "edge.enrolment.renewing", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TAKES_S):
            _, said = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = said.decode("utf-8", "replace").strip()
        again = process.returncode == _TRY_AGAIN
        raise (EdgeTransientError if again else EdgePermanentError)(lines or f"it ended with {process.returncode}")


class Renewal:
    """Looks about once a minute, and does nothing for an agent that was not enrolled with a code."""

    def __init__(
        self,
        configuration: EdgeConfiguration,
        counters: Counters,
        *,
        renewed: Callable[[], None],
        renew: Renew = renew_apart,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`renewed` is called when there are new files."""
        certificate = configuration.tls.certificate
        self._folder = None if certificate is None else certificate.parent
        self._counters = counters
        self._renewed = renewed
        self._renew = renew
        self._now_ms = now_ms
        self._backoff = Backoff(initial_s=_FIRST_WAIT_S, cap_s=_LONGEST_WAIT_S)
        self._known: AgentIdentity | None = None
        counters.certificate_days.set_function(self._days_left)

    async def run(self) -> None:
        """Until cancelled."""
        if self._folder is None:
            return
        try:
            await asyncio.to_thread(finish, self._folder)
        except IdentityError as error:
            self._counters.note_obstacle("certificate", str(error))
        wait_s = 0.0
        while True:
            await asyncio.sleep(wait_s)
            wait_s = await self._turn(self._folder)

    async def _turn(self, folder: Path) -> float:
        """Look, renew if it is time, and say how many seconds to wait for the next look."""
        try:
            identity = read_identity(folder)
        except IdentityError as error:
            self._counters.note_obstacle("certificate", str(error))
            return _LOOK_S
        if identity is None:
            # Somebody else looks after these files.
            return _LOOK_S
        if self._known is not None and identity != self._known:
            # Enrolled anew by hand.
            self._renewed()
        self._known = identity
        if not identity.is_due(self._now_ms()):
            self._counters.note_obstacle("certificate", None)
            return _look_s(identity)
        return await self._try(folder, identity)

    async def _try(self, folder: Path, identity: AgentIdentity) -> float:
        try:
            await self._renew(folder)
        except (EdgeError, OSError, TimeoutError) as error:
            self._counters.renewal_failures.inc()
            self._tell(identity, error)
            # What lives for minutes, as in a trial, cannot wait as long.
            return min(self._backoff.next_s(), max(_life_s(identity) / 100, 0.1))
        self._backoff.reset()
        self._known = read_identity(folder)
        self._counters.note_obstacle("certificate", None)
        log.info("the certificate is renewed", action="certificate.renewed", until=_day(self._known or identity))
        self._renewed()
        return _look_s(self._known or identity)

    def _tell(self, identity: AgentIdentity, error: Exception) -> None:
        left_ms = identity.left_ms(self._now_ms())
        why = str(error) or type(error).__name__
        if left_ms <= 0:
            words = f"this agent's certificate expired on {_day(identity)}, and could not be renewed: {why}"
        else:
            words = f"this agent's certificate expires on {_day(identity)}, and cannot be renewed: {why}"
        if isinstance(error, EdgePermanentError) or left_ms < _WORTH_TELLING_MS:
            self._counters.note_obstacle("certificate", words)
        log.warning(words, action="certificate.unrenewed")

    def _days_left(self) -> float:
        return float("nan") if self._known is None else self._known.left_ms(self._now_ms()) / _DAY_MS


def _look_s(identity: AgentIdentity) -> float:
    """A minute, or a hundredth of a short life; not all agents at once."""
    return min(_LOOK_S, max(_life_s(identity) / 100, 0.1)) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads them


def _life_s(identity: AgentIdentity) -> float:
    return (identity.not_after - identity.issued_at) / 1000


def _day(identity: AgentIdentity) -> str:
    return f"{datetime.fromtimestamp(identity.not_after / 1000, UTC):%Y-%m-%d}"
