"""The agent's own certificate for OPC UA: made on the device, trusted by hand at each server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.errors import EdgePermanentError

_DAYS = 3_650
"""A machine that nobody looks after must not stop on a birthday of its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The certificate (DER), its key (PEM), and the application URI that the certificate states."""

    certificate: bytes
    key: bytes
    application_uri: str
    is_new: bool = False


def check_files(certificate: Path, key: Path, server_certificate: Path | None) -> None:
    """Raises EdgePermanentError when one of the pair is missing, or the server's certificate is."""
    if certificate.exists() != key.exists():
        missing, there = (key, certificate) if certificate.exists() else (certificate, key)
        raise EdgePermanentError(
            f"{there} is there and {missing} is not; they belong together: give both, or remove both"
        )
    if server_certificate is not None and not server_certificate.is_file():
        raise EdgePermanentError(f"there is no file {server_certificate}; export the certificate from the server")


def find_or_make_identity(certificate: Path, key: Path, *, agent: str) -> Identity:
    """The pair of files; made when neither is there. Raises EdgePermanentError that says what cannot be used."""
    check_files(certificate, key, None)
    is_new = not certificate.exists()
    try:
        if is_new:
            _make(certificate, key, uri=f"urn:afkobling:{agent}")
        found = _read(certificate)
        pem = key.read_bytes()
        private = load_pem_private_key(pem, password=None)
    except (OSError, ValueError, TypeError) as error:
        raise EdgePermanentError(
            f"{certificate} and {key} cannot be used ({error}); give an X.509 certificate and its PEM key without a "
            "password, or remove both to have new ones made"
        ) from error
    if _spki(private.public_key()) != _spki(found.public_key()):
        raise EdgePermanentError(f"{key} is not the key of {certificate}; give the one that it was made with")
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if not uris:
        raise EdgePermanentError(
            f"{certificate} states no application URI (subject alternative name), which OPC UA servers ask for; "
            "remove it and its key to have new ones made"
        )
    return Identity(certificate=found.public_bytes(Encoding.DER), key=pem, application_uri=str(uris[0]), is_new=is_new)


def read_server_certificate(path: Path) -> bytes:
    """The certificate, DER. Raises EdgePermanentError."""
    try:
        return _read(path).public_bytes(Encoding.DER)
    except (OSError, ValueError) as error:
        raise EdgePermanentError(f"{path} is not a certificate ({error}); export it from the server again") from error


def _read(path: Path) -> x509.Certificate:
    data = path.read_bytes()
    return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _make(certificate: Path, key: Path, *, uri: str) -> None:
    from asyncua.crypto.cert_gen import (  # noqa: PLC0415 - only who secures a connection pays for it
        dump_private_key_as_pem,
        generate_private_key,
        generate_self_signed_app_certificate,
    )

    private = generate_private_key()
    made = generate_self_signed_app_certificate(
        private, uri, {}, [x509.UniformResourceIdentifier(uri)], [ExtendedKeyUsageOID.CLIENT_AUTH], days=_DAYS
    )
    key.parent.mkdir(parents=True, exist_ok=True)
    certificate.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(dump_private_key_as_pem(private))
    certificate.write_bytes(made.public_bytes(Encoding.DER))
