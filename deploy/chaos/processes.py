"""Afkobling's real processes, as a machine would start them: `python -m deploy.cli …`, each with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from deploy.chaos.errors import PartEndedError, StuckError

DEADLINE_S = 120.0
_LAST_LINES = 40


class Processes:
    """Starts, kills and stops by the process that it started itself. Leaving the `with` kills what is left.

    What a process logs comes to its file through a pipe, so that a limit on its files is none on its words.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, tell: Callable[[str], None] | None = None
    ) -> None:
        """`tell` is given the end of every log when the `with` is left."""
        self._folder = folder
        # Warnings are errors in the processes, too.
        self._environment = {**os.environ, **environment, "PYTHONWARNINGS": "error"}
        self._tell = tell
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logging: dict[str, threading.Thread] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.kill(name)
        if self._tell is not None:
            for log in sorted(self._folder.glob("*.log")):
                self._tell(f"--- {log.name}\n" + _last_lines(log))

    def run(self, *arguments: str) -> str:
        """Run `afkobling ARGUMENTS` to its end; returns what it printed. Raises PartEndedError unless it went well."""
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "deploy.cli", *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise PartEndedError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `afkobling ARGUMENTS` under a name that nothing else runs under."""
        self.start_module(name, "deploy.cli", *arguments, environment=environment)

    def start_module(
        self, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """The same for any module of ours."""
        if name in self._running:
            raise PartEndedError(f"{name} runs already; it is started once only")
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", module, *arguments],
            env={**self._environment, **(environment or {})},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running[name] = process
        if process.stdout is not None:
            self._logging[name] = threading.Thread(
                target=_keep_log, args=(process.stdout, self.log(name)), name=f"log of {name}", daemon=True
            )
            self._logging[name].start()

    def log(self, name: str) -> Path:
        """Where a process of that name logs."""
        return self._folder / f"{name}.log"

    def kill(self, name: str) -> int:
        """SIGKILL, unless it has ended by itself; its exit status, negative for the signal that ended it."""
        process = self._running[name]
        process.kill()
        return self._gone(name)

    def stop(self, name: str) -> int:
        """Ask it to end (SIGTERM); its exit status. Raises StuckError for one that takes too long."""
        process = self._running[name]
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise StuckError(f"{name} does not end when asked; the end of its log:\n{self._words(name)}") from None
        finally:
            process.kill()
            self._gone(name)
        return process.returncode

    def ended(self, name: str) -> int | None:
        """The exit status of one that has ended by itself, which is forgotten then; None while it runs."""
        if self._running[name].poll() is None:
            return None
        return self._gone(name)

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not been found ended."""
        return name in self._running

    def pid(self, name: str) -> int:
        """The number of one that runs."""
        return self._running[name].pid

    def check(self, *names: str) -> None:
        """These must run (or have been killed by us). Raises PartEndedError for one that ended by itself."""
        for name in names:
            process = self._running.get(name)
            if process is not None and process.poll() is not None:
                raise PartEndedError(f"{name} ended by itself with {process.returncode}:\n{self._words(name)}")

    def _gone(self, name: str) -> int:
        process = self._running.pop(name)
        status = process.wait()
        logging = self._logging.pop(name, None)
        if logging is not None:
            logging.join()
        return status

    def _words(self, name: str) -> str:
        return _last_lines(self.log(name))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until it holds. Raises StuckError, naming what was waited for, when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StuckError(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(0.05)


def _keep_log(words: IO[bytes], path: Path) -> None:
    """Until the process and all that it started have let go of the pipe."""
    with words, path.open("ab", buffering=0) as file:
        while data := words.read1(65_536):  # type: ignore[attr-defined]
            file.write(data)


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:])
    except FileNotFoundError:
        return "(it never said anything)"
