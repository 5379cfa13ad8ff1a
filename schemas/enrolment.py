"""How an agent gets its certificate: what is said over HTTP, and the bytes that each side vouches for.

A code is worth one enrolment and carries a secret that never travels: the agent proves with an HMAC over its request
that it knows it, and the answer is proven the same way. So whoever listens on a plain HTTP connection in a factory can
neither use the code nor pass off an authority or a broker of his own. The agent's key never leaves the device.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

from schemas.topics import AgentAddress, Key
from schemas.wire import Instant

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing in it is mistaken for something else."""
_ID_LENGTH, _SECRET_LENGTH = 6, 24
_READ_AS = str.maketrans(
    {"O": "0", "I": "1", "L": "1", **dict.fromkeys("- \u2010\u2011\u2012\u2013\u2014\u2212\u00a0", "")}
)
"""Typed sloppily, and with the dashes that a chat or a text program makes of ours."""
_CODE = re.compile(rf"[{_ALPHABET}]{{{_ID_LENGTH + _SECRET_LENGTH}}}")

Pem = Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=r"^-----BEGIN ")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2,256}$")]
CodeId = Annotated[str, StringConstraints(pattern=rf"^[{_ALPHABET}]{{{_ID_LENGTH}}}$")]


class BadCodeError(ValueError):
    """What was given is not an enrolment code; the message says what one looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """Where to enrol, which invitation, and its secret (120 bits). `str()` is what a technician pastes."""

    server: str
    code_id: str
    secret: str

    def __str__(self) -> str:
        text = self.code_id + self.secret
        return f"{self.server}#" + "-".join(text[i : i + 5] for i in range(0, len(text), 5))

    def __repr__(self) -> str:
        return f"EnrolmentCode(server={self.server!r}, code_id={self.code_id!r})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what was pasted or typed. Raises BadCodeError."""
        server, sharp, code = text.strip().rpartition("#")
        said = code.upper().translate(_READ_AS)
        if not sharp or not server.startswith(("http://", "https://")) or not _CODE.fullmatch(said):
            raise BadCodeError(
                "this is no enrolment code; one looks like http://192.168.1.5:8000#7KQ2M-4X9AB-… "
                "(`afkobling agent invite` makes one); paste it whole, in quotes"
            )
        return cls(server=server.rstrip("/"), code_id=said[:_ID_LENGTH], secret=said[_ID_LENGTH:])

    @classmethod
    def make(cls, server: str, *, choose: Callable[[str], str]) -> Self:
        """A new code. `choose` picks one of the characters at random, as `secrets.choice` does."""
        text = "".join(choose(_ALPHABET) for _ in range(_ID_LENGTH + _SECRET_LENGTH))
        return cls(server=server.rstrip("/"), code_id=text[:_ID_LENGTH], secret=text[_ID_LENGTH:])


def proof_key(secret: str) -> bytes:
    """What the server keeps of a code's secret until it is used or expires."""
    return hashlib.sha256(b"afkobling enrolment key v1\n" + secret.encode()).digest()


def prove(key: bytes, what: str, data: bytes) -> str:
    """HMAC-SHA256 in hex that whoever says `data` as `what` knows the code."""
    return hmac.new(key, f"afkobling {what} v1\n".encode() + data, hashlib.sha256).hexdigest()


def is_proven(key: bytes, what: str, data: bytes, proof: str) -> bool:
    """Whether `prove` gave this proof; takes as long whatever the answer."""
    return hmac.compare_digest(prove(key, what, data), proof)


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EnrolmentRequest(_Said):
    """POST /v1/enrolments. `proof` is `prove(key, "request", csr as it stands here)`."""

    code_id: CodeId
    csr: Pem
    proof: Hex


class Enrolled(_Said):
    """What an agent is from now on.

    `certificate`: its own, then its organisation's authority's. `authority`: the root that both lead to.
    """

    organisation: Key
    site: Key
    agent: Key
    certificate: Pem
    authority: Pem
    broker: str
    not_after: Instant

    @property
    def address(self) -> AgentAddress:
        return AgentAddress(organisation=self.organisation, site=self.site, agent=self.agent)


class EnrolmentAnswer(_Said):
    """`enrolled` is the JSON of an `Enrolled`; `proof` is `prove(key, "answer", enrolled)` over exactly that text."""

    enrolled: str
    proof: Hex


class RenewalRequest(_Said):
    """POST /v1/renewals. `certificate` is the agent's own of now.

    `signature` (base64, ECDSA with SHA-256) is of `renewal_bytes(csr)`, by that certificate's key.
    """

    certificate: Pem
    csr: Pem
    signature: str


class RenewalAnswer(_Said):
    """The new certificate, as in `Enrolled`. The agent takes it only when it leads to the root that it knows."""

    certificate: Pem
    not_after: Instant


def renewal_bytes(csr: str) -> bytes:
    """What the agent signs with the key that it has, to get a certificate for the next one."""
    return b"afkobling renewal v1\n" + csr.encode()


def username(address: AgentAddress, serial: int) -> str:
    """A certificate's common name, which is the agent's name at the broker: 64 characters at most.

    With the serial number in it, a certificate that was revoked stays so when the agent enrols anew. What it may say
    and hear stands in the broker's access list; the name is for whoever reads the broker's log.
    """
    return f"{address.agent[:20]}:{serial:040x}"


def address_uri(address: AgentAddress) -> str:
    """Who a certificate is for, in its alternative names."""
    return f"urn:afkobling:{address}"
