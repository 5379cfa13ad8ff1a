"""Who may speak as an agent: codes, certificates, renewals and their ends, against the real database."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from api.agents import certificates, store
from api.agents.attempts import Attempts
from api.agents.authority import Authorities
from api.agents.broker_access import MemoryBrokerAccess
from api.agents.dynamic_security import DynamicSecurity
from api.agents.trust import Trust
from api.app import create_app
from api.settings import ApiSettings
from edge.enrolment.keys import Request, check_chain, make_request, sign_renewal
from schemas.broker_tls import BrokerTls
from schemas.broker_url import parse_broker_url
from schemas.enrolment import Enrolled, EnrolmentCode, is_proven, proof_key, prove, username
from schemas.topics import AgentAddress
from tests.integration.api.test_access import assert_problem

pytestmark = pytest.mark.stack

ADDRESS = AgentAddress(organisation="acme", site="odense", agent="cabinet-1")
PLACE = {"site": "odense", "agent": "cabinet-1"}


class Desk:
    """A client with a token, one without, and what stands behind the API."""

    def __init__(self, app, client, stranger) -> None:
        self.app = app
        self.client: httpx.AsyncClient = client
        self.stranger: httpx.AsyncClient = stranger

    @property
    def trust(self) -> Trust:
        trust: Trust = self.app.state.trust
        return trust

    @property
    def broker(self) -> MemoryBrokerAccess:
        assert isinstance(self.trust.access, MemoryBrokerAccess)
        return self.trust.access

    async def invite(self, **asked) -> EnrolmentCode:
        response = await self.client.post("/v1/agents/invitations", json={**PLACE, **asked})
        assert response.status_code == 200, response.text
        return EnrolmentCode.parse(response.json()["code"])

    async def enrol(self, code: EnrolmentCode, made: Request, **changes) -> httpx.Response:
        proof = prove(proof_key(code.secret), "request", made.csr.encode())
        body = {"code_id": code.code_id, "csr": made.csr, "proof": proof, **changes}
        return await self.stranger.post("/v1/enrolments", json=body)

    async def enrolled(self, made: Request) -> Enrolled:
        response = await self.enrol(await self.invite(), made)
        assert response.status_code == 200, response.text
        return Enrolled.model_validate_json(response.json()["enrolled"])

    async def renew(self, certificate: str, key: str, made: Request) -> httpx.Response:
        body = {"certificate": certificate, "csr": made.csr, "signature": sign_renewal(key, made.csr)}
        return await self.stranger.post("/v1/renewals", json=body)

    async def only(self) -> dict[str, object]:
        (found,) = (await self.client.get("/v1/agents", params={"agent": "cabinet-1"})).json()["items"]
        return dict(found)


@asynccontextmanager
async def desk_of(database_url, token, folder, **trust) -> AsyncIterator[Desk]:
    app = create_app(ApiSettings(database_url=SecretStr(database_url), public_url="http://here:8080"))
    app.state.trust = Trust(
        authority_dir=folder / "authority",
        access=MemoryBrokerAccess(),
        no_access="",
        broker="mqtts://here:8883",
        valid=timedelta(days=90),
    )
    app.state.trust = replace(app.state.trust, **trust)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://api", headers={"Authorization": f"Bearer {token}"}
        ) as client,
        httpx.AsyncClient(transport=transport, base_url="http://api") as stranger,
    ):
        yield Desk(app, client, stranger)


@pytest.fixture
async def desk(database_url, site, make_token, tmp_path):
    async with desk_of(database_url, make_token(), tmp_path) as opened:
        yield opened


def leaf(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain.encode())


def name_of(chain: str) -> str:
    return username(ADDRESS, leaf(chain).serial_number)


async def test_a_code_is_exchanged_for_a_certificate_that_the_broker_lets_in(desk):
    code, made = await desk.invite(), make_request()
    assert code.server == "http://here:8080"
    response = await desk.enrol(code, made)
    answer = response.json()
    assert is_proven(proof_key(code.secret), "answer", answer["enrolled"].encode(), answer["proof"])
    enrolled = Enrolled.model_validate_json(answer["enrolled"])
    assert (enrolled.address, enrolled.broker) == (ADDRESS, "mqtts://here:8883")
    check_chain(enrolled.certificate, enrolled.authority, made.key, ADDRESS, now=datetime.now(UTC))
    assert desk.broker.admitted == {name_of(enrolled.certificate): ADDRESS}
    told = await desk.only()
    assert (told["state"], told["invited_until"], told["alarm"]) == ("valid", None, None)
    # What the request says of itself counts for nothing.
    assert [part.value for part in leaf(enrolled.certificate).subject] == ["acme", name_of(enrolled.certificate)]


async def test_an_answer_that_got_lost_is_given_again_and_a_stolen_code_is_not(desk, connection):
    code, made = await desk.invite(), make_request()
    first = (await desk.enrol(code, made)).json()
    assert (await desk.enrol(code, made)).json()["enrolled"] == first["enrolled"]
    assert connection.execute("SELECT refused FROM invitation").fetchone() == (0,)
    assert_problem(await desk.enrol(code, make_request()), 410, "agent revoke cabinet-1")
    assert_problem(await desk.enrol(code, make_request()), 410, "was used on")
    assert len(desk.broker.admitted) == 1
    told = await desk.only()
    assert "somebody tried its code again" in str(told["alarm"])
    assert "2 times" in str(told["alarm"])
    assert connection.execute("SELECT count(*) FROM agent_certificate").fetchone() == (1,)


async def test_two_at_the_same_moment_are_one(desk):
    code = await desk.invite()
    answers = await asyncio.gather(*(desk.enrol(code, make_request()) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]
    assert len(desk.broker.admitted) == 1


async def test_a_wrong_code_is_told_the_same_whether_it_exists_or_not(desk, connection):
    code, made = await desk.invite(), make_request()
    wrong = await desk.enrol(code, made, proof="ab" * 32)
    unknown = await desk.enrol(code, made, code_id="000000")
    assert_problem(wrong, 403, "paste it whole")
    assert wrong.content == unknown.content
    other_csr = await desk.enrol(code, made, csr=make_request().csr)
    assert other_csr.content == wrong.content
    assert (await desk.enrol(code, made)).status_code == 200
    # Nor is it told who used it to somebody who lacks its secret.
    assert (await desk.enrol(code, made, proof="ab" * 32)).content == wrong.content
    assert connection.execute("SELECT refused FROM invitation").fetchone() == (0,)


@pytest.mark.parametrize("change", ["expires_at = now() - interval '1 second'", "withdrawn_at = now()"])
async def test_an_expired_or_withdrawn_code_says_so(desk, connection, change):
    code = await desk.invite()
    connection.execute(f"UPDATE invitation SET {change}")
    assert_problem(await desk.enrol(code, make_request()), 410, "ask for a new one")
    assert desk.broker.admitted == {}
    assert (await desk.only())["state"] == "none"


async def test_a_new_code_takes_the_place_of_an_open_one_and_withdrawing_ends_it(desk):
    first, second = await desk.invite(), await desk.invite()
    assert_problem(await desk.enrol(first, make_request()), 410, "withdrawn")
    address = "/v1/agents/odense/cabinet-1/withdraw"
    assert (await desk.client.post(address)).json() == {"was_open": True}
    assert (await desk.client.post(address)).json() == {"was_open": False}
    assert_problem(await desk.enrol(second, make_request()), 410, "withdrawn")
    assert_problem(await desk.client.post("/v1/agents/odense/cabinet-9/withdraw"), 404)


async def test_the_code_stays_good_while_the_broker_is_away(desk, connection):
    code, made = await desk.invite(), make_request()
    desk.broker.is_away = True
    assert_problem(await desk.enrol(code, made), 503, "broker is away")
    assert connection.execute("SELECT count(*) FROM agent_certificate").fetchone() == (0,)
    desk.broker.is_away = False
    assert (await desk.enrol(code, made)).status_code == 200


async def test_enrolling_anew_ends_the_certificate_of_before(desk, connection):
    first, second = await desk.enrolled(make_request()), await desk.enrolled(make_request())
    assert desk.broker.admitted == {name_of(second.certificate): ADDRESS}
    ended = connection.execute("SELECT because, expelled_at IS NOT NULL FROM agent_certificate ORDER BY id").fetchall()
    assert ended == [("enrolled anew", True), (None, False)]
    assert name_of(first.certificate) not in desk.broker.admitted


@pytest.mark.parametrize("csr", ["-----BEGIN CERTIFICATE REQUEST-----\nx", "-----BEGIN nothing"])
async def test_a_request_that_cannot_be_signed_leaves_the_code_good(desk, csr):
    code = await desk.invite()
    proof = prove(proof_key(code.secret), "request", csr.encode())
    assert_problem(await desk.enrol(code, make_request(), csr=csr, proof=proof), 422)
    assert (await desk.enrol(code, make_request())).status_code == 200


async def test_tries_are_bounded_and_so_is_what_is_read(desk):
    desk.app.state.attempts = Attempts(most_each=3, most_in_all=4)
    code, made = await desk.invite(), make_request()
    for _ in range(3):
        assert (await desk.enrol(code, made, proof="ab" * 32)).status_code == 403
    refused = await desk.enrol(code, made)
    assert_problem(refused, 429, "too many attempts")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await desk.enrol(code, made, code_id="000000")).status_code == 403
    assert (await desk.enrol(code, made, code_id="111111")).status_code == 429
    assert_problem(await desk.stranger.post("/v1/enrolments", content=b"x" * 70_000), 413, "64,000")
    assert_problem(await desk.stranger.post("/v1/renewals", content=b"x"), 422)
    # With a token one may send more.
    assert (await desk.client.post("/v1/agents/invitations", content=b"x" * 70_000)).status_code == 422


async def make_old(connection) -> None:
    """Certificates are renewed in the second half of their time."""
    connection.execute("UPDATE agent_certificate SET issued_at = issued_at - interval '120 days'")


async def test_a_renewal_lets_both_in_until_the_new_one_is_in_use(desk, connection):
    made, next_one = make_request(), make_request()
    enrolled = await desk.enrolled(made)
    assert_problem(await desk.renew(enrolled.certificate, made.key, next_one), 409, "half of its time")
    await make_old(connection)
    renewed = (await desk.renew(enrolled.certificate, made.key, next_one)).json()
    check_chain(renewed["certificate"], enrolled.authority, next_one.key, ADDRESS, now=datetime.now(UTC))
    assert set(desk.broker.admitted) == {name_of(enrolled.certificate), name_of(renewed["certificate"])}
    # The answer got lost: the same again.
    assert (await desk.renew(enrolled.certificate, made.key, next_one)).json() == renewed
    await tend(desk)
    assert len(desk.broker.admitted) == 2
    status = {"state": "online", "health": {"certificate_until": renewed["not_after"]}}
    connection.execute(
        "INSERT INTO agent_report (organisation, site, agent, status) VALUES ('acme', 'odense', 'cabinet-1', %s)",
        [json.dumps(status)],
    )
    await tend(desk)
    assert set(desk.broker.admitted) == {name_of(renewed["certificate"])}
    assert (await desk.only())["state"] == "valid"
    assert_problem(await desk.renew(enrolled.certificate, made.key, make_request()), 410, "enrol the agent anew")


async def test_a_renewed_certificate_ends_after_some_days_in_any_case(desk, connection):
    made = make_request()
    enrolled = await desk.enrolled(made)
    await make_old(connection)
    first = (await desk.renew(enrolled.certificate, made.key, make_request())).json()
    # Its answer never came, and the key is gone: another takes its place.
    second = (await desk.renew(enrolled.certificate, made.key, make_request())).json()
    assert set(desk.broker.admitted) == {name_of(enrolled.certificate), name_of(second["certificate"])}
    assert name_of(first["certificate"]) not in desk.broker.admitted
    connection.execute("UPDATE agent_certificate SET issued_at = issued_at - interval '4 days'")
    await tend(desk)
    assert set(desk.broker.admitted) == {name_of(second["certificate"])}


async def tend(desk: Desk) -> None:
    async with desk.app.state.pool.connection() as connection:
        await certificates.keep_in_step(connection, desk.trust)


async def test_a_renewal_needs_a_certificate_of_ours_and_its_key(desk, connection, tmp_path):
    made, other = make_request(), make_request()
    enrolled = await desk.enrolled(made)
    await make_old(connection)
    assert_problem(await desk.renew(enrolled.certificate, other.key, make_request()), 403)
    now = datetime.now(UTC)
    elsewhere = Authorities(tmp_path / "elsewhere", now=now).of("acme", now=now)
    forged = elsewhere.issue_agent(other.csr, ADDRESS, now=now, valid=timedelta(days=1))
    assert_problem(await desk.renew(forged.chain, other.key, make_request()), 403)
    # Not even with a serial number that is known.
    connection.execute("UPDATE agent_certificate SET serial = %s", [store.serial_text(forged.serial)])
    assert_problem(await desk.renew(forged.chain, other.key, make_request()), 403)
    assert_problem(await desk.renew("-----BEGIN CERTIFICATE-----\nx", made.key, other), 403)


async def test_an_expired_certificate_is_not_renewed(desk, connection):
    made = make_request()
    enrolled = await desk.enrolled(made)
    connection.execute("UPDATE agent_certificate SET not_after = now() - interval '1 second'")
    assert_problem(await desk.renew(enrolled.certificate, made.key, make_request()), 410, "expired")
    assert (await desk.only())["state"] == "expired"
    await tend(desk)
    assert desk.broker.admitted == {}


async def test_revoking_ends_certificate_and_code_at_once(desk, connection):
    made = make_request()
    enrolled = await desk.enrolled(made)
    code = await desk.invite()
    address = "/v1/agents/odense/cabinet-1/revoke"
    assert_problem(await desk.client.post(address, json={"reason": " "}), 422)
    done = await desk.client.post(address, json={"reason": "stolen from the cabinet"})
    assert done.json() == {"was_valid": True, "broker_untold": None}
    assert desk.broker.admitted == {}
    told = await desk.only()
    assert (told["state"], told["because"], told["revoked_by"]) == ("revoked", "stolen from the cabinet", "test")
    assert_problem(await desk.renew(enrolled.certificate, made.key, make_request()), 410, "revoked")
    assert_problem(await desk.enrol(code, make_request()), 410, "withdrawn")
    again = await desk.client.post(address, json={"reason": "again"})
    assert again.json() == {"was_valid": False, "broker_untold": None}
    assert_problem(await desk.client.post("/v1/agents/odense/cabinet-9/revoke", json={"reason": "x"}), 404)
    anew = await desk.enrolled(make_request())
    assert desk.broker.admitted == {name_of(anew.certificate): ADDRESS}
    assert (await desk.only())["state"] == "valid"


async def test_a_broker_that_is_away_hears_of_the_end_later(desk):
    await desk.enrolled(make_request())
    desk.broker.is_away = True
    done = await desk.client.post("/v1/agents/odense/cabinet-1/revoke", json={"reason": "lost"})
    assert "broker is away" in done.json()["broker_untold"]
    told = await desk.only()
    assert (told["state"], told["broker_untold"]) == ("revoked", True)
    assert len(desk.broker.admitted) == 1
    desk.broker.is_away = False
    await tend(desk)
    assert desk.broker.admitted == {}
    assert (await desk.only())["broker_untold"] is False


async def test_a_file_for_the_broker_that_is_gone_is_told_as_a_broker_that_is_away(desk, tmp_path):
    await desk.enrolled(make_request())
    access = DynamicSecurity(parse_broker_url("mqtts://here:8883"), BrokerTls(authority=tmp_path / "gone.pem"))
    desk.app.state.trust = replace(desk.trust, access=access)
    assert "gone.pem" in (await revoke(desk)).json()["broker_untold"]
    await tend(desk)
    code = await desk.invite()
    assert_problem(await desk.enrol(code, make_request()), 503, "gone.pem")


async def test_the_broker_is_brought_back_to_what_the_database_says(desk):
    enrolled = await desk.enrolled(make_request())
    neighbour = replace(ADDRESS, organisation="of another database")
    desk.broker.admitted = {"somebody": ADDRESS, "next door": neighbour}
    async with desk.app.state.pool.connection() as connection:
        done = await certificates.reconcile(connection, desk.trust)
    assert (done.admitted, done.expelled) == (1, 1)
    assert desk.broker.admitted == {name_of(enrolled.certificate): ADDRESS, "next door": neighbour}


async def test_another_organisation_neither_sees_nor_touches_an_agent(
    desk, database_url, other_site, make_token, tmp_path
):
    await desk.enrolled(make_request())
    async with desk_of(database_url, make_token("rival"), tmp_path) as rival:
        listed = (await rival.client.get("/v1/agents")).json()["items"]
        assert {item["site"] for item in listed} == {"aarhus"}
        for act in ("withdraw", "revoke"):
            answer = await rival.client.post(f"/v1/agents/odense/cabinet-1/{act}", json={"reason": "envy"})
            assert_problem(answer, 404)
        code = await rival.invite()
        enrolled = Enrolled.model_validate_json((await rival.enrol(code, make_request())).json()["enrolled"])
        # The name in its invitation is that of its own organisation.
        assert enrolled.address == AgentAddress(organisation="rival", site="odense", agent="cabinet-1")
    assert (await desk.only())["state"] == "valid"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"authority_dir": None}, "AFKOBLING_AUTHORITY_DIR"),
        ({"broker": None}, "AFKOBLING_AGENT_BROKER_URL"),
        ({"access": None, "no_access": "no broker is named"}, "no broker is named"),
    ],
    ids=["authority", "broker", "access"],
)
async def test_what_is_not_set_up_is_told(database_url, site, make_token, tmp_path, missing, words):
    async with desk_of(database_url, make_token(), tmp_path, **missing) as desk:
        assert_problem(await desk.client.post("/v1/agents/invitations", json=PLACE), 503, words)


async def test_a_lost_authority_is_not_made_anew_under_living_agents(desk, tmp_path, connection):
    made = make_request()
    enrolled = await desk.enrolled(made)
    code = await desk.invite()
    (tmp_path / "authority").rename(tmp_path / "away")
    await make_old(connection)
    assert_problem(await desk.client.post("/v1/agents/invitations", json=PLACE), 503, "backup")
    assert_problem(await desk.enrol(code, make_request()), 503, "backup")
    assert_problem(await desk.renew(enrolled.certificate, made.key, make_request()), 503, "backup")
    assert not (tmp_path / "authority").exists()
    (tmp_path / "away").rename(tmp_path / "authority")
    assert (await desk.enrol(code, make_request())).status_code == 200


async def test_bad_invitations_say_what_is_wrong(desk):
    for bad in ({"valid": "5"}, {"valid": "31d"}, {"valid": "1s"}, {"agent": "A B"}, {"site": ""}, {"more": 1}):
        assert_problem(await desk.client.post("/v1/agents/invitations", json={**PLACE, **bad}), 422)
    response = await desk.client.post("/v1/agents/invitations", json={"site": "nowhere", "agent": "new"})
    assert "no site nowhere" in response.json()["remarks"][0]
    assert response.json()["command"].startswith("afkobling edge enrol 'http://here:8080#")
    listed = (await desk.client.get("/v1/agents", params={"site": "nowhere"})).json()["items"]
    assert [item["agent"] for item in listed] == ["new"]
    assert "secret" not in str(listed).lower()


async def test_keys_of_codes_are_forgotten_a_month_after_their_end(desk, connection):
    code = await desk.invite()
    connection.execute("UPDATE invitation SET expires_at = now() - interval '31 days'")
    await tend(desk)
    assert connection.execute("SELECT proof_key FROM invitation").fetchone() == (None,)
    assert_problem(await desk.enrol(code, make_request()), 403)


class SlowBroker(MemoryBrokerAccess):
    """Holds up the first who is to be let in, and has something happen before it is brought to what is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.goes_on = asyncio.Event(), asyncio.Event()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def admit(self, address, username):
        if not self.is_asked.is_set():
            self.is_asked.set()
            await self.goes_on.wait()
        await super().admit(address, username)

    async def reconcile(self, wanted, *, organisations=None):
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().reconcile(wanted, organisations=organisations)


