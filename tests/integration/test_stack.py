"""The stack's life on the real servers: up, killed, up again, down, reset."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from api.broker_client import new_client
from deploy import stack
from deploy.commands import stack as command
from deploy.stack import checks, folders, ports, postgres, runtime, security
from deploy.stack.folders import data_folder
from deploy.stack.processes import processes_in, run, server_account
from schemas.broker_url import parse_broker_url

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _own_servers_only(monkeypatch):
    monkeypatch.delenv("AFKOBLING_DATABASE_URL", raising=False)
    for name in ("BROKER_URL", "AGENT_BROKER_URL", "AUTHORITY_DIR", "BROKER_LISTEN"):
        monkeypatch.delenv(f"AFKOBLING_{name}", raising=False)


@pytest.fixture
def data_dir():
    """A data folder that the servers' unprivileged account can reach, which pytest's own may not be."""
    home = Path(tempfile.mkdtemp(prefix="afkobling-test-"))
    home.chmod(0o755)
    yield home / "stack"
    stack.reset(home / "stack", report=_silent)
    shutil.rmtree(home)


def _silent(_text: str) -> None:
    pass


def _command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    arguments = parser.parse_args(["stack", *words])
    return int(arguments.run(arguments) or 0)


def _query(url: str, text: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


def _retained(broker_url: str, *, publish: bytes | None = None) -> bytes | None:
    """Publish a retained message, or read it."""
    received: list[bytes] = []
    client = new_client(parse_broker_url(broker_url))
    client.on_message = lambda _client, _data, message: received.append(bytes(message.payload))
    client.connect("127.0.0.1", int(broker_url.rpartition(":")[2]))
    client.loop_start()
    client.subscribe("test/retained", qos=1)
    try:
        if publish is not None:
            client.publish("test/retained", publish, qos=1, retain=True).wait_for_publish(10)
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        client.disconnect()
        client.loop_stop()
    return received[0] if received else None


def test_life_of_a_stack(data_dir, capsys):
    told: list[str] = []
    first = stack.up(data_dir, report=told.append)
    assert stack.endpoints(data_dir) == first
    assert _query(first.database_url, "SHOW timescaledb.license")
    _query(first.database_url, "CREATE TABLE kept (at timestamptz NOT NULL, value float8)")
    _query(first.database_url, "SELECT create_hypertable('kept', 'at')")
    _query(first.database_url, "INSERT INTO kept VALUES (now(), 42)")
    assert _retained(first.broker_url, publish=b"kept") == b"kept"

    before = stack.pids(data_dir)
    again = stack.up(data_dir, report=told.append)
    assert again == first
    assert stack.pids(data_dir) == before
    assert any("PostgreSQL is running" in text for text in told)

    capsys.readouterr()
    assert _command("status", "--json", "--data", str(data_dir)) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["running"] == {"postgresql": True, "mosquitto": True}
    assert status["versions"]["postgresql"].startswith("17.")
    assert tuple(map(int, status["versions"]["timescaledb"].split("."))) >= (2, 14)
    assert status["versions"]["mosquitto"].startswith("2.")
    assert status["timescaledb_license"] in {"apache", "timescale"}
    assert ":***@" in status["database_url"]
    assert status["broker_url"] == stack.masked(first.broker_url) != first.broker_url
    assert status["agent_broker_url"] == first.agent_broker_url
    assert status["trouble"] == {"postgresql": None, "mosquitto": None}

    # Saved in good order once; what a kill may cost the broker is the collector's concern (confirmations).
    stack.restart_broker(data_dir, report=told.append)
    killed = stack.pids(data_dir)
    for pid in (killed.database, killed.broker):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    after = stack.up(data_dir, report=told.append)
    assert after == first
    assert _query(after.database_url, "SELECT value FROM kept") == [(42.0,)]
    assert _retained(after.broker_url) == b"kept"

    assert _command("down", "--data", str(data_dir)) == 0
    assert _command("down", "--data", str(data_dir)) == 0
    assert stack.pids(data_dir) == stack.Pids(database=None, broker=None)
    capsys.readouterr()
    assert _command("status", "--json", "--data", str(data_dir)) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["running"] == {"postgresql": False, "mosquitto": False}
    assert all(status["versions"].values())
    with pytest.raises(stack.StackError, match="afkobling stack up"):
        stack.endpoints(data_dir)

    assert _command("reset", "--yes", "--data", str(data_dir)) == 0
    assert not data_dir.exists()
    assert _command("reset", "--yes", "--data", str(data_dir)) == 0


def test_restart_keeps_the_port_after_a_kill(data_dir):
    first = stack.up(data_dir, report=_silent)
    # A client that is connected at the kill must not hold the port.
    with contextlib.closing(psycopg.connect(first.database_url, autocommit=True)) as connection:
        connection.execute("SELECT 1")
        pids = stack.pids(data_dir)
        assert pids.database is not None
        os.kill(pids.database, signal.SIGKILL)
        stack.restart_database(data_dir, report=_silent)
    stack.restart_broker(data_dir, report=_silent)
    assert stack.endpoints(data_dir) == first
    assert _query(first.database_url, "SELECT 1") == [(1,)]


def test_what_a_machine_restart_leaves_behind_is_no_obstacle(data_dir):
    first = stack.up(data_dir, report=_silent)
    folder = data_folder(data_dir)
    pids = stack.pids(data_dir)
    for pid in (pids.database, pids.broker):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes_in(folder.cluster, "postgres") and time.monotonic() < deadline:
        time.sleep(0.05)
    # The number in the pid file now belongs to a stranger: to this test.
    pid_file = folder.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    (folder.path / "building-half" / "cluster").mkdir(parents=True)
    assert stack.up(data_dir, report=_silent) == first
    # A stranger's process is not signalled by down, either: we are still here.
    stack.down(data_dir, report=_silent)


def test_a_cluster_that_was_never_finished_is_made_anew(data_dir):
    stack.up(data_dir, report=_silent)
    stack.reset(data_dir, report=_silent)
    data_dir.mkdir()
    (data_dir / "lock").touch()
    stack.up(data_dir, report=_silent)
    stack.down(data_dir, report=_silent)
    folder = data_folder(data_dir)
    folder.cluster.rename(folder.path / "building-killed")
    stack.up(data_dir, report=_silent)
    assert not (folder.path / "building-killed").exists()


def test_a_taken_port_moves_the_server_and_says_so(data_dir):
    first = stack.up(data_dir, report=_silent)
    stack.down(data_dir, report=_silent)
    told: list[str] = []
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(first.broker_url.rpartition(":")[2])))
        stranger.listen()
        moved = stack.up(data_dir, report=told.append)
        assert moved.database_url == first.database_url
        assert moved.broker_url != first.broker_url
        assert any("taken by something else" in text for text in told)
        stack.down(data_dir, report=_silent)
        kept = data_folder(data_dir).ports()
        assert kept is not None
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", kept.broker))
        stranger.listen()
        with pytest.raises(stack.StackTransientError, match="Something else listens"):
            stack.restart_broker(data_dir, report=_silent)


def test_two_commands_at_once_start_one_stack(data_dir):
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: stack.up(data_dir, report=_silent), range(4)))
    assert len(found) == 1


def test_a_server_that_cannot_start_shows_its_log(data_dir):
    stack.up(data_dir, report=_silent)
    stack.down(data_dir, report=_silent)
    folder = data_folder(data_dir)
    with (folder.cluster / "postgresql.conf").open("a") as settings:
        settings.write("max_connections = nonsense\n")
    with pytest.raises(stack.StackTransientError, match='invalid value for parameter "max_connections"'):
        stack.up(data_dir, report=_silent)


def test_servers_that_the_environment_names_are_checked_and_used(data_dir, tmp_path, monkeypatch, capsys):
    own = stack.up(data_dir, report=_silent)
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", own.database_url)
    monkeypatch.setenv("AFKOBLING_BROKER_URL", own.broker_url)
    given = stack.up(tmp_path / "unused", report=_silent)
    assert given == replace(own, agent_broker_url=None, authority_dir=None)
    assert not (tmp_path / "unused").exists()
    assert _command("status", "--json", "--data", str(tmp_path / "unused")) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["given"] == {"postgresql": True, "mosquitto": True}
    assert status["running"] == {"postgresql": True, "mosquitto": True}
    assert status["versions"]["mosquitto"].startswith("2.")
    for url in (own.database_url, own.broker_url):
        assert url.split(":")[2].split("@")[0] not in json.dumps(status)


def test_one_named_server_leaves_the_other_to_the_stack(data_dir, monkeypatch):
    own = stack.up(data_dir, report=_silent)
    other = data_dir.parent / "other"
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", own.database_url)
    try:
        mixed = stack.up(other, report=_silent)
        assert mixed.database_url == own.database_url
        assert mixed.broker_url != own.broker_url
        assert stack.endpoints(other) == mixed
        assert stack.pids(other).database is None
    finally:
        stack.reset(other, report=_silent)


def test_a_named_database_that_is_away_is_named_in_the_error(data_dir, monkeypatch):
    port = ports.choose()
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", f"postgresql://u:secret@127.0.0.1:{port}/d")
    with pytest.raises(stack.StackTransientError, match="cannot be reached") as caught:
        stack.up(data_dir, report=_silent)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "AFKOBLING_DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not data_dir.exists()


def test_a_database_user_who_may_not_create_the_extension_is_told_who_can(data_dir, monkeypatch):
    own = stack.up(data_dir, report=_silent)
    _query(own.database_url, "CREATE ROLE plain LOGIN PASSWORD 'plain'")
    _query(own.database_url, "CREATE DATABASE bare")
    address = own.database_url.replace("afkobling:" + own.database_url.split(":")[2].split("@")[0], "plain:plain")
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", address.removesuffix("afkobling") + "bare")
    with pytest.raises(stack.StackPermanentError, match="CREATE EXTENSION timescaledb"):
        stack.up(data_dir, report=_silent)


def test_a_named_database_without_the_preloaded_library_is_told_what_to_set(data_dir, monkeypatch):
    folder = data_folder(data_dir)
    account = server_account()
    folders.prepare(folder, account)
    place = runtime.Place(runtime=runtime.ensure(report=_silent), folder=folder, account=account)
    postgres.prepare(place)
    with (folder.cluster / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = ''\n")
    port = ports.choose()
    postgres.start(place, port=port, memory_bytes=1 << 30)
    address = postgres.url(folder, port).removesuffix("afkobling") + "postgres"
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", address)
    with pytest.raises(stack.StackPermanentError, match="shared_preload_libraries = 'timescaledb'"):
        stack.up(data_dir, report=_silent)


def test_servers_outlive_the_command_and_its_terminal(data_dir):
    stack.up(data_dir, report=_silent)
    for pid in (stack.pids(data_dir).database, stack.pids(data_dir).broker):
        assert pid is not None
        assert os.getsid(pid) != os.getsid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands servers to another account")
def test_root_is_told_when_the_account_cannot_reach_the_folder():
    home = Path(tempfile.mkdtemp(prefix="afkobling-closed-"))
    try:
        with pytest.raises(stack.StackPermanentError, match="cannot be reached by the account"):
            stack.up(home / "stack", report=_silent)
        assert not (home / "stack" / "postgres").exists()
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to take the network away")
def test_up_needs_no_network_once_the_runtime_is_there(data_dir):
    stack.up(data_dir, report=_silent)
    stack.reset(data_dir, report=_silent)
    script = (
        "import sys; from pathlib import Path; from deploy import stack; d = Path(sys.argv[1]);"
        " stack.up(d); stack.down(d)"
    )
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us make a network of our own")
    done = subprocess.run(
        [*alone, sys.executable, "-c", script, str(data_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_password_is_its_owners_alone(data_dir):
    own = stack.up(data_dir, report=_silent)
    folder = data_folder(data_dir)
    assert folder.password_file.stat().st_mode & 0o777 == 0o600
    assert folder.cluster.stat().st_mode & 0o777 == 0o700
    wrong = own.database_url.replace(own.database_url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _query(wrong, "SELECT 1")
    assert postgres.socket_folder(folder) is None or (folder.cluster / f".s.PGSQL.{_port(own)}").exists()


def _can(url: str) -> bool:
    """Whether the broker lets in who comes like that."""
    try:
        checks.look_at_broker(url)
    except stack.StackPermanentError as error:
        return "Not authorized" not in str(error)
    return True


def test_the_broker_lets_in_who_knows_its_password_which_its_owner_alone_can_read(data_dir):
    own = stack.up(data_dir, report=_silent)
    folder = data_folder(data_dir)
    assert folder.broker_password_file.stat().st_mode & 0o777 == 0o600
    assert security.access_list_file(folder).stat().st_mode & 0o777 == 0o600
    assert folder.authority.stat().st_mode & 0o777 == 0o700
    for key in (folder.broker_security / "server.key", folder.authority / "root" / "key.pem"):
        assert key.stat().st_mode & 0o777 == 0o600
    before, _, port = own.broker_url.rpartition(":")
    assert before.startswith("mqtt://server:")
    assert _can(own.broker_url)
    assert not _can(f"mqtt://server:wrong@127.0.0.1:{port}")
    assert not _can(f"mqtt://server@127.0.0.1:{port}")
    assert not _can(f"mqtt://127.0.0.1:{port}")
    password = folder.broker_password_file.read_text().strip()
    for file in (folder.logs / "mosquitto.log", folder.broker_settings, security.access_list_file(folder)):
        assert password not in file.read_text()


def test_a_stack_of_before_agents_had_certificates_comes_up_and_keeps_its_data(data_dir):
    first = stack.up(data_dir, report=_silent)
    _retained(first.broker_url, publish=b"kept")
    folder = data_folder(data_dir)
    kept = folder.ports()
    assert kept is not None
    stack.down(data_dir, report=_silent)
    # As it stood then: an open broker on one port.
    shutil.rmtree(folder.broker_security)
    shutil.rmtree(folder.authority)
    folder.broker_password_file.unlink()
    folder.keep_ports(replace(kept, agents=None))
    folder.broker_settings.write_text(
        f"listener {kept.broker} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {folder.broker_store}/\n"
    )
    account = server_account()
    program = runtime.find()
    assert program is not None
    run([program.mosquitto, "-d", "-c", folder.broker_settings], account=account, timeout_s=30)
    with pytest.raises(stack.StackTransientError, match="afkobling stack up"):
        stack.endpoints(data_dir)
    after = stack.up(data_dir, report=_silent)
    assert stack.endpoints(data_dir) == after
    assert after.database_url == first.database_url
    assert after.broker_url.rpartition(":")[2] == first.broker_url.rpartition(":")[2]
    assert _retained(after.broker_url) == b"kept"
    assert not _can(f"mqtt://127.0.0.1:{kept.broker}")


def test_a_broker_that_lost_its_password_or_its_list_is_put_right_at_the_next_start(data_dir):
    first = stack.up(data_dir, report=_silent)
    folder = data_folder(data_dir)
    stack.down(data_dir, report=_silent)
    folder.broker_password_file.unlink()
    security.access_list_file(folder).write_text('{"clients": [')
    told: list[str] = []
    after = stack.up(data_dir, report=told.append)
    assert after.broker_url != first.broker_url
    assert _can(after.broker_url)
    assert any("list of agents could not be read" in text for text in told)


def test_a_broker_whose_authority_is_gone_serves_the_agents_that_it_knows(data_dir):
    first = stack.up(data_dir, report=_silent)
    folder = data_folder(data_dir)
    root = (folder.broker_security / "root.pem").read_text()
    shutil.rmtree(folder.authority)
    told: list[str] = []
    stack.restart_broker(data_dir, report=told.append)
    assert any("Bring the folder back from a backup" in text for text in told)
    assert (folder.broker_security / "root.pem").read_text() == root
    assert not folder.authority.exists()
    assert _can(first.broker_url)


def test_agents_elsewhere_are_served_where_the_environment_says_so(data_dir, monkeypatch):
    first = stack.up(data_dir, report=_silent)
    pids = stack.pids(data_dir)
    kept = data_folder(data_dir).ports()
    assert kept is not None
    assert kept.agents is not None
    monkeypatch.setenv("AFKOBLING_BROKER_LISTEN", "0.0.0.0")  # noqa: S104
    opened = stack.up(data_dir, report=_silent)
    assert stack.pids(data_dir).broker != pids.broker
    assert (opened.broker_url, opened.database_url) == (first.broker_url, first.database_url)
    # It is remembered: whoever brings the stack up next need not say it again.
    monkeypatch.delenv("AFKOBLING_BROKER_LISTEN")
    pids = stack.pids(data_dir)
    assert stack.up(data_dir, report=_silent) == opened
    assert stack.pids(data_dir) == pids
    listening = {
        (c.laddr.ip, c.laddr.port) for c in psutil.Process(pids.broker).net_connections("tcp") if c.status == "LISTEN"
    }
    assert listening == {("127.0.0.1", kept.broker), ("0.0.0.0", kept.agents)}  # noqa: S104


def test_an_address_that_this_machine_does_not_have_is_named(data_dir, monkeypatch):
    monkeypatch.setenv("AFKOBLING_BROKER_LISTEN", "203.0.113.7")
    with pytest.raises(stack.StackTransientError, match=r"203\.0\.113\.7.*AFKOBLING_BROKER_LISTEN=127\.0\.0\.1"):
        stack.up(data_dir, report=_silent)
    monkeypatch.setenv("AFKOBLING_BROKER_LISTEN", "127.0.0.1")
    assert _can(stack.up(data_dir, report=_silent).broker_url)


def _port(own: stack.Endpoints) -> int:
    return int(own.database_url.rpartition(":")[2].split("/")[0])
