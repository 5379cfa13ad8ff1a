"""Looks at one signature and ends: `python -m edge.care.verifying` reads what to look at from standard input."""

from __future__ import annotations

import base64
import binascii
import json
import sys

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec


def why_not(data: bytes, signature: str, *, chain: str, root: str) -> str | None:
    """Why the authority of `chain` did not sign the data; None when it did.

    The chain is the agent's own certificate and then its organisation's authority, which leads to the root. An
    authority of another organisation leads there too, and is none of ours: only the one that signed the agent counts.
    Dates say nothing here: the broker's connection, which the same files stand for, has looked at them.
    """
    try:
        own, authority = x509.load_pem_x509_certificates(chain.encode())[:2]
        top = x509.load_pem_x509_certificate(root.encode())
        own.verify_directly_issued_by(authority)
        authority.verify_directly_issued_by(top)
        is_authority = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        key = authority.public_key()
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        is_authority, key = False, None
    if not is_authority or not isinstance(key, ec.EllipticCurvePublicKey):
        return "this agent's certificates do not name its organisation's authority; enrol it anew with a code"
    try:
        key.verify(base64.b64decode(signature, validate=True), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return (
            "it is not signed by the authority of this agent's organisation, for this agent: somebody else sent it, or "
            "it was meant for another agent"
        )
    return None


def main() -> int:
    """Status 0 when the signature is good; else 1, and why on standard error."""
    asked = json.load(sys.stdin.buffer)
    why = why_not(asked["data"].encode(), asked["signature"], chain=asked["chain"], root=asked["root"])
    if why is not None:
        print(why, file=sys.stderr)  # noqa: T201 - the agent reads it
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
