"""The stack's own Mosquitto broker."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil

from deploy.stack import checks, folders
from deploy.stack.errors import StackTransientError
from deploy.stack.folders import DataFolder
from deploy.stack.logs import set_aside, tail
from deploy.stack.ports import LOOPBACK
from deploy.stack.processes import (
    SERVER_ENVIRONMENT,
    last_lines,
    run,
    server_process,
    signal_and_wait,
)
from deploy.stack.runtime import Place


def render_settings(*, port: int, store: Path, log: Path, persistence: bool = True) -> str:
    """Mosquitto's configuration for one machine: loopback only, and therefore open to all on it. Pure.

    Without `persistence` a restarted broker knows nothing of what it had acknowledged.
    """
    return f"""\
# Written by `afkobling stack up` at each start: changes here are lost.
listener {port} {LOOPBACK}
# The listener answers this machine only.
allow_anonymous true

# The agents keep what the collector has not confirmed: a loss between two saves is sent again.
persistence {"true" if persistence else "false"}
persistence_location {store}/
autosave_interval 30
persistent_client_expiration 14d

# Bounded by bytes, not by number: past a number the broker drops what it has acknowledged.
max_queued_messages 0
max_queued_bytes 1073741824
# The receive maximum of each MQTT 5 client is the bound.
max_inflight_messages 65535
max_packet_size 8388608
max_keepalive 3600
set_tcp_nodelay true

log_dest file {log}
log_type error
log_type warning
log_type notice
log_timestamp true
log_timestamp_format %Y-%m-%dT%H:%M:%S
connection_messages true
"""


def url(port: int) -> str:
    """The broker's address."""
    return f"mqtt://{LOOPBACK}:{port}"


def process(folder: DataFolder) -> psutil.Process | None:
    """The running broker of this folder, if any."""
    return server_process("mosquitto", str(folder.broker_settings))


def start(place: Place, *, port: int, persistence: bool = True, timeout_s: float = 60) -> None:
    """Start the broker and wait until it answers, which includes reading its store.

    Raises StackTransientError with the end of its log when it does not come up.
    """
    folder = place.folder
    log = folder.logs / "mosquitto.log"
    set_aside(log)
    text = render_settings(port=port, store=folder.broker_store, log=log, persistence=persistence)
    folders.write_whole(folder.broker_settings, text)
    done = run(
        [place.runtime.mosquitto, "-d", "-c", folder.broker_settings],
        timeout_s=30,
        account=place.account,
        environment=SERVER_ENVIRONMENT,
        folder=folder.path,
    )
    if done.returncode != 0:
        raise StackTransientError(
            f"Mosquitto did not start on port {port}:\n{last_lines(done.stderr)}\n  The end of {log}:\n{tail(log)}"
        )
    wait_ready(folder, port, timeout_s=timeout_s)


def wait_ready(folder: DataFolder, port: int, *, timeout_s: float = 60) -> None:
    """Wait until the broker answers in MQTT 5.

    Raises StackTransientError with the end of its log when it ends before, or takes longer.
    """
    deadline = time.monotonic() + timeout_s
    while not _answers(port):
        if time.monotonic() > deadline or process(folder) is None:
            raise _failed(folder, port)
        time.sleep(0.05)
    if process(folder) is None:
        # Another broker was quicker to take the port.
        raise _failed(folder, port)


def stop(folder: DataFolder) -> bool:
    """Stop the broker, which saves its store; False when it was not running.

    Raises StackTransientError when it cannot be brought to end.
    """
    running = process(folder)
    if running is None:
        return False
    if signal_and_wait(running, signal.SIGTERM, timeout_s=30):
        return True
    if signal_and_wait(running, signal.SIGKILL, timeout_s=10):
        return True
    raise StackTransientError(f"Mosquitto (process {running.pid}) does not stop. Try again later.")


def _answers(port: int) -> bool:
    try:
        checks.look_at_broker(url(port), timeout_s=2)
    except StackTransientError:
        return False
    return True


def _failed(folder: DataFolder, port: int) -> StackTransientError:
    log = folder.logs / "mosquitto.log"
    return StackTransientError(f"Mosquitto did not start on port {port}. The end of {log}:\n{tail(log)}")
