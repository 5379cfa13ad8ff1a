"""Commands that end, servers that stay, and the account they run under."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.stack.errors import StackPermanentError, StackTransientError

# Nothing of the caller's environment reaches the servers: PGPORT, LD_LIBRARY_PATH or LD_PRELOAD would
# bend them or mix two C libraries.
SERVER_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account that servers run under."""

    name: str
    uid: int
    gid: int

    def is_me(self) -> bool:
        """Whether this process has the account already, so that nothing need be dropped."""
        return self.uid == os.geteuid()


def server_account() -> Account:
    """Our own account; for root (whom PostgreSQL refuses) `postgres` if there is one, else `nobody`.

    Raises StackPermanentError when root has neither.
    """
    if os.geteuid() != 0:
        return Account(name=f"uid {os.geteuid()}", uid=os.geteuid(), gid=os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackPermanentError(
        "PostgreSQL refuses to run as root, and this machine has neither an account `postgres` nor `nobody`."
        " Run the command as an ordinary user."
    )


def run(
    arguments: Sequence[str | Path],
    *,
    timeout_s: float,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit status, and return it with its output as text.

    Raises StackPermanentError when it cannot be started, StackTransientError when it outlasts `timeout_s`.
    """
    drop = account is not None and not account.is_me()
    try:
        return subprocess.run(  # noqa: S603 - arguments are a list, no shell reads them
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env=None if environment is None else dict(environment),
            cwd=folder,
            umask=0o022,
            start_new_session=True,
            check=False,
            user=account.uid if account and drop else None,
            group=account.gid if account and drop else None,
            extra_groups=[] if drop else None,
        )
    except subprocess.TimeoutExpired as error:
        raise StackTransientError(
            f"{arguments[0]} did not finish within {timeout_s:.0f} s. Try again; if it stays so, look at"
            " the load and the network of this machine."
        ) from error
    except OSError as error:
        raise StackPermanentError(f"{arguments[0]} cannot be run: {error}.") from error


def run_checked(
    arguments: Sequence[str | Path],
    *,
    doing: str,
    timeout_s: float,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command that must succeed; returns its standard output.

    Raises StackPermanentError with `doing` and the command's last words when it fails.
    """
    done = run(arguments, timeout_s=timeout_s, account=account, environment=environment, folder=folder)
    if done.returncode != 0:
        words = last_lines(done.stderr.strip() or done.stdout)
        raise StackPermanentError(f"{doing} failed: {arguments[0]} ended with status {done.returncode}.\n{words}")
    return done.stdout


def last_lines(text: str, count: int = 15) -> str:
    """The last `count` lines of `text`, indented for use below an error's first line."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-count:])


def server_process(name: str, argument: str) -> psutil.Process | None:
    """The live server `name` that was started with `argument` (a path in the stack's folder), if any.

    Looked up in the process table, not in a pid file: pid files outlive a kill or a restart of the machine, and
    their number may belong to a stranger by then. A zombie counts as gone. A server may fork: the oldest is
    the one that leads.
    """
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline", "status", "create_time"])
        if process.info["name"] == name
        and argument in (process.info["cmdline"] or ())
        and process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    ]
    return min(found, key=lambda process: float(process.info["create_time"]), default=None)


def processes_in(folder: Path, name: str) -> list[psutil.Process]:
    """Live processes called `name` whose working folder is `folder`; those we may not look at are left out."""
    found = []
    for process in psutil.process_iter(["name", "cwd", "status"]):
        alive = process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        if alive and process.info["name"] == name and process.info["cwd"] == str(folder):
            found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs still: the same process, not another with its number, and not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(process: psutil.Process, *, timeout_s: float) -> bool:
    """Wait until the process is gone; False when it is still there after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def signal_and_wait(process: psutil.Process, signal_number: int, *, timeout_s: float) -> bool:
    """Send the signal, unless the process is gone, and wait for its end; False when it did not end.

    Raises StackPermanentError when the process belongs to another user.
    """
    try:
        # psutil compares the time of creation first, so a number given to a stranger is never signalled.
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied as error:
        raise StackPermanentError(
            f"Process {process.pid} belongs to another user and cannot be stopped. Run the command as that user."
        ) from error
    return wait_gone(process, timeout_s=timeout_s)
