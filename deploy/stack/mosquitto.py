"""The stack's own Mosquitto broker."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from deploy.stack import checks, folders, security
from deploy.stack.addresses import LISTEN_VARIABLE
from deploy.stack.errors import StackTransientError
from deploy.stack.folders import LOOPBACK, DataFolder, Ports
from deploy.stack.listening import certified_names
from deploy.stack.logs import set_aside, tail
from deploy.stack.processes import (
    SERVER_ENVIRONMENT,
    last_lines,
    run,
    server_process,
    signal_and_wait,
)
from deploy.stack.runtime import Place

Report = Callable[[str], None]


def render_settings(
    *, kept: Ports, store: Path, security: Path, plugin: Path | None, log: Path, persistence: bool = True
) -> str:
    """Mosquitto's configuration. Pure.

    One listener for our own servers, on loopback, by name and password; one for agents, by certificate alone. Without
    `persistence` a restarted broker knows nothing of what it had acknowledged.
    """
    return f"""\
# Written by `afkobling stack up` at each start: changes here are lost.
# Our own servers, by name and password: this machine only.
listener {kept.broker} {LOOPBACK}

# Agents, by certificate. Its name is the agent's user and client id, whatever the agent says: nobody takes over
# another's session.
listener {kept.agents} {kept.listen}
cafile {security}/root.pem
certfile {security}/server.pem
keyfile {security}/server.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
tls_version tlsv1.2

# Who may say and hear what. Nobody comes in unnamed, and what is not allowed is forbidden.
allow_anonymous false
plugin {plugin}
plugin_opt_config_file {security}/dynamic-security.json

# The agents keep what the collector has not confirmed: a loss between two saves is sent again.
persistence {"true" if persistence else "false"}
persistence_location {store}/
autosave_interval 30
persistent_client_expiration 14d

# Bounded by bytes, not by number: past a number the broker drops what it has acknowledged. As large as can be and not
# 0, with which Mosquitto 2.0 ends a connection for a message that it does not allow.
max_queued_messages 2000000000
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


def url(folder: DataFolder, port: int) -> str:
    """The broker's address for our own servers, with their password.

    Raises StackPermanentError when the password file is gone or another user's.
    """
    return f"mqtt://{security.SERVER}:{security.password(folder)}@{LOOPBACK}:{port}"


def process(folder: DataFolder) -> psutil.Process | None:
    """The running broker of this folder, if any."""
    return server_process("mosquitto", str(folder.broker_settings))


def is_outdated(place: Place, kept: Ports) -> bool:
    """Whether a running broker was started with other settings than it would be now, its persistence aside."""
    try:
        found = place.folder.broker_settings.read_text(encoding="utf-8")
    except OSError:
        return True
    return found not in {_settings(place, kept, persistence=persistence) for persistence in (True, False)}


def start(place: Place, kept: Ports, *, report: Report, persistence: bool = True, timeout_s: float = 60) -> None:
    """Start the broker and wait until it answers, which includes reading its store.

    Raises StackTransientError with the end of its log when it does not come up.
    """
    folder = place.folder
    log = folder.logs / "mosquitto.log"
    set_aside(log)
    security.settle_certificate(place, certified_names(kept.listen), report=report)
    security.settle_access_list(place, report=report)
    folders.write_whole(folder.broker_settings, _settings(place, kept, persistence=persistence))
    done = run(
        [place.runtime.mosquitto, "-d", "-c", folder.broker_settings],
        timeout_s=30,
        account=place.account,
        environment=SERVER_ENVIRONMENT,
        folder=folder.path,
    )
    if done.returncode != 0:
        raise StackTransientError(
            f"Mosquitto did not start on ports {kept.broker} and {kept.agents}:\n{last_lines(done.stderr)}\n"
            f"  The end of {log}:\n{tail(log)}{_about_listening(folder)}"
        )
    wait_ready(folder, kept.broker, timeout_s=timeout_s)


def wait_ready(folder: DataFolder, port: int, *, timeout_s: float = 60) -> None:
    """Wait until the broker answers in MQTT 5.

    Raises StackTransientError with the end of its log when it ends before, or takes longer.
    """
    deadline = time.monotonic() + timeout_s
    while not _answers(folder, port):
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


def _settings(place: Place, kept: Ports, *, persistence: bool) -> str:
    folder = place.folder
    return render_settings(
        kept=kept,
        store=folder.broker_store,
        security=folder.broker_security,
        plugin=place.runtime.dynamic_security,
        log=folder.logs / "mosquitto.log",
        persistence=persistence,
    )


def _answers(folder: DataFolder, port: int) -> bool:
    try:
        checks.look_at_broker(url(folder, port), timeout_s=2)
    except StackTransientError:
        return False
    return True


def _failed(folder: DataFolder, port: int) -> StackTransientError:
    log = folder.logs / "mosquitto.log"
    return StackTransientError(
        f"Mosquitto did not start on port {port}. The end of {log}:\n{tail(log)}{_about_listening(folder)}"
    )


def _about_listening(folder: DataFolder) -> str:
    kept = folder.ports()
    if kept is None or kept.listen == LOOPBACK:
        return ""
    return (
        f"\n  It is to serve agents at {kept.listen}. If that is no address of this machine any more, say another once:"
        f" {LISTEN_VARIABLE}=0.0.0.0 for all that it has, {LISTEN_VARIABLE}={LOOPBACK} for this machine only."
    )
