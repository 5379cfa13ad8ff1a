"""What it takes to let agents in: the authority that signs, and the broker's list of who is let in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

from api.agents import store
from api.agents.authority import Authorities, Authority, AuthorityError
from api.agents.broker_access import BrokerAccess, NoBrokerError, open_broker_access
from api.agents.settings import AgentSettings
from api.database import Connection
from api.problems import ProblemError
from schemas.broker_tls import BrokerTlsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """`broker`: its address as agents are told it. `valid`: for how long a certificate is issued.

    `access` is None where the broker cannot be told, and `no_access` says why.
    """

    authority_dir: Path | None
    access: BrokerAccess | None
    no_access: str
    broker: str | None
    valid: timedelta

    def the_broker(self) -> str:
        """Raises a 503 problem where nobody said it."""
        if self.broker is None:
            raise unavailable("the server does not know the broker as agents reach it; set AFKOBLING_AGENT_BROKER_URL")
        return self.broker

    def the_access(self) -> BrokerAccess:
        """Raises a 503 problem where there is none."""
        if self.access is None:
            raise unavailable(self.no_access)
        return self.access

    async def authority_of(self, organisation: str) -> Authority:
        """The one that signs the agents of an organisation, below a root that is there. Raises a 503 problem."""
        folder = self._folder()
        if not _has_root(folder):
            raise unavailable(
                f"there is no authority in {folder}; `afkobling agent invite` on the server makes one, unless agents "
                "have certificates of it already: then bring the folder back from a backup"
            )
        try:
            return await asyncio.to_thread(_open, folder, organisation)
        except AuthorityError as error:
            raise unavailable(str(error)) from error

    async def prepare(self, connection: Connection, organisation: str) -> None:
        """Make the authority where there never was one. Raises a 503 problem when agents could not be enrolled."""
        self.the_broker()
        self.the_access()
        folder = self._folder()
        if not _has_root(folder):
            if await store.has_valid_certificates(connection):
                raise unavailable(
                    f"the authority in {folder} is gone, while agents have certificates of it; bring the folder back "
                    "from a backup. Without one, revoke all agents (`afkobling agent revoke`), and invite them anew"
                )
            try:
                await asyncio.to_thread(_open, folder, organisation)
            except AuthorityError as error:
                raise unavailable(str(error)) from error
        await self.authority_of(organisation)

    def _folder(self) -> Path:
        if self.authority_dir is None:
            raise unavailable("agents cannot be enrolled here: set AFKOBLING_AUTHORITY_DIR (docs/enrolment.md)")
        return self.authority_dir


def make_trust(settings: AgentSettings) -> Trust:
    """As the settings say it. Nothing is connected to; what is missing is told when it is needed."""
    access, no_access = None, ""
    try:
        access = open_broker_access(settings)
    except (NoBrokerError, BrokerTlsError) as error:
        no_access = str(error)
    return Trust(
        authority_dir=settings.authority_dir,
        access=access,
        no_access=no_access,
        broker=settings.agent_broker_url,
        valid=timedelta(days=settings.certificate_days),
    )


def unavailable(detail: str) -> ProblemError:
    """A 503 problem: what it takes to enrol agents is not there."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "agents-unavailable", detail, headers={"Retry-After": "30"})


def _has_root(folder: Path) -> bool:
    try:
        return (folder / "root" / "certificate.pem").exists()
    except OSError as error:
        raise unavailable(
            f"the authority in {folder} cannot be read ({error.strerror}); use the account that it belongs to, which "
            "is the API's"
        ) from error


def _open(folder: Path, organisation: str) -> Authority:
    now = datetime.now(UTC)
    return Authorities(folder, now=now).of(organisation, now=now)
