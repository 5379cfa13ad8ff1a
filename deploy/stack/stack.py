"""The local stack as a whole: up, down, reset, and what it is doing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.stack import checks, folders, mosquitto, ports, postgres, runtime, security
from deploy.stack.addresses import Endpoints, GivenServers, given_broker_tls, given_listen, given_servers
from deploy.stack.errors import StackPermanentError, StackTransientError
from deploy.stack.folders import DataFolder, Ports
from deploy.stack.listening import agent_url, certified_names
from deploy.stack.processes import is_alive, server_account
from deploy.stack.runtime import Place

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pids:
    """The process of each embedded server, None where it does not run."""

    database: int | None
    broker: int | None


def to_stderr(text: str) -> None:
    """Report a step as a plain line."""
    print(text, file=sys.stderr, flush=True)


def up(data_dir: Path | None = None, *, persistence: bool = True, report: Report = to_stderr) -> Endpoints:
    """Bring up both servers, unless they are, and return their addresses.

    `persistence`: whether a broker that is started here keeps over a restart what it has acknowledged.

    A server that the environment names is checked instead of started. After a kill or a restart of the machine the same
    call recovers, with the data and, unless something else took them, the ports of before.

    Raises a StackError that says what is wrong and what to do.
    """
    given = given_servers()
    if given.database_url:
        facts = checks.require_database(given.database_url)
        report(f"The given database has PostgreSQL {facts.postgresql}, TimescaleDB {facts.timescaledb}")
    if given.broker_url:
        checks.look_at_broker(given.broker_url, tls=given_broker_tls())
        report("The given broker answers in MQTT 5")
    if given.database_url and given.broker_url:
        return _given_endpoints(given, given.database_url, given.broker_url)

    folder = folders.data_folder(data_dir)
    account = server_account()
    # Before a download: whether the folder will do.
    folders.prepare(folder, account)
    ready = runtime.ensure(report=report)
    folders.require_reach(ready.root, account, what="runtime folder", remedy="AFKOBLING_RUNTIME_DIR")
    place = Place(runtime=ready, folder=folder, account=account)
    with folders.locked(folder.path, report=report), folders.trouble_told(folder.path):
        # Again, under the lock: a reset may have come between.
        folders.prepare(folder, account)
        kept = _settled_ports(folder, report)
        database_url = given.database_url or _up_database(place, kept, report)
        if given.broker_url:
            return _given_endpoints(given, database_url, given.broker_url)
        _up_broker(place, kept, report, persistence=persistence)
        return _own_endpoints(given, folder, kept, database_url)


def down(data_dir: Path | None = None, *, report: Report = to_stderr) -> None:
    """Stop both embedded servers in good order; does nothing when they are down, or never were up.

    Servers named by the environment are left alone. Raises StackError when one cannot be stopped.
    """
    with _existing(data_dir, report) as folder:
        if folder is not None:
            _stop(folder, report)


def reset(data_dir: Path | None = None, *, report: Report = to_stderr) -> bool:
    """Stop the embedded servers and delete the data folder with all that is stored; False when there was none.

    Raises StackPermanentError for a folder that is not a stack's, which is left alone.
    """
    with _existing(data_dir, report) as folder:
        if folder is None:
            return False
        _stop(folder, report)
        try:
            folders.delete(folder)
        except OSError as error:
            raise StackPermanentError(f"{folder.path} cannot be deleted: {error}.") from error
        report(f"Deleted {folder.path}")
        return True


def endpoints(data_dir: Path | None = None) -> Endpoints:
    """The addresses to use: what the environment names, else the running stack's.

    Raises StackTransientError when the stack is needed and not running.
    """
    given = given_servers()
    if given.database_url and given.broker_url:
        return _given_endpoints(given, given.database_url, given.broker_url)
    folder = folders.data_folder(data_dir)
    kept = folder.ports()
    database_runs = bool(given.database_url) or postgres.process(folder) is not None
    broker_runs = bool(given.broker_url) or mosquitto.process(folder) is not None
    if kept is None or not database_runs or not broker_runs:
        raise StackTransientError(
            f"The local stack in {folder.path} is not running. Start it: afkobling stack up (or name servers in"
            " AFKOBLING_DATABASE_URL and AFKOBLING_BROKER_URL)."
        )
    database_url = given.database_url or postgres.url(folder, kept.database)
    if given.broker_url:
        return _given_endpoints(given, database_url, given.broker_url)
    if kept.agents is None:
        raise StackTransientError(
            f"The local stack in {folder.path} was started by an older version, whose broker knew no certificates."
            " Bring it up to date: afkobling stack up"
        )
    return _own_endpoints(given, folder, kept, database_url)


def pids(data_dir: Path | None = None) -> Pids:
    """The processes of the embedded servers, as the process table has them now."""
    folder = folders.data_folder(data_dir)
    database, broker = postgres.process(folder), mosquitto.process(folder)
    return Pids(database=database.pid if database else None, broker=broker.pid if broker else None)


def restart_database(data_dir: Path | None = None, *, report: Report = to_stderr) -> None:
    """Stop the embedded database if it runs, and start it on the same port.

    Raises StackTransientError when the stack was never up, or something else holds the port.
    """
    with _restarting(data_dir, report) as (place, kept):
        postgres.stop(place.folder)
        _require_free(kept.database)
        _up_database(place, kept, report)


def restart_broker(data_dir: Path | None = None, *, persistence: bool = True, report: Report = to_stderr) -> None:
    """Stop the embedded broker if it runs, and start it on the same port, with or without its store.

    Raises StackTransientError when the stack was never up, or something else holds the port.
    """
    with _restarting(data_dir, report) as (place, kept):
        mosquitto.stop(place.folder)
        _require_free(kept.broker)
        if kept.agents is not None:
            _require_free(kept.agents)
        _up_broker(place, kept, report, persistence=persistence)


def _settled_ports(folder: DataFolder, report: Report) -> Ports:
    before = folder.ports()
    settled = ports.settle(
        before,
        database_runs=_runs(postgres.process(folder)),
        broker_runs=_runs(mosquitto.process(folder)),
        listen=given_listen(),
    )
    if settled != before:
        folder.keep_ports(settled)
        if before is not None and _moved(before, settled):
            report("A port of before is taken by something else: choosing another")
    return settled


def _up_database(place: Place, kept: Ports, report: Report) -> str:
    port = kept.database
    if _runs(postgres.process(place.folder)):
        postgres.wait_ready(place.folder)
        report(f"PostgreSQL is running on port {port}")
    else:
        if not place.folder.cluster.exists():
            report(f"Creating the database in {place.folder.cluster}")
        postgres.prepare(place)
        postgres.start(place, port=port, memory_bytes=_memory_bytes())
        report(f"Started PostgreSQL on port {port}")
    postgres.create_database(place.folder, port)
    return postgres.url(place.folder, port)


def _up_broker(place: Place, kept: Ports, report: Report, *, persistence: bool) -> None:
    if _runs(mosquitto.process(place.folder)):
        has_changed = security.settle_certificate(place, certified_names(kept.listen), report=report)
        if not has_changed and not mosquitto.is_outdated(place, kept):
            mosquitto.wait_ready(place.folder, kept.broker)
            report(f"Mosquitto is running on port {kept.broker}, for agents on {kept.agents}")
            return
        report("Mosquitto starts anew, with other settings or another certificate")
        mosquitto.stop(place.folder)
    mosquitto.start(place, kept, persistence=persistence, report=report)
    report(f"Started Mosquitto on port {kept.broker}, for agents on {kept.agents}")


def _given_endpoints(given: GivenServers, database_url: str, broker_url: str) -> Endpoints:
    """With a broker of somebody else's: where agents are told to go is theirs to say, too."""
    return Endpoints(
        database_url=database_url,
        broker_url=broker_url,
        agent_broker_url=given.agent_broker_url,
        authority_dir=given.authority_dir,
    )


