"""From when to when a certificate is valid: `python -m edge.certificate_dates FILE` prints both, in milliseconds.

A process of its own, as its library takes memory that a running agent does not need.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography import x509


def main() -> int:
    """Raises OSError, ValueError where the file holds no certificate."""
    certificate = x509.load_pem_x509_certificate(Path(sys.argv[1]).read_bytes())
    for instant in (certificate.not_valid_before_utc, certificate.not_valid_after_utc):
        print(round(instant.timestamp() * 1000))  # noqa: T201 - the agent reads it
    return 0


if __name__ == "__main__":
    sys.exit(main())
