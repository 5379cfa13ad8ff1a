"""The device's side of enrolling and renewing, against servers that lie, vanish and stumble."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api.agents.authority import Authorities
from edge.enrolment.asking import RefusedError, ServerAwayError
from edge.enrolment.enrolling import enrol
from edge.enrolment.identity import IdentityError, read_identity
from edge.enrolment.keys import BadCertificateError, WrongClockError
from edge.enrolment.renewing import renew
from schemas.enrolment import Enrolled, EnrolmentCode, proof_key, prove
from schemas.topics import AgentAddress

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ADDRESS = AgentAddress(organisation="acme", site="hall", agent="cabinet-1")
SECRET = "0123456789ABCDEFGHJKMNPQ"
Answers = Callable[[dict[str, Any]], tuple[int, bytes]]


class Server:
    """Answers each POST as it is told to, and keeps what was asked."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authorities(folder, now=NOW).of("acme", now=NOW)
        self.asked: list[dict[str, Any]] = []
        self.answers: Answers = self.as_it_should
        self.headers: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                status, text = server.answers(body)
                if status == 0:
                    return
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    @property
    def code(self) -> str:
        return str(EnrolmentCode(server=self.url, code_id="ABCDEF", secret=SECRET))

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def as_it_should(self, body: dict[str, Any]) -> tuple[int, bytes]:
        return self.enrolled(body, secret=SECRET)

    def enrolled(self, body: dict[str, Any], *, secret: str, root: str | None = None) -> tuple[int, bytes]:
        issued = self.authority.issue_agent(body["csr"], ADDRESS, now=NOW, valid=timedelta(days=90))
        not_after = round(issued.not_after.timestamp() * 1000)
        if "code_id" not in body:
            return 200, json.dumps({"certificate": issued.chain, "not_after": not_after}).encode()
        text = Enrolled(
            organisation="acme",
            site="hall",
            agent="cabinet-1",
            certificate=issued.chain,
            authority=root or self.authority.root.pem,
            broker="mqtts://here:8883",
            not_after=not_after,
        ).model_dump_json()
        return 200, json.dumps({"enrolled": text, "proof": prove(proof_key(secret), "answer", text.encode())}).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    opened = Server(tmp_path / "authority")
    yield opened
    opened.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "device"


def test_it_proves_that_it_knows_the_code_and_says_nothing_of_it(server: Server, folder: Path) -> None:
    done = enrol(server.code, folder, now=NOW)
    assert done.identity == read_identity(folder)
    assert (done.identity.server, done.identity.broker) == (server.url, "mqtts://here:8883")
    assert done.identity.issued_at == round(NOW.timestamp() * 1000)
    (body,) = server.asked
    assert body["proof"] == prove(proof_key(SECRET), "request", body["csr"].encode())
    assert SECRET not in json.dumps(body)
    assert "PRIVATE" not in json.dumps(body)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".identity-lock", "authority.pem", "certificate.pem", "identity.json", "key.pem",
    ]  # fmt: skip


def problem(status: int, detail: str) -> Answers:
    return lambda _body: (status, json.dumps({"detail": detail}).encode())


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        (problem(410, "this code was used on Monday"), RefusedError, "used on Monday"),
        (problem(503, "the broker is away"), ServerAwayError, "the broker is away"),
        (lambda _body: (200, b"<html>welcome"), RefusedError, "is not Afkobling"),
        (lambda _body: (404, b"<html>no"), RefusedError, "answers 404, and not as Afkobling"),
        (lambda _body: (200, b'{"enrolled": "{}", "proof": "abcd"}'), RefusedError, "does not know the code"),
        (lambda _body: (307, b""), RefusedError, "agent invite --server"),
        (lambda _body: (0, b""), ServerAwayError, "cannot be reached"),
    ],
    ids=["refused", "away", "web page", "elsewhere", "impostor", "redirect", "cut"],
)
def test_failures_change_nothing_and_say_what_to_do(
    server: Server, folder: Path, answers: Answers, error: type[Exception], words: str
) -> None:
    enrol(server.code, folder, now=NOW)
    before = {path.name: path.read_bytes() for path in folder.glob("*.*") if path.suffix in {".pem"}}
    server.answers = answers
    server.headers = {"Location": "https://here/"}
    with pytest.raises(error, match=words):
        enrol(server.code, folder, now=NOW)
    assert {path.name: path.read_bytes() for path in folder.glob("*.*") if path.suffix in {".pem"}} == before


