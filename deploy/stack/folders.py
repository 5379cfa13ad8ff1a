"""Where the runtime and the data of the local stack live, and who may touch them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import platformdirs

from deploy.stack.errors import StackPermanentError, StackTransientError
from deploy.stack.processes import Account, run

_MARKER = "afkobling-stack.json"
_KIND = "data folder of an afkobling stack"
_ROOTS_HOME = Path("/var/lib/afkobling")
# These names pass through PostgreSQL's shell command line and both configuration files.
_PLAIN_PATH = re.compile(r"[\w./ +@%:,=~-]+")


LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of the two servers: loopback, but for `agents`, which the broker serves at the address `listen`.

    `agents` is None in a stack that was made before agents had certificates, until the next `stack up`.
    """

    database: int
    broker: int
    agents: int | None = None
    listen: str = LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """The places inside one data folder. Existing or not: looking does not create anything."""

    path: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.path / "postgres"

    @property
    def database_settings(self) -> Path:
        """The PostgreSQL configuration that we render at each start."""
        return self.path / "postgresql.conf"

    @property
    def password_file(self) -> Path:
        """The database password, readable by its owner only."""
        return self.path / "password"

    @property
    def broker_settings(self) -> Path:
        """The Mosquitto configuration that we render at each start."""
        return self.path / "mosquitto.conf"

    @property
    def broker_store(self) -> Path:
        """Where Mosquitto keeps sessions, retained and queued messages."""
        return self.path / "mosquitto"

    @property
    def broker_password_file(self) -> Path:
        """The password of our own servers at the broker, readable by its owner only."""
        return self.path / "broker-password"

    @property
    def broker_security(self) -> Path:
        """What Mosquitto itself knows of who may come in: its certificate, the root's, and its access list."""
        return self.path / "mosquitto-security"

    @property
    def authority(self) -> Path:
        """The keys that vouch for agents and for the broker; readable by their owner only."""
        return self.path / "authority"

    @property
    def logs(self) -> Path:
        """The folder of both servers' logs."""
        return self.path / "log"

    def archive(self, database: str) -> Path:
        """The folder of a database's archive, where nobody chose another."""
        return self.path / "archive" / quote(database, safe="")

    def exists(self) -> bool:
        """Whether this is a stack's data folder, told by its marker file."""
        return _read_marker(self.path) is not None

    def ports(self) -> Ports | None:
        """The ports chosen at the first start, or None before it."""
        marker = _read_marker(self.path) or {}
        database, broker = marker.get("database_port"), marker.get("broker_port")
        agents, listen = marker.get("agents_port"), marker.get("agents_listen")
        if isinstance(database, int) and isinstance(broker, int):
            return Ports(
                database=database,
                broker=broker,
                agents=agents if isinstance(agents, int) else None,
                listen=listen if isinstance(listen, str) else LOOPBACK,
            )
        return None

    def keep_ports(self, ports: Ports) -> None:
        """Write the marker with the ports, whole or not at all."""
        marker = {
            "kind": _KIND,
            "database_port": ports.database,
            "broker_port": ports.broker,
            "agents_port": ports.agents,
            "agents_listen": ports.listen,
        }
        write_whole(self.path / _MARKER, json.dumps(marker, indent=2) + "\n")


def runtime_dir() -> Path:
    """The folder of private runtimes: AFKOBLING_RUNTIME_DIR, or the default of this user."""
    chosen = os.environ.get("AFKOBLING_RUNTIME_DIR")
    return _absolute(Path(chosen) if chosen else _home() / "runtime")


def data_folder(data_dir: Path | None = None) -> DataFolder:
    """The data folder asked for, else AFKOBLING_DATA_DIR, else the default of this user. Creates nothing."""
    chosen = data_dir or os.environ.get("AFKOBLING_DATA_DIR")
    return DataFolder(path=_absolute(Path(chosen) if chosen else _home() / "stack"))


def prepare(folder: DataFolder, account: Account) -> None:
    """Create the data folder and its marker, so that the servers' account can work in it.

    Raises StackPermanentError when it holds something else, or lies where the account cannot reach it.
    """
    if not _PLAIN_PATH.fullmatch(str(folder.path)):
        raise StackPermanentError(
            f"The data folder {str(folder.path)!r} has characters in its name that the servers' configuration"
            " cannot carry (quotes, dollar signs or the like). Choose another with --data."
        )
    refuse_foreign(folder)
    try:
        make_public(folder.path)
        if not folder.exists():
            write_whole(folder.path / _MARKER, json.dumps({"kind": _KIND}) + "\n")
        for inner in (folder.broker_store, folder.broker_security, folder.logs):
            inner.mkdir(mode=0o700, exist_ok=True)
            _refuse_anothers(inner, account)
            own(inner, account)
    except PermissionError as error:
        raise StackPermanentError(
            f"The data folder {folder.path} cannot be written: {error.strerror}. Choose another with --data, or"
            " run the command as the user who created it."
        ) from error
    require_reach(folder.path, account, what="data folder", remedy="--data")


