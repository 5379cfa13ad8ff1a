"""The stack's own PostgreSQL with TimescaleDB."""

from __future__ import annotations

import contextlib
import secrets
import signal
import time
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from deploy.stack import checks, folders
from deploy.stack.errors import StackPermanentError, StackTransientError
from deploy.stack.folders import LOOPBACK, DataFolder
from deploy.stack.logs import set_aside, tail
from deploy.stack.processes import (
    SERVER_ENVIRONMENT,
    last_lines,
    processes_in,
    run,
    run_checked,
    server_process,
    signal_and_wait,
)
from deploy.stack.runtime import POSTGRES_MAJOR, Place

NAME = "afkobling"
_ZONES = Path("/usr/share/zoneinfo")
_MEBIBYTE = 1 << 20
# What the address of a Unix socket may hold, less the file name that PostgreSQL appends.
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.65535.lock")


def render_settings(*, port: int, socket_folder: Path | None, memory_bytes: int) -> str:
    """PostgreSQL's settings for a small machine that must not lose a committed reading. Pure."""
    shared = max(32, min(512, memory_bytes // 8 // _MEBIBYTE))
    socket = "" if socket_folder is None else str(socket_folder)
    return f"""\
# Written by `afkobling stack up` at each start: changes here are lost. Use ALTER SYSTEM instead.
listen_addresses = '{LOOPBACK}'
port = {port}
unix_socket_directories = '{socket}'
max_connections = 100
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
password_encryption = 'scram-sha-256'

# A commit is what the collector confirms to an agent: it must be on the disk.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = lz4
max_wal_size = 4GB
checkpoint_timeout = 15min
shared_buffers = {shared}MB
autovacuum = on
# Just-in-time compilation needs LLVM, which the runtime leaves out.
jit = off

timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
# One file, written by the server's standard error and set aside at a start when it has grown.
logging_collector = off
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""


def socket_folder(folder: DataFolder) -> Path | None:
    """The folder for the Unix socket, or None where its name is too long or has characters of a list."""
    name = str(folder.cluster)
    fits = len(name.encode()) <= _LONGEST_SOCKET_FOLDER
    return folder.cluster if fits and not set(name) & set(",\"' ") else None


def url(folder: DataFolder, port: int) -> str:
    """The address with its password.

    Raises StackPermanentError when the password file is gone or another user's.
    """
    try:
        password = folder.password_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackPermanentError(
            f"The database password in {folder.password_file} cannot be read: {error.strerror}. Run the command as"
            " the user who started the stack; if the file is lost: afkobling stack reset."
        ) from error
    return f"postgresql://{NAME}:{password}@{LOOPBACK}:{port}/{NAME}"


def process(folder: DataFolder) -> psutil.Process | None:
    """The running server of this folder, if any."""
    return server_process("postgres", str(folder.cluster))


def prepare(place: Place) -> None:
    """Create the database cluster on first use, whole or not at all.

    Raises StackPermanentError when it cannot, or when another PostgreSQL made the one that is there.
    """
    folder = place.folder
    if folder.cluster.exists():
        _require_same_major(folder)
        return
    if not folder.password_file.exists():
        folders.write_whole(folder.password_file, secrets.token_urlsafe(24) + "\n", mode=0o600)
    work = folders.scratch(folder.path, "building")
    # initdb reads the password as the servers' account, which must not own the folder that keeps it.
    password = work / "password"
    folders.write_whole(password, folder.password_file.read_text(encoding="ascii"), mode=0o600)
    folders.own(password, place.account)
    folders.own(work, place.account)
    run_checked(
        [
            place.runtime.postgres_programs / "initdb",
            f"--pgdata={work / 'cluster'}",
            f"--username={NAME}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
        ],
        doing="Creating the database cluster",
        timeout_s=300,
        account=place.account,
        environment=SERVER_ENVIRONMENT,
        folder=folder.path,
    )
    with (work / "cluster" / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write(f"\ninclude = '../{folder.database_settings.name}'\n")
    (work / "cluster").rename(folder.cluster)
    folders.remove(work)


def start(place: Place, *, port: int, memory_bytes: int, timeout_s: int = 300) -> None:
    """Start the server and wait until it takes connections, which after a kill includes its recovery.

    Raises StackTransientError with the end of its log when it does not come up.
    """
    folder = place.folder
    if not _ZONES.is_dir():
        raise StackPermanentError(
            f"PostgreSQL needs the time zones in {_ZONES}, which this machine lacks. Install the package tzdata."
        )
    _clear_stale(folder)
    text = render_settings(port=port, socket_folder=socket_folder(folder), memory_bytes=memory_bytes)
    folders.write_whole(folder.database_settings, text)
    log = folder.logs / "postgres.log"
    set_aside(log)
    done = run(
        [
            place.runtime.postgres_programs / "pg_ctl",
            "start",
            "--silent",
            "--wait",
            f"--timeout={timeout_s}",
            f"--pgdata={folder.cluster}",
            f"--log={log}",
        ],
        timeout_s=timeout_s + 30,
        account=place.account,
        environment=SERVER_ENVIRONMENT,
        folder=folder.path,
    )
    if done.returncode != 0:
        raise StackTransientError(
            f"PostgreSQL did not start on port {port}:\n{last_lines(done.stderr)}\n  The end of {log}:\n{tail(log)}"
        )


def wait_ready(folder: DataFolder, *, timeout_s: float = 300) -> None:
    """Wait until a server that runs takes connections: another command may have started it this moment.

    Raises StackTransientError when it ends before, or takes longer.
    """
    deadline = time.monotonic() + timeout_s
    while not _says_ready(folder):
        if time.monotonic() > deadline or process(folder) is None:
            log = folder.logs / "postgres.log"
            raise StackTransientError(f"PostgreSQL does not become ready. The end of {log}:\n{tail(log)}")
        time.sleep(0.05)


def stop(folder: DataFolder) -> bool:
    """Stop the server in good order, forcing it when it takes too long; False when it was not running.

    Raises StackTransientError when it cannot be brought to end.
    """
    running = process(folder)
    if running is None:
        return False
    # Fast (roll back and disconnect), then immediate: the next start recovers from the log.
    for number, timeout_s in ((signal.SIGINT, 60), (signal.SIGQUIT, 15)):
        if signal_and_wait(running, number, timeout_s=timeout_s):
            return True
    raise StackTransientError(f"PostgreSQL (process {running.pid}) does not stop. Try again later.")


def create_database(folder: DataFolder, port: int) -> checks.DatabaseFacts:
    """Make sure of the database and the extension in the runtime's version; returns what the server says."""
    address = url(folder, port)
    try:
        new = _create_empty_database(address.removesuffix(NAME) + "postgres")
        _settle_extension(address, new=new)
    except psycopg.Error as error:
        raise StackTransientError(
            f"The database could not be set up: {error}. Look at {folder.logs / 'postgres.log'}, and try again."
        ) from error
    return checks.require_database(address)


def _settle_extension(address: str, *, new: bool) -> None:
    with checks.connect(address) as connection, contextlib.suppress(psycopg.errors.UndefinedObject):
        if not new:
            # As a session's first statement, before an older library than the runtime has is asked for.
            connection.execute("ALTER EXTENSION timescaledb UPDATE")
    with checks.connect(address) as connection, connection.transaction():
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        # The Apache edition schedules a job that it may not run. Taken back before the scheduler sees it: each
        # attempt would put an error in the log.
        connection.execute(
            "UPDATE _timescaledb_config.bgw_job SET scheduled = false WHERE scheduled"
            " AND proc_name = 'policy_job_stat_history_retention'"
            " AND pg_catalog.current_setting('timescaledb.license') = 'apache'"
        )


def _says_ready(folder: DataFolder) -> bool:
    # Where pg_ctl looks, too: the last line of the pid file.
    try:
        lines = (folder.cluster / "postmaster.pid").read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return False
    return lines[-1:] == ["ready"]


def _create_empty_database(maintenance_url: str) -> bool:
    """Whether the database was not there before."""
    with checks.connect(maintenance_url) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
            return False
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
        return True


def _require_same_major(folder: DataFolder) -> None:
    try:
        major = (folder.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackPermanentError(
            f"The database in {folder.cluster} cannot be read: {error.strerror}. Run the command as the user who"
            " started the stack; if it is damaged: afkobling stack reset."
        ) from error
    if major != str(POSTGRES_MAJOR):
        raise StackPermanentError(
            f"The database in {folder.cluster} was made by PostgreSQL {major}, and the stack runs {POSTGRES_MAJOR}."
            " Give another folder with --data, or delete it: afkobling stack reset."
        )


def _clear_stale(folder: DataFolder) -> None:
    """Remove what a killed server left behind and would keep the next from starting.

    Its children first: they notice the loss themselves, but a busy one not at once. Then the lock files whose number
    is now a zombie's or a stranger's; one whose process is gone PostgreSQL judges better itself.
    """
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for left in processes_in(folder.cluster, "postgres"):
            signal_and_wait(left, number, timeout_s=10)
    for lock in (folder.cluster / "postmaster.pid", *folder.cluster.glob(".s.PGSQL.*.lock")):
        try:
            pid = int(lock.read_text(encoding="utf-8").split()[0])
        except FileNotFoundError:
            continue
        except (ValueError, IndexError):
            # Written in part when the machine went down.
            lock.unlink()
            continue
        if psutil.pid_exists(pid):
            lock.unlink()
