"""The agent's key, its request for a certificate, and whether what came back is what it should be."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.errors import EdgePermanentError, EdgeTransientError
from schemas.enrolment import address_uri, renewal_bytes
from schemas.topics import AgentAddress

_BACKDATED = timedelta(minutes=5)
"""The authority dates a certificate back by as much."""


class BadCertificateError(EdgePermanentError):
    """What came back is no certificate for this agent and key."""


class WrongClockError(EdgeTransientError):
    """By this device's clock the certificate is not valid now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A new key, and the request that goes with it. Both as PEM."""

    key: str
    csr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """When a certificate was issued, by the server's clock, and until when it is valid, as the authority signed it."""

    issued_at: datetime
    until: datetime


def make_request() -> Request:
    """A key of the curve P-256 and a request that says nothing of the agent: the code, or the key before, does."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return Request(
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        csr=csr.public_bytes(serialization.Encoding.PEM).decode(),
    )


def sign_renewal(key_pem: str, csr: str) -> str:
    """The proof of having the key. Raises BadCertificateError for what is no key."""
    return base64.b64encode(_key(key_pem).sign(renewal_bytes(csr), ec.ECDSA(hashes.SHA256()))).decode()


def check_chain(chain_pem: str, root_pem: str, key_pem: str, address: AgentAddress, *, now: datetime) -> Term:
    """From when to when the certificate is valid.

    It must be for this key and this agent, signed by an authority that the root signed. Raises BadCertificateError, and
    WrongClockError for a certificate that is all right but for the clock.
    """
    try:
        own, *above = x509.load_pem_x509_certificates(chain_pem.encode())
        root = x509.load_pem_x509_certificate(root_pem.encode())
        for lower, upper in zip([own, *above], [*above, root], strict=True):
            lower.verify_directly_issued_by(upper)
            if not upper.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise BadCertificateError("a certificate was signed by one that is no authority; nothing was changed")
        root.verify_directly_issued_by(root)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise BadCertificateError(
            "the certificate does not lead to the server's root; nothing was changed. Is this still the same server? "
            "After its authority was made anew, every agent is enrolled anew"
        ) from error
    if own.public_key() != _key(key_pem).public_key():
        raise BadCertificateError("the certificate is for another key than this device's; nothing was changed")
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [address_uri(address)]:
        raise BadCertificateError(f"the certificate is not for {address}; nothing was changed")
    if not own.not_valid_before_utc <= now < own.not_valid_after_utc:
        raise WrongClockError(
            f"this device's clock says {_minute(now)}, while the certificate was issued at about "
            f"{_minute(own.not_valid_before_utc + _BACKDATED)}; set the clock (`timedatectl`), and give the same "
            "command again: the code stays good for this device until it expires"
        )
    return Term(issued_at=own.not_valid_before_utc + _BACKDATED, until=own.not_valid_after_utc)


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:
        raise BadCertificateError("the agent's key is damaged; enrol the agent anew with a code") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadCertificateError("the agent's key is of another kind; enrol the agent anew with a code")
    return key


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