def refuse_foreign(folder: DataFolder) -> None:
    """Raise StackPermanentError when the folder holds something that is not a stack's."""
    if not folder.path.exists():
        return
    # The marker is looked for after the rest: another command may be at its first steps in here.
    harmless = folder.path.is_dir() and all(
        entry.name == "lock" or entry.name.startswith(f".{_MARKER}") for entry in folder.path.iterdir()
    )
    if not harmless and not folder.exists():
        raise StackPermanentError(
            f"{folder.path} is not the data folder of an afkobling stack (it has no {_MARKER}), so it is left"
            " alone. Give an empty or a new folder with --data."
        )


def require_reach(path: Path, account: Account, *, what: str, remedy: str) -> None:
    """Raise StackPermanentError when the account that servers run under cannot enter `path`."""
    if account.is_me():
        return
    # Asked as that account, rather than worked out from mode bits: access lists count too.
    if run(["test", "-r", path, "-a", "-x", path], account=account, timeout_s=20).returncode != 0:
        raise StackPermanentError(
            f"The {what} {path} cannot be reached by the account `{account.name}`, which the servers run under"
            " because PostgreSQL refuses root: a folder above it is closed. Choose one with"
            f" {remedy} below folders that everybody may enter, such as /var/lib."
        )


def delete(folder: DataFolder) -> None:
    """Delete a stack's data folder. The marker goes last, so that a broken-off delete can be repeated."""
    if folder.cluster.exists():
        # Renamed first: half a database must never be found in the place of a whole one.
        folder.cluster.rename(scratch(folder.path, "deleting") / "cluster")
    for entry in list(folder.path.iterdir()):
        if entry.name == _MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (folder.path / _MARKER).unlink()
    # A mount point, or a folder in one that is not ours, stays, empty.
    with contextlib.suppress(OSError):
        folder.path.rmdir()


def scratch(parent: Path, purpose: str) -> Path:
    """A new folder inside `parent` for work that ends with a rename. Leftovers of the same purpose are removed."""
    for leftover in parent.glob(f"{purpose}-*"):
        remove(leftover)
    path = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=parent))
    path.chmod(0o755)
    return path


def remove(path: Path, *, timeout_s: float = 20) -> None:
    """Delete a folder and all that is in it, also while a command that outlived its killed parent still adds to it."""
    deadline = time.monotonic() + timeout_s
    while path.exists():
        try:
            shutil.rmtree(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def trouble_told(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while we work in `path` (a full disk, say) into a stack's error."""
    try:
        yield
    except OSError as error:
        raise StackTransientError(
            f"Working in {path} failed: {error}. Check the space and the permissions there, and try again."
        ) from error


def make_public(path: Path) -> None:
    """Create a folder, and those above it, that everybody may enter, whatever the umask."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)


def own(path: Path, account: Account) -> None:
    """Give `path` to the servers' account; does nothing when that is ourselves."""
    if not account.is_me():
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file's content at once: a reader or a crash sees the old or the new, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
    Path(name).replace(path)


@contextlib.contextmanager
def locked(folder: Path, *, report: Callable[[str], None], timeout_s: float = 900) -> Iterator[None]:
    """Hold the folder's lock, so that two commands never build or start the same thing at once.

    Raises StackTransientError when another one keeps it for `timeout_s`, StackPermanentError without permission.
    """
    try:
        file = (folder / "lock").open("a")
    except OSError as error:
        raise StackPermanentError(f"{folder} cannot be written: {error.strerror}.") from error
    deadline = time.monotonic() + timeout_s
    told = False
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StackTransientError(
                        f"Another afkobling command has been at work in {folder} for {timeout_s:.0f} s. Wait for"
                        " it, or end it, and try again."
                    ) from None
                if not told:
                    report(f"Waiting for another afkobling command at work in {folder}")
                    told = True
                time.sleep(0.1)
        yield


def _refuse_anothers(path: Path, account: Account) -> None:
    owner = path.stat().st_uid
    if owner not in (account.uid, os.geteuid()):
        raise StackPermanentError(
            f"The data folder {path.parent} belongs to the stack of another user (uid {owner}). Run the command as"
            " that user, or choose another folder with --data."
        )


def _home() -> Path:
    return _ROOTS_HOME if os.geteuid() == 0 else platformdirs.user_data_path("afkobling")


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def _read_marker(path: Path) -> dict[str, object] | None:
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("kind") == _KIND else None
