"""The two servers: given ones, which stay, and our own, which may be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

import psutil

from deploy import stack
from deploy.stack.processes import wait_gone

Persistence = Literal["on", "off", "both"]
_GONE_S = 30


class Servers:
    """Where they are. Without a `folder` they are somebody else's, and nothing is done to them.

    `persistence`: whether the broker keeps what it has acknowledged over a restart; `both`: now so, now so.
    """

    def __init__(self, endpoints: stack.Endpoints, *, folder: Path | None, persistence: Persistence = "on") -> None:
        self.database_url = endpoints.database_url
        self.broker_url = endpoints.broker_url
        self.kills_of_a_forgetful_broker = 0
        self._folder = folder
        self._persistence = persistence
        self._is_kept = keeps_at_first(persistence)

    @property
    def are_ours(self) -> bool:
        """Whether they may be killed."""
        return self._folder is not None

    def kill(self, *, broker: bool, database: bool) -> bool:
        """SIGKILL, to both at once where both are asked for; False when one does not run."""
        pids = stack.pids(self._folder)
        wanted = [*([pids.broker] if broker else []), *([pids.database] if database else [])]
        found = [pid for pid in wanted if pid is not None]
        if self._folder is None or len(found) < len(wanted):
            return False
        processes = [psutil.Process(pid) for pid in found]
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        self.kills_of_a_forgetful_broker += broker and not self._is_kept
        return all(wait_gone(process, timeout_s=_GONE_S) for process in processes)

    def restart(self, *, broker: bool, database: bool) -> None:
        """On the same ports, with what is left on disk. Raises StackError."""
        if broker:
            if self._persistence == "both":
                self._is_kept = not self._is_kept
            stack.restart_broker(self._folder, persistence=self._is_kept, report=_say_nothing)
        if database:
            stack.restart_database(self._folder, report=_say_nothing)


def keeps_at_first(persistence: Persistence) -> bool:
    """Whether the broker is started as one that keeps."""
    return persistence == "on"


def _say_nothing(_text: str) -> None:
    """A run of chaos tells of its servers itself."""
