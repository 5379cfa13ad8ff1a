"""A code is exchanged for a certificate. The key is made here, and stays here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from edge.durable_files import write_durably
from edge.enrolment.asking import RefusedError, ask
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
    keep_aside,
)
from edge.enrolment.keys import Request, check_chain, make_request
from schemas.enrolment import (
    BadCodeError,
    Enrolled,
    EnrolmentAnswer,
    EnrolmentCode,
    EnrolmentRequest,
    is_proven,
    proof_key,
    prove,
)

_BEGUN = ".enrolment.json"


class _Begun(BaseModel):
    """A request that may have been answered already: asked again, it gets the same certificate."""

    code_id: str
    key: str
    csr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Who the agent is now, in which folder, and where the files of an earlier enrolment went."""

    identity: AgentIdentity
    folder: Path
    aside: Path | None


def enrol(code_text: str, folder: Path, *, now: datetime) -> Enrolment:
    """Use a code up and write the agent's files.

    Whatever fails, the files that were there stay, and the same command may be given again. Raises RefusedError,
    ServerAwayError, WrongClockError, BadCertificateError, IdentityError, each with what to do.
    """
    try:
        code = EnrolmentCode.parse(code_text)
    except BadCodeError as error:
        raise RefusedError(str(error)) from error
    with held(folder):
        # On disk before the server hears of it: an answer that gets lost is asked for again.
        begun = _begin(folder, code)
        enrolled = _ask(code, begun)
        term = check_chain(enrolled.certificate, enrolled.authority, begun.key, enrolled.address, now=now)
        identity = AgentIdentity(
            organisation=enrolled.organisation,
            site=enrolled.site,
            agent=enrolled.agent,
            server=code.server,
            broker=enrolled.broker,
            issued_at=round(term.issued_at.timestamp() * 1000),
            not_after=round(term.until.timestamp() * 1000),
        )
        aside = keep_aside(folder, stamp=f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
        install(
            folder,
            {
                KEY: begun.key,
                CERTIFICATE: enrolled.certificate,
                AUTHORITY: enrolled.authority,
                IDENTITY: identity.model_dump_json(indent=2) + "\n",
            },
        )
        (folder / _BEGUN).unlink(missing_ok=True)
    return Enrolment(identity=identity, folder=folder, aside=aside)


def _begin(folder: Path, code: EnrolmentCode) -> Request:
    file = folder / _BEGUN
    try:
        begun = _Begun.model_validate_json(file.read_bytes())
        if begun.code_id == code.code_id:
            return Request(key=begun.key, csr=begun.csr)
    except (OSError, ValidationError):
        pass  # none, or of no use: a new one is begun
    made = make_request()
    try:
        write_durably(file, _Begun(code_id=code.code_id, key=made.key, csr=made.csr).model_dump_json(), mode=PRIVATE)
    except OSError as error:
        raise IdentityError(f"{file} cannot be written: {error.strerror}; the code was not used") from error
    return made


def _ask(code: EnrolmentCode, begun: Request) -> Enrolled:
    key = proof_key(code.secret)
    request = EnrolmentRequest(code_id=code.code_id, csr=begun.csr, proof=prove(key, "request", begun.csr.encode()))
    answer = ask(code.server, "/v1/enrolments", request, EnrolmentAnswer)
    if not is_proven(key, "answer", answer.enrolled.encode(), answer.proof):
        raise RefusedError(
            f"whoever answers at {code.server} does not know the code: it is another server, or somebody in between. "
            "Nothing was changed; check the address and the network"
        )
    try:
        return Enrolled.model_validate_json(answer.enrolled)
    except ValidationError as error:
        raise RefusedError(f"{code.server} is of another version; bring both to the same one") from error
