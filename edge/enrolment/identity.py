"""Who the agent is: four files in one folder, which change together or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.durable_files import sync_folder, write_durably
from edge.errors import EdgePermanentError
from schemas.topics import AgentAddress, Key
from schemas.wire import Instant

KEY, CERTIFICATE, AUTHORITY, IDENTITY = "key.pem", "certificate.pem", "authority.pem", "identity.json"
PRIVATE = 0o600
_ALL = (IDENTITY, AUTHORITY, CERTIFICATE, KEY)
_COMING, _ARRIVED, _LOCK = ".identity-coming", ".identity-arrived", ".identity-lock"


class IdentityError(EdgePermanentError):
    """The files cannot be read or written; the message says which, and what to do."""


class AgentIdentity(BaseModel):
    """identity.json: what the certificate says, and where the next one comes from. Instants: Unix milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organisation: Key
    site: Key
    agent: Key
    server: str
    broker: str
    issued_at: Instant
    not_after: Instant

    @property
    def address(self) -> AgentAddress:
        return AgentAddress(organisation=self.organisation, site=self.site, agent=self.agent)

    def left_ms(self, now_ms: int) -> int:
        """What is left of the certificate; negative when it has expired."""
        return self.not_after - now_ms

    def is_due(self, now_ms: int) -> bool:
        """Whether it is time to renew: in the last third."""
        return self.left_ms(now_ms) * 3 <= self.not_after - self.issued_at


def read_identity(folder: Path) -> AgentIdentity | None:
    """Who the folder's files make the agent; None where it was not enrolled. Raises IdentityError."""
    file = folder / IDENTITY
    try:
        return AgentIdentity.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{file} cannot be read: {error.strerror}; check its rights") from error
    except ValidationError as error:
        raise IdentityError(
            f"{file} is damaged; bring it back from {folder}/former-…, or enrol the agent anew with a code "
            "(`afkobling edge enrol`)"
        ) from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else enrols or renews in this folder meanwhile, and what was broken off before is finished.

    Raises IdentityError when one cannot write there.
    """
    with contextlib.ExitStack() as ends:
        with _writing(folder):
            ends.enter_context(as_owner(next(one for one in (folder, *folder.parents) if one.is_dir())))
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        ends.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        _finish(folder)
        yield


def finish(folder: Path) -> None:
    """After a loss of power in the middle of a change: the rest of it. Raises IdentityError."""
    if (folder / _ARRIVED).is_dir():
        with held(folder):
            pass


def _finish(folder: Path) -> None:
    arrived = folder / _ARRIVED
    if not arrived.is_dir():
        return
    with _writing(folder):
        for name in _ALL:
            with contextlib.suppress(FileNotFoundError):
                (arrived / name).replace(folder / name)
        sync_folder(folder)
        shutil.rmtree(arrived)


def install(folder: Path, texts: Mapping[str, str]) -> None:
    """Put these files in the place of those that are there: all of them, whatever happens. Call it while `held`.

    Raises IdentityError, with everything as it was.
    """
    coming = folder / _COMING
    with _writing(folder):
        shutil.rmtree(coming, ignore_errors=True)
        coming.mkdir(mode=0o700)
        for name, text in texts.items():
            write_durably(coming / name, text, mode=PRIVATE)
        sync_folder(coming)
        # From here on it is done, and only to be finished.
        coming.replace(folder / _ARRIVED)
        sync_folder(folder)
    _finish(folder)


def keep_aside(folder: Path, *, stamp: str) -> Path | None:
    """Copy the files of an earlier enrolment to a folder beside them, and tell which. Raises IdentityError."""
    there = [folder / name for name in _ALL if (folder / name).exists()]
    if not there:
        return None
    aside = folder / f"former-{stamp}"
    with _writing(folder):
        aside.mkdir(mode=0o700, exist_ok=True)
        for file in there:
            # As it is: one that is damaged is a reason to enrol anew.
            write_durably(aside / file.name, file.read_bytes(), mode=PRIVATE)
    return aside


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Root becomes whom the folder belongs to: the files are the agent's, and a link that its account has put there
    leads nowhere that the account may not go itself. The whole process does: this is for commands. For anybody else,
    nothing. Raises OSError.
    """
    if os.geteuid() != 0:
        yield
        return
    owner, group, groups = folder.stat(), os.getegid(), os.getgroups()
    with contextlib.ExitStack() as back:
        if owner.st_uid != 0:  # some containers do not allow it, and root's own folder needs it not
            back.callback(os.setgroups, groups)
            os.setgroups([])
        back.callback(os.setegid, group)
        os.setegid(owner.st_gid)
        back.callback(os.seteuid, 0)
        os.seteuid(owner.st_uid)
        yield


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IdentityError(
            f"{folder} cannot be written ({error.strerror}); use the account that the agent runs as (or sudo), or name "
            "another folder with --folder"
        ) from error
