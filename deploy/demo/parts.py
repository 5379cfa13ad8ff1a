"""The demo's processes: started, watched, and stopped in the order in which readings flow."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from schemas.errors import TransientError

_PR_SET_PDEATHSIG = 1
_LAST_LINES = 15


class PartFailedError(TransientError):
    """A process of the demo ended by itself, or did not become ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One running `afkobling …` command and where it logs. `may_end`: coming to its end is no failure."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    may_end: bool

    def check(self) -> None:
        """Raises PartFailedError, with the log's last lines, when the process has ended."""
        status = self.process.poll()
        if status is not None and not (self.may_end and status == 0):
            lines = self.log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            raise PartFailedError(f"{self.name} ended with status {status}; its last words:\n" + "\n".join(lines))


@dataclass(slots=True, kw_only=True)
class Parts:
    """All parts of a demo. Leaving the `with` stops them, first started first."""

    folder: Path
    environment: dict[str, str]
    running: list[Part] = field(default_factory=list)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, *arguments: str, may_end: bool = False, module: str = "deploy.cli") -> Part:
        """Start `afkobling ARGUMENTS`, or another module of ours. It ends with us even if we are killed."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", module, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                # A group of its own: Ctrl-C reaches us alone, and we stop the parts in order.
                start_new_session=True,
                preexec_fn=partial(_end_with_parent, os.getpid()),  # noqa: PLW1509 - no thread of ours runs yet
            )
        part = Part(name=name, process=process, log=log, may_end=may_end)
        self.running.append(part)
        return part

    def wait_for(self, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Wait until it holds while every part lives. Raises PartFailedError."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise PartFailedError(f"waited {seconds:.0f} s in vain for {what}; logs: {self.folder}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises PartFailedError when a part has ended that should not."""
        for part in self.running:
            part.check()

    def stop(self, *names: str, seconds: float = 20) -> None:
        """Ask those parts (default: all) to end, and wait; kill what does not. Safe twice."""
        for part in [part for part in self.running if not names or part.name in names]:
            if part.process.poll() is None:
                part.process.send_signal(signal.SIGTERM)
                try:
                    part.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    part.process.kill()
                    part.process.wait()
            self.running.remove(part)


def free_port() -> int:
    """A port on the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