def test_an_impostor_with_an_authority_of_his_own_is_found_out(server: Server, folder: Path, tmp_path: Path) -> None:
    server.answers = lambda body: server.enrolled(body, secret="Z" * 24)
    with pytest.raises(RefusedError, match="somebody in between"):
        enrol(server.code, folder, now=NOW)
    other = Authorities(tmp_path / "other", now=NOW).root.pem
    server.answers = lambda body: server.enrolled(body, secret=SECRET, root=other)
    with pytest.raises(BadCertificateError, match="does not lead"):
        enrol(server.code, folder, now=NOW)
    assert read_identity(folder) is None


def test_a_lost_answer_and_a_wrong_clock_are_mended_by_the_same_command(server: Server, folder: Path) -> None:
    server.answers = lambda _body: (0, b"")
    with pytest.raises(ServerAwayError):
        enrol(server.code, folder, now=NOW)
    server.answers = server.as_it_should
    with pytest.raises(WrongClockError, match="1970-01-01"):
        enrol(server.code, folder, now=datetime(1970, 1, 1, tzinfo=UTC))
    assert read_identity(folder) is None
    enrol(server.code, folder, now=NOW)
    # The server is asked for the same each time, and not for a certificate of another key.
    assert len(server.asked) == 3
    assert len({body["csr"] for body in server.asked}) == 1
    enrol(str(EnrolmentCode(server=server.url, code_id="FEDCBA", secret=SECRET)), folder, now=NOW)
    assert server.asked[-1]["csr"] != server.asked[0]["csr"]


def test_a_folder_that_cannot_be_written_leaves_the_code_unused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(IdentityError, match="--folder"):
        enrol(server.code, tmp_path / "file", now=NOW)
    assert server.asked == []


@pytest.mark.parametrize(
    "server_url", ["http://a..b:8080", f"http://{'a' * 70}:80", "http://[::1", "http://here/\xe5", "http://here:port"]
)
def test_an_address_that_is_none_is_told(folder: Path, server_url: str) -> None:
    with pytest.raises((RefusedError, ServerAwayError), match="address"):
        enrol(str(EnrolmentCode(server=server_url, code_id="ABCDEF", secret=SECRET)), folder, now=NOW)


def test_a_damaged_key_is_no_hindrance_to_enrolling_anew(server: Server, folder: Path) -> None:
    folder.mkdir()
    (folder / "key.pem").write_bytes(b"\xff\xfe\x00")
    done = enrol(server.code, folder, now=NOW)
    assert done.aside is not None
    assert (done.aside / "key.pem").read_bytes() == b"\xff\xfe\x00"


def test_until_when_a_certificate_is_valid_is_read_from_it(server: Server, folder: Path) -> None:
    identity = enrol(server.code, folder, now=NOW).identity

    def lies(body: dict[str, Any]) -> tuple[int, bytes]:
        answer = json.loads(server.as_it_should(body)[1])
        return 200, json.dumps(answer | {"not_after": identity.not_after * 2}).encode()

    # Nothing but the certificate is signed in the answer to a renewal, and an agent that believed more would not renew.
    server.answers = lies
    assert renew(folder, now=NOW).not_after == identity.not_after


def test_a_renewal_takes_another_key_and_keeps_the_root(server: Server, folder: Path, tmp_path: Path) -> None:
    enrol(server.code, folder, now=NOW)
    key, certificate = ((folder / name).read_text("utf-8") for name in ("key.pem", "certificate.pem"))
    server.answers = lambda _body: (0, b"")
    with pytest.raises(ServerAwayError):
        renew(folder, now=NOW)
    assert (folder / "key.pem").read_text("utf-8") == key
    server.answers = server.as_it_should
    renewed = renew(folder, now=NOW)
    assert renewed == read_identity(folder)
    assert (folder / "key.pem").read_text("utf-8") != key
    assert (folder / "certificate.pem").read_text("utf-8") != certificate
    first, second = server.asked[-2:]
    assert first["csr"] == second["csr"]
    assert second["certificate"] == certificate
    # A server whose authority is another one is not believed.
    server.authority = Authorities(tmp_path / "other", now=NOW).of("acme", now=NOW)
    with pytest.raises(BadCertificateError, match="enrolled anew"):
        renew(folder, now=NOW)
    assert read_identity(folder) == renewed
