"""Who vouches for agents: a root for this installation, and below it an authority for each organisation.

The broker trusts the root alone, whose key signs authorities and the broker's own certificate; each organisation's
authority signs its agents, and what they are told to run. All keys stay in one folder of the server, for its
user only: whoever has them can be any agent.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from api.errors import ApiError
from schemas.enrolment import address_uri, username
from schemas.errors import PermanentError
from schemas.topics import AgentAddress

_AUTHORITY_DAYS = 365 * 25
"""An agent is trusted for ten years and more; its own certificate is short-lived."""
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What reading somebody's certificate, or request for one, raises."""
_BACKDATED = timedelta(minutes=5)
"""A device whose clock is a little behind takes its certificate all the same."""


class AuthorityError(ApiError, PermanentError):
    """An authority's file cannot be read, written or used; the message says which."""


class BadRequestError(ApiError, PermanentError):
    """What an agent sent is no request for a certificate that can be signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with those above it up to the root, which is left out, as PEM."""

    chain: str
    serial: int
    not_before: datetime
    not_after: datetime


class Authority:
    """One key and its certificate. Made when it is first asked for; reading it again gives the same."""

    def __init__(self, folder: Path, name: str, *, now: datetime, issuer: Authority | None = None) -> None:
        """Open or make the authority `name` in `folder`. Without `issuer` it is a root. Raises AuthorityError."""
        self._key_file, self._certificate_file = folder / "key.pem", folder / "certificate.pem"
        self._issuer = issuer
        try:
            if not self._certificate_file.exists():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with _alone(folder):
                    if not self._certificate_file.exists():
                        self._make(name, now)
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
            self.certificate = x509.load_pem_x509_certificate(self._certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise AuthorityError(
                f"the authority in {folder} cannot be used: {error}; check the folder and its rights, or bring its "
                "files back from a backup"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self.certificate.public_key():
            raise AuthorityError(f"{self._key_file} is not the key of {self._certificate_file}; bring both back")
        if issuer is not None and not issuer.has_issued(self.certificate):
            raise AuthorityError(
                f"{self._certificate_file} was not signed by the root beside it; bring both back from the same backup"
            )
        self._key = key

    @property
    def pem(self) -> str:
        """Its certificate."""
        return _pem(self.certificate)

    @property
    def root(self) -> Authority:
        """The one at the top, which may be itself."""
        return self if self._issuer is None else self._issuer.root

    def sign(self, data: bytes) -> str:
        """ECDSA with SHA-256, base64."""
        return base64.b64encode(self._key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    def issue_agent(self, csr_pem: str, address: AgentAddress, *, now: datetime, valid: timedelta) -> Issued:
        """A client certificate for the key of a request. What the request says of itself is ignored.

        Raises BadRequestError.
        """
        try:
            request = x509.load_pem_x509_csr(csr_pem.encode())
            public_key = request.public_key()
            is_signed = request.is_signature_valid
        except UNREADABLE as error:
            raise BadRequestError(f"the request for a certificate cannot be read: {error}") from error
        except InvalidSignature:
            is_signed = False
        if not is_signed:
            raise BadRequestError("the request for a certificate is not signed by its own key")
        if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.key_size < 256:
            raise BadRequestError("an agent's key is one of an elliptic curve with 256 bits or more")
        serial = x509.random_serial_number()
        return self._issue(
            public_key,
            _named(username(address, serial), organisation=address.organisation),
            serial=serial,
            now=now,
            valid=valid,
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            names=[x509.UniformResourceIdentifier(address_uri(address))],
        )

    def issue_server(self, key: ec.EllipticCurvePublicKey, names: Sequence[str], *, now: datetime) -> Issued:
        """A certificate for a server that is reached under these names and addresses, for 800 days."""
        return self._issue(
            key,
            _named(names[0]),
            serial=x509.random_serial_number(),
            now=now,
            valid=timedelta(days=800),
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            names=[_general_name(name) for name in names],
        )

    def issue_server_agent(self, key: ec.EllipticCurvePublicKey, name: str, *, now: datetime) -> Issued:
        """A client certificate for one of our own servers, such as a collector beside a broker elsewhere."""
        return self._issue(
            key,
            _named(name),
            serial=x509.random_serial_number(),
            now=now,
            valid=timedelta(days=800),
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
        )

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Whether this authority's key signed the certificate. Says nothing of its dates."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        *,
        serial: int,
        now: datetime,
        valid: timedelta,
        usage: x509.ObjectIdentifier,
        names: Sequence[x509.GeneralName] = (),
    ) -> Issued:
        builder = _builder(public_key, subject, self.certificate.subject, serial=serial, now=now, valid=valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(is_authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        chain = _pem(certificate) + ("" if self._issuer is None else self.pem)
        return Issued(
            chain=chain,
            serial=serial,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def _make(self, name: str, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._issuer
        subject = _named(name)
        builder = _builder(
            key.public_key(),
            subject,
            issuer.certificate.subject if issuer else subject,
            serial=x509.random_serial_number(),
            now=now,
            valid=timedelta(days=_AUTHORITY_DAYS),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0 if issuer else 1), critical=True)
        builder = builder.add_extension(_key_usage(is_authority=True), critical=True)
        signer = issuer._key if issuer else key  # noqa: SLF001 - of the same class
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        _write(self._key_file, key_pem(key))
        # Last: where it stands, both are whole.
        _write(self._certificate_file, _pem(builder.sign(signer, hashes.SHA256())))


class Authorities:
    """All of one installation, in one folder."""

    def __init__(self, folder: Path, *, now: datetime) -> None:
        """Raises AuthorityError."""
        self._folder = folder
        self.root = Authority(folder / "root", "Afkobling root", now=now)

    def of(self, organisation: str, *, now: datetime) -> Authority:
        """The authority of an organisation, made when it is first asked for. Raises AuthorityError."""
        return Authority(
            self._folder / "organisations" / organisation,
            # No words around it: a common name has 64 characters at most, and a key 63.
            organisation,
            now=now,
            issuer=self.root,
        )


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as PEM, not encrypted: the file's rights protect it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A server and a command may ask for the same authority at the same moment: one of them makes it."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and for its user alone."""
    beside = file.with_suffix(".new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as sink:
        sink.write(text)
        sink.flush()
        os.fsync(sink.fileno())
    beside.replace(file)


def _builder(
    public_key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    *,
    serial: int,
    now: datetime,
    valid: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _named(common_name: str, *, organisation: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation is not None:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
