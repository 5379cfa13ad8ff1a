"""The broker's list of who may speak for which agent: one name a certificate, one role an agent.

The database knows which certificates are valid; the broker is told of each change, and can be brought back to what the
database says at any time. What an agent may say and hear is the same for all, under its own topic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field, field_validator

from api.errors import ApiError
from schemas.broker_tls import BrokerTlsSettings
from schemas.broker_url import parse_broker_url
from schemas.errors import PermanentError, TransientError
from schemas.topics import AgentAddress, Kind

SAYS = (Kind.READINGS, Kind.RUNS, Kind.METERS, Kind.STATUS)
"""What an agent may publish."""
HEARS = (Kind.STORED, Kind.CONFIGURATION)
"""What an agent may subscribe to."""


class BrokerAccessError(ApiError, TransientError):
    """The broker could not be told; its list is as it was, or partly changed. Telling it again is safe."""


class NoBrokerError(ApiError, PermanentError):
    """No broker is named whose list could be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """How many names a reconciliation added to the broker's list, and how many it took away."""

    admitted: int
    expelled: int


class BrokerAccess(Protocol):
    """The list as the broker keeps it. `username` is a certificate's name (`schemas.enrolment.username`).

    All of it may be done again, and raises BrokerAccessError when the broker can't be told.
    """

    @property
    def is_told(self) -> bool:
        """Whether a broker hears of changes at once; else somebody has to tell it in a way of its own."""
        ...

    async def admit(self, address: AgentAddress, username: str) -> None:
        """From now on whoever shows this certificate may speak for the agent."""
        ...

    async def expel(self, username: str) -> None:
        """From now on whoever shows this certificate may say and hear nothing; a live connection is cut."""
        ...

    async def agents(self) -> dict[str, AgentAddress]:
        """Whom the list admits, and for which agent."""
        ...

    async def reconcile(
        self, wanted: Mapping[str, AgentAddress], *, organisations: Collection[str] | None = None
    ) -> Reconciled:
        """Make the list hold exactly these, of all organisations or of some; who is no agent is left alone.

        A broker may serve several databases, each of which speaks for its own `organisations`.
        """
        ...


@dataclass(slots=True)
class MemoryBrokerAccess:
    """For tests. `is_away`: every call fails, as without a broker."""

    admitted: dict[str, AgentAddress] = field(default_factory=dict)
    is_away: bool = False

    @property
    def is_told(self) -> bool:
        return True

    async def admit(self, address: AgentAddress, username: str) -> None:
        self._require_broker()
        self.admitted[username] = address

    async def expel(self, username: str) -> None:
        self._require_broker()
        self.admitted.pop(username, None)

    async def agents(self) -> dict[str, AgentAddress]:
        self._require_broker()
        return dict(self.admitted)

    async def reconcile(
        self, wanted: Mapping[str, AgentAddress], *, organisations: Collection[str] | None = None
    ) -> Reconciled:
        self._require_broker()
        gone, new = differences(self.admitted, wanted, organisations)
        for name in gone:
            del self.admitted[name]
        self.admitted.update(new)
        return Reconciled(admitted=len(new), expelled=len(gone))

    def _require_broker(self) -> None:
        if self.is_away:
            raise BrokerAccessError("the broker is away; is it running?")


class UntoldBroker:
    """For a broker that is told in a way of its own, such as by files: nothing happens here."""

    @property
    def is_told(self) -> bool:
        return False

    async def admit(self, address: AgentAddress, username: str) -> None:
        """Nothing."""

    async def expel(self, username: str) -> None:
        """Nothing."""

    async def agents(self) -> dict[str, AgentAddress]:
        """Nobody knows."""
        return {}

    async def reconcile(
        self, wanted: Mapping[str, AgentAddress], *, organisations: Collection[str] | None = None
    ) -> Reconciled:
        """Nothing."""
        return Reconciled(admitted=0, expelled=0)


def differences(
    have: Mapping[str, AgentAddress], wanted: Mapping[str, AgentAddress], organisations: Collection[str] | None
) -> tuple[list[str], dict[str, AgentAddress]]:
    """Which names are to go from a list, and which to come to it. Pure."""
    gone = [
        name
        for name, address in have.items()
        if wanted.get(name) != address and (organisations is None or address.organisation in organisations)
    ]
    return gone, {name: address for name, address in wanted.items() if have.get(name) != address}


class Way(StrEnum):
    """How the broker's list is kept."""

    DYNAMIC_SECURITY = "dynamic-security"
    NONE = "none"


class BrokerAccessSettings(BrokerTlsSettings):
    """How to reach the broker's list, from the environment (`AFKOBLING_…`)."""

    broker_access: Annotated[
        Way,
        Field(
            description="how the broker learns which agents may speak: dynamic-security (Mosquitto's plugin), or none "
            "where it learns it in a way of its own"
        ),
    ] = Way.DYNAMIC_SECURITY
    broker_url: Annotated[
        str | None,
        Field(description="mqtt://user:password@host:port or mqtts://…, with a user who may change the list"),
    ] = None

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, url: str | None) -> str | None:
        if url is not None:
            parse_broker_url(url)
        return url


def open_broker_access(settings: BrokerAccessSettings) -> BrokerAccess:
    """The list as the settings say. Connects to nothing yet. Raises NoBrokerError."""
    if settings.broker_access is Way.NONE:
        return UntoldBroker()
    if settings.broker_url is None:
        raise NoBrokerError(
            "no broker is named whose list of agents could be kept; start the local stack (`afkobling stack up`), set "
            "AFKOBLING_BROKER_URL, or AFKOBLING_BROKER_ACCESS=none where the broker learns it in a way of its own"
        )
    from api.agents.dynamic_security import DynamicSecurity  # noqa: PLC0415 - its library, only where it is used

    return DynamicSecurity(parse_broker_url(settings.broker_url), settings.broker_tls)
