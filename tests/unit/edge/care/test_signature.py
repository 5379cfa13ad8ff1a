"""Only the authority of the agent's own organisation tells it what to run."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.agents.authority import Authorities, Authority
from edge.care.signature import NotSignedError, verify
from edge.care.verifying import why_not
from edge.configuration import TlsSettings
from edge.enrolment.keys import make_request
from schemas.signed import configuration_bytes
from schemas.topics import AgentAddress
from schemas.wire import Configuration

NOW = datetime(2026, 11, 15, 6, tzinfo=UTC)
ADDRESS = AgentAddress(organisation="acme", site="hall", agent="cabinet-1")


@dataclass
class Enrolled:
    acme: Authority
    other: Authority
    chain: str
    root: str
    key: str


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Enrolled:
    authorities = Authorities(tmp_path_factory.mktemp("authorities"), now=NOW)
    acme, other = (authorities.of(name, now=NOW) for name in ("acme", "other"))
    request = make_request()
    issued = acme.issue_agent(request.csr, ADDRESS, now=NOW, valid=timedelta(days=90))
    return Enrolled(acme=acme, other=other, chain=issued.chain, root=authorities.root.pem, key=request.key)


DATA = configuration_bytes(ADDRESS, version=3, sent_at=1_795_298_400_000, body="drivers: []")


def why(enrolled: Enrolled, signature: str, data: bytes = DATA, *, chain: str | None = None) -> str | None:
    return why_not(data, signature, chain=enrolled.chain if chain is None else chain, root=enrolled.root)


def test_the_organisations_authority_signs_for_this_agent(enrolled: Enrolled) -> None:
    signature = enrolled.acme.sign(DATA)
    assert why(enrolled, signature) is None
    neighbour = AgentAddress(organisation="acme", site="hall", agent="cabinet-2")
    for data in (
        configuration_bytes(neighbour, version=3, sent_at=1_795_298_400_000, body="drivers: []"),
        configuration_bytes(ADDRESS, version=4, sent_at=1_795_298_400_000, body="drivers: []"),
        configuration_bytes(ADDRESS, version=3, sent_at=1_795_298_400_001, body="drivers: []"),
        DATA + b" ",
    ):
        assert "not signed by the authority" in (why(enrolled, signature, data) or "")


def test_nobody_else_does(enrolled: Enrolled, tmp_path: Path) -> None:
    self_made = Authority(tmp_path / "root", "Afkobling acme", now=NOW)
    for signature in (
        enrolled.other.sign(DATA),
        self_made.sign(DATA),
        "",
        "no base64!",
        base64.b64encode(b"x").decode(),
    ):
        assert "not signed by the authority" in (why(enrolled, signature) or "")


def test_a_chain_that_does_not_lead_to_the_root_counts_for_nothing(enrolled: Enrolled, tmp_path: Path) -> None:
    own, above = (
        f"-----BEGIN CERTIFICATE-----{part}" for part in enrolled.chain.split("-----BEGIN CERTIFICATE-----")[1:]
    )
    strangers = Authorities(tmp_path, now=NOW)
    foreign = strangers.of("acme", now=NOW)
    signature = foreign.sign(DATA)
    # The agent's own certificate is no authority, and one of another organisation or installation did not sign it.
    for chain in (own, own + own, own + enrolled.other.pem, own + foreign.pem, above + own, "", "no certificate"):
        assert "do not name its organisation's authority" in (why(enrolled, signature, chain=chain) or "")


def test_as_the_agent_looks_at_it(enrolled: Enrolled, tmp_path: Path) -> None:
    files = {"certificate": enrolled.chain, "authority": enrolled.root, "key": enrolled.key}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_text(text)
    tls = TlsSettings(**{name: tmp_path / f"{name}.pem" for name in files})
    body = "drivers: [] # ø"
    signature = enrolled.acme.sign(configuration_bytes(ADDRESS, version=1, sent_at=1_795_298_400_000, body=body))
    message = Configuration(version=1, sent_at=1_795_298_400_000, body=body, signature=signature)
    verify(message, ADDRESS, tls)
    with pytest.raises(NotSignedError, match="is not signed by the authority"):
        verify(message.model_copy(update={"body": "drivers: []"}), ADDRESS, tls)
    with pytest.raises(NotSignedError, match=r"was not enrolled.*edge enrol"):
        verify(message, ADDRESS, TlsSettings())
    (tmp_path / "authority.pem").unlink()
    with pytest.raises(NotSignedError, match=r"authority\.pem cannot be read"):
        verify(message, ADDRESS, tls)


def test_nothing_in_the_working_directory_has_a_say(
    enrolled: Enrolled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's own folder is that of its service, and others put files there."""
    (tmp_path / "json.py").write_text("raise SystemExit(0)")
    for name, text in (("chain", enrolled.chain), ("root", enrolled.root)):
        (tmp_path / f"{name}.pem").write_text(text)
    monkeypatch.chdir(tmp_path)
    tls = TlsSettings(authority=tmp_path / "root.pem", certificate=tmp_path / "chain.pem", key=tmp_path / "key.pem")
    sent_at = 1_795_298_400_000
    forged = Configuration(version=3, sent_at=sent_at, body="drivers: []", signature=enrolled.other.sign(DATA))
    with pytest.raises(NotSignedError, match="is not signed by the authority"):
        verify(forged, ADDRESS, tls)