async def revoke(desk: Desk) -> httpx.Response:
    return await desk.client.post("/v1/agents/odense/cabinet-1/revoke", json={"reason": "stolen"})


@pytest.mark.parametrize(("end", "left"), [("revoke", 0), ("enrol anew", 1)])
async def test_a_renewal_in_progress_does_not_outlive_the_end_of_its_agent(desk, connection, end, left):
    made = make_request()
    enrolled, code = await desk.enrolled(made), await desk.invite()
    await make_old(connection)
    slow = SlowBroker()
    desk.app.state.trust = replace(desk.trust, access=slow)
    renewing = asyncio.create_task(desk.renew(enrolled.certificate, made.key, make_request()))
    async with asyncio.timeout(30):
        await slow.is_asked.wait()
        ending = asyncio.create_task(revoke(desk) if end == "revoke" else desk.enrol(code, make_request()))
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while connection.execute(waits).fetchone() is None:  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(0.01)
    slow.goes_on.set()
    assert [(await one).status_code for one in (renewing, ending)] == [200, 200]
    valid = connection.execute("SELECT count(*) FROM agent_certificate WHERE revoked_at IS NULL").fetchone()
    assert (valid, len(slow.admitted)) == ((left,), left)


async def test_who_is_revoked_while_the_broker_is_brought_back_is_not_let_in_again(desk):
    await desk.enrolled(make_request())
    slow = SlowBroker()
    desk.app.state.trust = replace(desk.trust, access=slow)
    slow.meanwhile = lambda: revoke(desk)
    async with desk.app.state.pool.connection() as connection:
        await certificates.reconcile(connection, desk.trust)
    assert slow.admitted == {}
    assert (await desk.only())["broker_untold"] is False


