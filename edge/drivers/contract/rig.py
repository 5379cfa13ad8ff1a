"""What a driver's tests bring to the suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

NAME = "rig"
"""The driver's name in every rig's settings."""


class DoesNotApplyError(Exception):
    """The fault has no meaning for this kind of source; the message says why. The check is then not counted."""


class SaidAllError(Exception):
    """From `say`: the source is finite and has said all that it had. Its driver is expected to end."""


class Rig(Protocol):
    """One driver and the source that it reads. Everything is asked within one event loop; `close` comes last.

    A fault is raised as DoesNotApplyError where it can't happen: a folder of files does not send garbage.
    """

    folder: Path
    """Where the driver's relative paths begin."""

    def settings(self) -> Mapping[str, Any]:
        """The driver's entry as in edge.yaml, with `name: rig`. Waits and timeouts short: some 100 ms."""
        ...

    async def appear(self) -> None:
        """The source is there and answers. Also ends every fault. What a polled source said last, it says again."""
        ...

    async def say(self) -> Mapping[str, float]:
        """The source says something that it has not said before; returns the value of each meter, in its unit.

        Of an event source it is said now, once; a polled one says it until the next time. Where nobody may be listening
        yet, a check says something new until it is heard.
        """
        ...

    async def vanish(self) -> None:
        """It is gone, with connections open: pulled out, switched off."""
        ...

    async def fall_silent(self) -> None:
        """It takes connections or requests and does not answer."""
        ...

    async def go_mad(self) -> None:
        """It sends what makes no sense; of an event source now, once. Each time may bring another nonsense."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe twice, and before `appear`."""
        ...
