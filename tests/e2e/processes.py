"""Afkobling's real processes, as a machine would start them: `python -m deploy.cli …`, each with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

DEADLINE_S = 120.0
_LAST_LINES = 40


class Processes:
    """Starts, kills and stops by the process that it started itself. Leaving the `with` kills what is left."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        # Warnings are errors in the processes, too.
        self._environment = {**os.environ, **environment, "PYTHONWARNINGS": "error"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.kill(name)
        for log in sorted(self._folder.glob("*.log")):
            lines = log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            print(f"--- {log.name}", *lines, sep="\n")

    def run(self, *arguments: str) -> str:
        """Run `afkobling ARGUMENTS` to its end, which must be good; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `afkobling ARGUMENTS` under a name that nothing else runs under."""
        self.start_program(name, "-m", "deploy.cli", *arguments, environment=environment)

    def start_program(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """The same for any Python program."""
        assert name not in self._running, f"{name} runs already"
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *arguments],
                env={**self._environment, **(environment or {})},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> int:
        """SIGKILL, unless it has ended by itself; its exit status, negative for the signal that ended it."""
        process = self._running.pop(name)
        process.kill()
        return process.wait()

    def stop(self, name: str) -> int:
        """Ask it to end (SIGTERM); its exit status. One that takes too long fails the test."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait()

    def ended(self, name: str) -> int | None:
        """The exit status of one that has ended by itself, which is forgotten then; None while it runs."""
        status = self._running[name].poll()
        if status is not None:
            del self._running[name]
        return status

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not been found ended."""
        return name in self._running

    def check(self, *names: str) -> None:
        """These must run (or have been killed by us); one that ended by itself fails the test."""
        for name in names:
            process = self._running.get(name)
            assert process is None or process.poll() is None, f"{name} ended by itself with {process.returncode}"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until it holds; fails, naming what was waited for, when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.05)
