"""Whom the stack's broker lets in: our own servers by a password, agents by certificates and an access list."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.stack import folders
from deploy.stack.errors import StackPermanentError
from deploy.stack.folders import DataFolder
from deploy.stack.runtime import Place

if TYPE_CHECKING:
    from cryptography import x509

SERVER = "server"
"""The name of our own servers at the broker, and of their role."""
_RENEWED_BEFORE = timedelta(days=90)
# The password is random and long, so nothing is to be stretched, and the broker stands still while it checks one.
_ITERATIONS = 1_000
_EVERYTHING = ("#", "$SYS/#", "$CONTROL/dynamic-security/#")


def password(folder: DataFolder) -> str:
    """The password of our own servers. Raises StackPermanentError when its file is gone or another user's."""
    try:
        return folder.broker_password_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StackPermanentError(
            f"The broker's password in {folder.broker_password_file} cannot be read: {error.strerror}. Run the command"
            " as the user who started the stack; if the file is lost, make another: afkobling stack down, then"
            " afkobling stack up."
        ) from error


def settle_certificate(place: Place, names: Sequence[str], *, report: Callable[[str], None]) -> bool:
    """Make sure of an authority and of a certificate for the broker; whether the broker has to read a new one.

    Raises StackPermanentError when the authority cannot be used.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    from api.agents.authority import Authorities, AuthorityError, key_pem

    folder, now = place.folder, datetime.now(UTC)
    root_file, certificate_file, key_file = (
        folder.broker_security / n for n in ("root.pem", "server.pem", "server.key")
    )
    if root_file.exists() and not (folder.authority / "root" / "certificate.pem").exists():
        report(
            f"The authority in {folder.authority} is gone: agents that have certificates go on, and no other can be"
            " enrolled. Bring the folder back from a backup."
        )
        return False
    try:
        folder.authority.mkdir(mode=0o700, exist_ok=True)
        root = Authorities(folder.authority, now=now).root
    except AuthorityError as error:
        raise StackPermanentError(str(error)) from error
    with suppress(OSError, ValueError):
        if root_file.read_text(encoding="ascii") == root.pem and _will_do(certificate_file, key_file, names, now=now):
            return False
    key = ec.generate_private_key(ec.SECP256R1())
    issued = root.issue_server(key.public_key(), names, now=now)
    for file, text, mode in (
        (root_file, root.pem, 0o644),
        (key_file, key_pem(key), 0o600),
        (certificate_file, issued.chain, 0o644),
    ):
        _give(file, text, place, mode=mode)
    return True


def settle_access_list(place: Place, *, report: Callable[[str], None]) -> None:
    """Make sure of a password for our own servers, and of an access list that knows it. The broker must be down."""
    folder = place.folder
    if not folder.broker_password_file.exists():
        folders.write_whole(folder.broker_password_file, secrets.token_urlsafe(24) + "\n", mode=0o600)
    file = access_list_file(folder)
    kept: Mapping[str, Any] = {}
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            _require_lists(kept)
        except (OSError, ValueError, TypeError, KeyError) as error:
            aside = file.with_suffix(".broken")
            file.replace(aside)
            kept = {}
            report(
                f"The broker's list of agents could not be read ({error}) and is begun anew; the old one is {aside}."
                " Agents are admitted again by `afkobling agent reconcile`."
            )
    _give(file, json.dumps(access_list(kept, password(folder)), indent=1) + "\n", place, mode=0o600)


def access_list_file(folder: DataFolder) -> Path:
    """The file of Mosquitto's dynamic-security plugin, which writes it, too."""
    return folder.broker_security / "dynamic-security.json"


def access_list(kept: Mapping[str, Any], server_password: str) -> dict[str, Any]:
    """What the plugin reads: `kept`, with our own servers as they are to be; what no role allows is forbidden.

    Pure but for the salt.
    """
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", server_password.encode(), salt, _ITERATIONS, 64)
    server = {
        "username": SERVER,
        "textname": "collector, API and the other servers of this installation",
        "roles": [{"rolename": SERVER}],
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": _ITERATIONS,
    }
    allowed = [
        ("publishClientSend", _EVERYTHING),
        ("publishClientReceive", _EVERYTHING),
        ("subscribePattern", (*_EVERYTHING, "$share/#")),
    ]
    role = {
        "rolename": SERVER,
        "acls": [
            {"acltype": what, "topic": topic, "priority": 0, "allow": True}
            for what, topics in allowed
            for topic in topics
        ],
    }
    return {
        **kept,
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [server, *(one for one in kept.get("clients", ()) if one["username"] != SERVER)],
        "groups": kept.get("groups", []),
        "roles": [role, *(one for one in kept.get("roles", ()) if one["rolename"] != SERVER)],
    }


def _require_lists(kept: Mapping[str, Any]) -> None:
    """Raises KeyError or TypeError for what the plugin could not have written."""
    for what, name in (("clients", "username"), ("roles", "rolename")):
        for one in kept.get(what, ()):
            one[name]


def _will_do(certificate_file: Path, key_file: Path, names: Sequence[str], *, now: datetime) -> bool:
    """Raises OSError or ValueError for files that cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    return (
        key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc - now > _RENEWED_BEFORE
        and _names(certificate) >= set(names)
    )


def _names(certificate: x509.Certificate) -> set[str]:
    from cryptography import x509

    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def _give(file: Path, text: str, place: Place, *, mode: int) -> None:
    """Write a file that belongs to the broker's account."""
    folders.write_whole(file, text, mode=mode)
    folders.own(file, place.account)
