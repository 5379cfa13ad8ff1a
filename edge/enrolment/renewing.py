"""The next certificate, for the key that the agent has: run as a process of its own, so that the agent stays small."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from edge.durable_files import write_durably
from edge.enrolment.asking import ask
from edge.enrolment.identity import (
    AUTHORITY,
    CERTIFICATE,
    IDENTITY,
    KEY,
    PRIVATE,
    AgentIdentity,
    IdentityError,
    held,
    install,
    read_identity,
)
from edge.enrolment.keys import Request, check_chain, make_request, sign_renewal
from edge.errors import EdgeError, EdgeTransientError
from schemas.enrolment import RenewalAnswer, RenewalRequest

_BEGUN = ".renewal.json"
TRY_AGAIN, FOR_GOOD = 75, 1
"""Exit statuses: trying again may help; a person must do something."""


class _Begun(BaseModel):
    """As in enrolling: the same request again is given the same certificate."""

    certificate: str
    key: str
    csr: str


def renew(folder: Path, *, now: datetime) -> AgentIdentity:
    """Get and install the next certificate, with a new key. Whatever fails, the old ones stay.

    Raises RefusedError, ServerAwayError, WrongClockError, BadCertificateError, IdentityError.
    """
    with held(folder):
        identity = read_identity(folder)
        if identity is None:
            raise IdentityError(f"{folder} holds no agent's files; enrol it with a code (`afkobling edge enrol`)")
        certificate, key, root = (_read(folder / name) for name in (CERTIFICATE, KEY, AUTHORITY))
        begun = _begin(folder, certificate)
        request = RenewalRequest(certificate=certificate, csr=begun.csr, signature=sign_renewal(key, begun.csr))
        answer = ask(identity.server, "/v1/renewals", request, RenewalAnswer)
        # Nothing else in the answer is signed: what it says of its time is not asked.
        term = check_chain(answer.certificate, root, begun.key, identity.address, now=now)
        issued_at, not_after = (round(at.timestamp() * 1000) for at in (term.issued_at, term.until))
        renewed = identity.model_copy(update={"issued_at": issued_at, "not_after": not_after})
        texts = {KEY: begun.key, CERTIFICATE: answer.certificate, IDENTITY: renewed.model_dump_json(indent=2) + "\n"}
        install(folder, texts)
        (folder / _BEGUN).unlink(missing_ok=True)
    return renewed


def _begin(folder: Path, certificate: str) -> Request:
    file = folder / _BEGUN
    try:
        begun = _Begun.model_validate_json(file.read_bytes())
        if begun.certificate == certificate:
            return Request(key=begun.key, csr=begun.csr)
    except (OSError, ValidationError):
        pass  # none, or of no use: a new one is begun
    made = make_request()
    try:
        write_durably(file, _Begun(certificate=certificate, key=made.key, csr=made.csr).model_dump_json(), mode=PRIVATE)
    except OSError as error:
        raise IdentityError(f"{file} cannot be written: {error.strerror}; is there space, and the right to?") from error
    return made


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{file} cannot be read: {error}; enrol the agent anew with a code") from error


def main() -> int:
    """Renew in the folder that is named, and say on standard error why not."""
    try:
        renew(Path(sys.argv[1]), now=datetime.now(UTC))
    except EdgeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the agent reads it
        return TRY_AGAIN if isinstance(error, EdgeTransientError) else FOR_GOOD
    return 0


if __name__ == "__main__":
    sys.exit(main())
