"""What an authority signs, and what it does not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from api.agents.attempts import Attempts
from api.agents.authority import Authorities, AuthorityError, BadRequestError
from edge.enrolment.keys import BadCertificateError, Term, WrongClockError, check_chain, make_request
from schemas.enrolment import username
from schemas.topics import AgentAddress

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LONG = AgentAddress(organisation="o" * 63, site="s" * 63, agent="a" * 63)
ADDRESS = AgentAddress(organisation="acme", site="hall", agent="cabinet-1")
DAY = timedelta(days=1)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities(tmp_path / "authority", now=NOW)


def csr(key: object, subject: x509.Name | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize("address", [ADDRESS, LONG], ids=["short", "long"])
def test_an_agents_certificate_says_who_it_is_for_and_no_more(authorities: Authorities, address: AgentAddress) -> None:
    made = make_request()
    authority = authorities.of(address.organisation, now=NOW)
    issued = authority.issue_agent(made.csr, address, now=NOW, valid=DAY)
    term = Term(issued_at=NOW, until=NOW + DAY)
    assert check_chain(issued.chain, authority.root.pem, made.key, address, now=NOW) == term
    certificate = x509.load_pem_x509_certificate(issued.chain.encode())
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == username(address, issued.serial)
    assert len(str(name.value)) <= 64
    assert (issued.not_before, issued.not_after) == (NOW - timedelta(minutes=5), NOW + DAY)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_what_a_request_says_of_itself_is_ignored(authorities: Authorities) -> None:
    wishes = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rival:00\n,O=x"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "rival")])  # fmt: skip # noqa: E501
    issued = authorities.of("acme", now=NOW).issue_agent(
        csr(ec.generate_private_key(ec.SECP256R1()), wishes), ADDRESS, now=NOW, valid=DAY
    )
    certificate = x509.load_pem_x509_certificate(issued.chain.encode())
    assert [part.value for part in certificate.subject] == ["acme", username(ADDRESS, issued.serial)]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP192R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["rsa", "weak curve", "ed25519"],
)
def test_other_keys_are_refused(authorities: Authorities, make: object) -> None:
    with pytest.raises(BadRequestError, match="elliptic curve"):
        authorities.of("acme", now=NOW).issue_agent(csr(make()), ADDRESS, now=NOW, valid=DAY)  # type: ignore[operator]


def test_an_authority_of_another_root_is_not_used(authorities: Authorities, tmp_path: Path) -> None:
    authorities.of("acme", now=NOW)
    shutil.rmtree(tmp_path / "authority" / "root")
    with pytest.raises(AuthorityError, match="same backup"):
        Authorities(tmp_path / "authority", now=NOW).of("acme", now=NOW)


def test_a_request_that_its_key_did_not_sign_is_refused(authorities: Authorities) -> None:
    one = x509.load_pem_x509_csr(make_request().csr.encode()).public_bytes(serialization.Encoding.DER)
    broken = x509.load_der_x509_csr(one[:-1] + bytes([one[-1] ^ 1])).public_bytes(serialization.Encoding.PEM).decode()
    authority = authorities.of("acme", now=NOW)
    with pytest.raises(BadRequestError, match="not signed by its own key"):
        authority.issue_agent(broken, ADDRESS, now=NOW, valid=DAY)
    with pytest.raises(BadRequestError, match="cannot be read"):
        authority.issue_agent("-----BEGIN X", ADDRESS, now=NOW, valid=DAY)


def test_the_device_takes_no_certificate_but_its_own(authorities: Authorities, tmp_path: Path) -> None:
    made = make_request()
    authority = authorities.of("acme", now=NOW)
    chain = authority.issue_agent(made.csr, ADDRESS, now=NOW, valid=DAY).chain
    root = authority.root.pem
    other = Authorities(tmp_path / "other", now=NOW).of("acme", now=NOW)
    with pytest.raises(BadCertificateError, match="does not lead to the server's root"):
        check_chain(chain, other.root.pem, made.key, ADDRESS, now=NOW)
    with pytest.raises(BadCertificateError, match="another key"):
        check_chain(chain, root, make_request().key, ADDRESS, now=NOW)
    with pytest.raises(BadCertificateError, match="not for acme/hall/other"):
        check_chain(chain, root, made.key, AgentAddress(organisation="acme", site="hall", agent="other"), now=NOW)
    # An agent is no authority, whatever it signs.
    sub = chain + chain
    with pytest.raises(BadCertificateError):
        check_chain(sub, root, made.key, ADDRESS, now=NOW)
    for clock in (NOW - DAY, NOW + 2 * DAY):
        with pytest.raises(WrongClockError, match=r"issued at about 2026-03-02 09:00 UTC; set the clock"):
            check_chain(chain, root, made.key, ADDRESS, now=clock)


def test_authorities_are_kept_apart_and_private(authorities: Authorities, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    acme, rival = authorities.of("acme", now=NOW), authorities.of("rival", now=NOW)
    made = make_request()
    issued = x509.load_pem_x509_certificate(acme.issue_agent(made.csr, ADDRESS, now=NOW, valid=DAY).chain.encode())
    assert acme.has_issued(issued)
    assert not rival.has_issued(issued)
    assert not authorities.root.has_issued(issued)
    assert Authorities(folder, now=NOW).of("acme", now=NOW).pem == acme.pem
    assert {file.stat().st_mode & 0o777 for file in folder.rglob("*.pem")} == {0o600}
    rival_key = folder / "organisations" / "rival" / "key.pem"
    (folder / "organisations" / "acme" / "key.pem").write_bytes(rival_key.read_bytes())
    with pytest.raises(AuthorityError, match="is not the key of"):
        authorities.of("acme", now=NOW)
    rival_key.unlink()
    with pytest.raises(AuthorityError, match="backup"):
        authorities.of("rival", now=NOW)


def test_attempts_are_counted_by_the_minute() -> None:
    now = [0.0]
    attempts = Attempts(most_each=2, most_in_all=3, clock=lambda: now[0])
    assert [attempts.wait_s(what) for what in ("a", "a", "a", "b", "c")] == [None, None, 60.0, None, 60.0]
    now[0] = 59.0
    assert attempts.wait_s("c") == 1.0
    now[0] = 60.0
    assert [attempts.wait_s("a") for _ in range(3)] == [None, None, 60.0]


def test_one_peer_does_not_use_up_what_is_there_for_all() -> None:
    attempts = Attempts(most_each=9, most_from_one=2, most_in_all=4, clock=lambda: 0.0)
    told = [attempts.wait_s(str(nth), peer="stranger") for nth in range(9)]
    assert [wait_s is None for wait_s in told] == [True, True, *[False] * 7]
    assert attempts.wait_s("code", peer="agent") is None
