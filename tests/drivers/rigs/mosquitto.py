"""A Mosquitto of a rig's own, which can be killed: it keeps nothing over that."""

from __future__ import annotations

import getpass
import socket
import subprocess
import time
from pathlib import Path

_DEADLINE_S = 60.0


class OwnBroker:
    """Its program is that of the local stack, fetched when it is missing."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self, settings: str = "") -> None:
        """Safe while it runs. Returns when it takes connections."""
        if self._process is not None:
            return
        from deploy.stack.runtime import ensure

        conf = self.folder / "mosquitto.conf"
        anonymous = "" if "allow_anonymous" in settings else "allow_anonymous true\n"
        conf.write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nuser {getpass.getuser()}\n{anonymous}{settings}"
        )
        program = ensure(report=lambda _: None).mosquitto
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", conf], stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("the broker does not start:\n" + (self.folder / "mosquitto.log").read_text())

    def kill(self) -> None:
        """At once, with all connections open. Safe while it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    """One on loopback that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
