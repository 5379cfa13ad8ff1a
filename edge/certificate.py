"""From when to when the agent's certificate is valid."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge.enrolment.identity import CERTIFICATE, IdentityError, read_identity

_DAY_MS = 86_400_000
_TAKES_S = 60
_LATE = 5
"""An agent renews in the last third of the validity; in the last fifth something keeps it from that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Unix milliseconds."""

    since_ms: int
    until_ms: int

    def problem(self, now_ms: int) -> str | None:
        """What a technician should do about it; None when all is well."""
        left_ms = self.until_ms - now_ms
        if left_ms <= 0:
            return (
                "the agent's certificate has expired, so the broker does not let it in. Look at the clock; if it is "
                "right, ask for a code and run `afkobling edge enrol CODE`"
            )
        if left_ms * _LATE <= self.until_ms - self.since_ms:
            return (
                f"the agent's certificate expires in {days_left(self.until_ms, now_ms)} days and was not renewed; the "
                "log tells why. Is the server reachable? Else ask for a code and run `afkobling edge enrol CODE`"
            )
        return None


def days_left(until_ms: int, now_ms: int) -> int:
    """Whole days; negative when it is over."""
    return (until_ms - now_ms) // _DAY_MS


def read_validity(certificate: Path | None) -> Validity | None:
    """Of the certificate in that file; None where there is none, or it can't be told."""
    if certificate is None:
        return None
    if certificate.name == CERTIFICATE:
        try:
            identity = read_identity(certificate.parent)
        except IdentityError:
            identity = None
        if identity is not None:
            return Validity(since_ms=identity.issued_at, until_ms=identity.not_after)
    return _parsed(certificate)


def _parsed(file: Path) -> Validity | None:
    """What the broker's connection will say in words, should the file be none, is not said here too."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, about a file of our own
            (sys.executable, "-P", "-m", "edge.certificate_dates", str(file)),
            capture_output=True,
            timeout=_TAKES_S,
            check=True,
        )
        since_ms, until_ms = map(int, done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Validity(since_ms=since_ms, until_ms=until_ms)