def _own_endpoints(given: GivenServers, folder: DataFolder, kept: Ports, database_url: str) -> Endpoints:
    own = None if kept.agents is None else agent_url(kept.listen, kept.agents)
    return Endpoints(
        database_url=database_url,
        broker_url=mosquitto.url(folder, kept.broker),
        agent_broker_url=given.agent_broker_url or own,
        authority_dir=given.authority_dir or folder.authority,
    )


def _moved(before: Ports, settled: Ports) -> bool:
    """Whether a port that somebody knows is another now."""
    return (before.database, before.broker) != (settled.database, settled.broker) or (
        before.agents not in {None, settled.agents}
    )


def _stop(folder: DataFolder, report: Report) -> None:
    """The broker first: what it holds for a collector is saved before the collector's database goes."""
    stopped_broker = mosquitto.stop(folder)
    stopped_database = postgres.stop(folder)
    report("Stopped Mosquitto" if stopped_broker else "Mosquitto was not running")
    report("Stopped PostgreSQL" if stopped_database else "PostgreSQL was not running")


@contextlib.contextmanager
def _existing(data_dir: Path | None, report: Report) -> Iterator[DataFolder | None]:
    """The locked data folder, or None where no stack ever was; refuses one that holds something else."""
    folder = folders.data_folder(data_dir)
    folders.refuse_foreign(folder)
    if not folder.exists():
        report(f"There is no stack in {folder.path}")
        yield None
        return
    with folders.locked(folder.path, report=report):
        yield folder


@contextlib.contextmanager
def _restarting(data_dir: Path | None, report: Report) -> Iterator[tuple[Place, Ports]]:
    with _existing(data_dir, report) as folder:
        kept = folder.ports() if folder else None
        ready = runtime.find()
        if folder is None or kept is None or ready is None:
            raise StackTransientError("The stack was never up here. Start it: afkobling stack up")
        yield Place(runtime=ready, folder=folder, account=server_account()), kept


def _require_free(port: int) -> None:
    if not ports.becomes_free(port, timeout_s=5):
        raise StackTransientError(f"Something else listens on port {port} now. `afkobling stack up` chooses another.")


def _runs(process: psutil.Process | None) -> bool:
    return process is not None and is_alive(process)


def _memory_bytes() -> int:
    """The memory that this machine, or the container's limit, leaves us."""
    total = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):
        # "max" where there is no limit: a ValueError.
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")
        return min(total, int(limit))
    return total