async def test_a_renewal_whose_answer_got_lost_is_given_again_however_late(desk, connection):
    made, next_one = make_request(), make_request()
    enrolled = await desk.enrolled(made)
    await make_old(connection)
    renewed = (await desk.renew(enrolled.certificate, made.key, next_one)).json()
    # The power was cut before it came, and is back after a long weekend.
    connection.execute("UPDATE agent_certificate SET issued_at = issued_at - interval '4 days'")
    await tend(desk)
    assert set(desk.broker.admitted) == {name_of(renewed["certificate"])}
    assert (await desk.renew(enrolled.certificate, made.key, next_one)).json() == renewed
    assert_problem(await desk.renew(enrolled.certificate, made.key, make_request()), 410, "enrol the agent anew")
    await revoke(desk)
    assert_problem(await desk.renew(enrolled.certificate, made.key, next_one), 410, "enrol the agent anew")


P256, UNKNOWN_CURVE = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030177")


@pytest.mark.parametrize(("part", "other"), [(P256, UNKNOWN_CURVE), (b"\x02\x01\x00", b"\x02\x01\x07")])
async def test_a_request_of_a_kind_that_nobody_knows_is_refused(desk, part, other):
    code, made = await desk.invite(), make_request()
    der = x509.load_pem_x509_csr(made.csr.encode()).public_bytes(serialization.Encoding.DER)
    csr = ssl.DER_cert_to_PEM_cert(der.replace(part, other, 1)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    proof = prove(proof_key(code.secret), "request", csr.encode())
    assert_problem(await desk.enrol(code, made, csr=csr, proof=proof), 422, "cannot be read")
    assert (await desk.enrol(code, made)).status_code == 200


@pytest.mark.parametrize(("part", "other"), [(P256, UNKNOWN_CURVE), (b"\x02\x01\x02", b"\x02\x01\x07")])
async def test_a_certificate_of_a_kind_that_nobody_knows_is_refused(desk, part, other):
    made = make_request()
    der = ssl.PEM_cert_to_DER_cert((await desk.enrolled(made)).certificate.partition("-----END")[0] + PEM_END)
    certificate = ssl.DER_cert_to_PEM_cert(der.replace(part, other, 1))
    assert_problem(await desk.renew(certificate, made.key, make_request()), 403)


PEM_END = "-----END CERTIFICATE-----\n"


async def test_an_authority_that_cannot_be_looked_at_is_told(desk, tmp_path, monkeypatch):
    code = await desk.invite()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    # What the account of another owner meets; tests may run as root, whom nothing stops.
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", refuse)
        assert_problem(await desk.client.post("/v1/agents/invitations", json=PLACE), 503, "Permission denied")
        assert_problem(await desk.enrol(code, make_request()), 503, "Permission denied")
    assert (await desk.enrol(code, make_request())).status_code == 200
