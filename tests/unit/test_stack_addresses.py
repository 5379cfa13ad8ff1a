"""Addresses: from the environment, masked, and refused with a way out."""

import argparse
import io
import socket
import threading
from pathlib import Path

import pytest

from deploy.commands import stack as command
from deploy.stack import StackError, StackPermanentError, StackTransientError, checks, endpoints, ports
from deploy.stack.addresses import given_broker_tls, given_listen, given_servers, masked
from schemas.broker_tls import BrokerTls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:se@c/ret@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:%40secret@h/d?sslmode=require", "postgresql://u:***@h/d?sslmode=require"),
        (
            "postgresql://h/d?user=u&password=secret&sslmode=require",
            "postgresql://h/d?user=u&password=***&sslmode=require",
        ),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("host=h password='two words' user=u", "host=h password=*** user=u"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1883"),
        ("mqtts://agent:secret@h", "mqtts://agent:***@h"),
    ],
)
def test_passwords_are_masked(url, shown):
    assert masked(url) == shown


def test_an_empty_variable_names_no_server():
    given = given_servers({"AFKOBLING_DATABASE_URL": "", "AFKOBLING_BROKER_URL": "mqtt://h"})
    assert given.database_url is None
    assert given.broker_url == "mqtt://h"


def test_endpoints_come_from_the_environment_first(monkeypatch):
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setenv("AFKOBLING_BROKER_URL", "mqtt://h")
    found = endpoints()
    assert (found.database_url, found.broker_url) == ("postgresql://u:p@h/d", "mqtt://h")


def test_where_agents_go_with_a_given_broker_is_said_by_the_environment(monkeypatch):
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setenv("AFKOBLING_BROKER_URL", "mqtt://h")
    monkeypatch.delenv("AFKOBLING_AGENT_BROKER_URL", raising=False)
    monkeypatch.delenv("AFKOBLING_AUTHORITY_DIR", raising=False)
    assert (endpoints().agent_broker_url, endpoints().authority_dir) == (None, None)
    monkeypatch.setenv("AFKOBLING_AGENT_BROKER_URL", "mqtts://h")
    monkeypatch.setenv("AFKOBLING_AUTHORITY_DIR", "/srv/authority")
    assert (endpoints().agent_broker_url, endpoints().authority_dir) == ("mqtts://h", Path("/srv/authority"))


def test_the_address_to_listen_on_is_checked():
    assert given_listen({}) is None
    assert given_listen({"AFKOBLING_BROKER_LISTEN": ""}) is None
    assert given_listen({"AFKOBLING_BROKER_LISTEN": "FD00::0005"}) == "fd00::5"
    for wrong in ("localhost", "192.168.1", "0.0.0.0:8883", "127.0.0.1\nallow_anonymous true"):
        with pytest.raises(StackPermanentError, match="AFKOBLING_BROKER_LISTEN"):
            given_listen({"AFKOBLING_BROKER_LISTEN": wrong})


def test_a_certificate_without_its_key_is_refused(monkeypatch):
    monkeypatch.setenv("AFKOBLING_BROKER_CERTIFICATE", "/c.pem")
    with pytest.raises(StackPermanentError, match="AFKOBLING_BROKER_KEY"):
        given_broker_tls()


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    tls = BrokerTls(authority=tmp_path / "root.pem")
    with pytest.raises(StackPermanentError, match=r"root\.pem.*AFKOBLING_BROKER_AUTHORITY"):
        checks.look_at_broker("mqtts://127.0.0.1:1", tls=tls)


def test_endpoints_of_a_stack_that_is_down_say_how_to_start_it(tmp_path, monkeypatch):
    monkeypatch.delenv("AFKOBLING_DATABASE_URL", raising=False)
    monkeypatch.setenv("AFKOBLING_BROKER_URL", "mqtt://h")
    with pytest.raises(StackTransientError, match="afkobling stack up"):
        endpoints(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_broker_that_is_away_is_named_without_its_password():
    with pytest.raises(StackTransientError, match="cannot be reached") as caught:
        checks.look_at_broker(f"mqtt://u:secret@127.0.0.1:{ports.choose()}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "127.0.0.1:1883", "mqtt://h:notaport"])
def test_a_broker_address_that_is_none_is_explained(url):
    with pytest.raises(StackPermanentError, match="mqtt://host:1883"):
        checks.look_at_broker(url)


def test_something_that_is_not_a_broker_is_told_apart():
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(StackTransientError, match="does not answer in MQTT 5"):
            checks.look_at_broker(f"mqtt://127.0.0.1:{stranger.getsockname()[1]}", timeout_s=0.3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"\x20\x02\x00\x01", "does not speak MQTT 5"), (b"\x20\x03\x00\x87\x00", "Not authorized")],
)
def test_a_broker_that_refuses_is_quoted(answer, words):
    def refuse(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(answer)
            peer.recv(1000)

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = threading.Thread(target=refuse, args=[server])
        thread.start()
        with pytest.raises(StackPermanentError, match=words):
            checks.look_at_broker(f"mqtt://u:secret@127.0.0.1:{server.getsockname()[1]}")
        thread.join(5)


def test_a_database_address_that_is_none_is_explained():
    with pytest.raises(StackError, match="not understood") as caught:
        checks.look_at_database("http://u:secret@h")
    assert "secret" not in str(caught.value)


def test_reset_asks_for_yes_when_nobody_can_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    arguments = parser.parse_args(["stack", "reset", "--data", str(tmp_path)])
    assert arguments.run(arguments) == 2
    assert "--yes" in capsys.readouterr().err
