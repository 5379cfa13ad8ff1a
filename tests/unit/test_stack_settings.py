"""What the stack renders, lists and picks, without a server."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import listening, mosquitto, packages, ports, postgres, runtime, security
from deploy.stack.folders import DataFolder, Ports
from schemas.broker_url import parse_broker_url

GIBIBYTE = 1 << 30


def _settings(text: str) -> dict[str, str]:
    lines = (line.split(" = ", 1) for line in text.splitlines() if " = " in line and line[0] != "#")
    return {name: value.strip("'") for name, value in lines}


def test_database_settings_keep_what_is_committed_and_listen_on_loopback_only():
    settings = _settings(postgres.render_settings(port=20001, socket_folder=Path("/d"), memory_bytes=64 * GIBIBYTE))
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["port"] == "20001"
    assert settings["unix_socket_directories"] == "/d"
    assert settings["shared_preload_libraries"] == "timescaledb"
    assert settings["timescaledb.telemetry_level"] == "off"
    assert {settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")} == {"on"}
    assert settings["jit"] == "off"
    assert settings["timezone"] == "UTC"


@pytest.mark.parametrize(("memory", "expected"), [(64, "512MB"), (4, "512MB"), (2, "256MB"), (1, "128MB"), (0, "32MB")])
def test_shared_buffers_are_an_eighth_of_the_memory_up_to_a_limit(memory, expected):
    text = postgres.render_settings(port=1, socket_folder=None, memory_bytes=memory * GIBIBYTE)
    assert _settings(text)["shared_buffers"] == expected


def test_no_socket_where_its_name_would_be_too_long():
    assert postgres.socket_folder(DataFolder(path=Path("/srv/short"))) == Path("/srv/short/postgres")
    assert postgres.socket_folder(DataFolder(path=Path("/srv") / ("x" * 80))) is None
    assert postgres.socket_folder(DataFolder(path=Path("/srv/a,b"))) is None
    text = postgres.render_settings(port=1, socket_folder=None, memory_bytes=GIBIBYTE)
    assert "unix_socket_directories = ''" in text


def _broker_settings(**changed: object) -> list[str]:
    given: dict[str, Any] = {
        "kept": Ports(database=20001, broker=20002, agents=20003),
        "store": Path("/d/mosquitto"),
        "security": Path("/d/security"),
        "plugin": Path("/r/dynamic.so"),
        "log": Path("/d/log/m.log"),
    }
    text = mosquitto.render_settings(**given | changed)
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_broker_settings_let_nobody_in_unnamed_and_bound_the_queues():
    lines = _broker_settings()
    assert [line for line in lines if line.startswith("listener")] == [
        "listener 20002 127.0.0.1",
        "listener 20003 127.0.0.1",
    ]
    # What stands below a listener is that one's.
    agents = lines[lines.index("listener 20003 127.0.0.1") :]
    for line in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "tls_version tlsv1.2",
        "cafile /d/security/root.pem",
        "certfile /d/security/server.pem",
        "keyfile /d/security/server.key",
    ):
        assert line in agents
    for line in (
        "allow_anonymous false",
        "plugin /r/dynamic.so",
        "plugin_opt_config_file /d/security/dynamic-security.json",
        "persistence true",
        "persistence_location /d/mosquitto/",
        "autosave_interval 30",
        "max_queued_messages 2000000000",
        "max_queued_bytes 1073741824",
        "max_inflight_messages 65535",
        "max_packet_size 8388608",
        "set_tcp_nodelay true",
        "log_dest file /d/log/m.log",
    ):
        assert line in lines
    # Mosquitto takes a trailing remark for a part of the value.
    assert not any("#" in line for line in lines)


def test_packages_are_listed_once_and_without_llvm():
    assert len(set(packages.PACKAGES)) == len(packages.PACKAGES)
    assert {"postgresql-17", "postgresql-17-timescaledb", "mosquitto", "libc6"} <= set(packages.PACKAGES)
    assert not any("llvm" in name for name in packages.PACKAGES)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) for name in packages.PACKAGES)


@pytest.mark.parametrize(
    ("listing", "mirror"),
    [
        ("Debian|http://one.example/debian/\nDebian|http://one.example/debian-security/", "http://one.example/debian"),
        ("Debian|http://one.example/debian-security/\nDebian|http://one.example/linux", "http://one.example/linux"),
        ("Other|https://other.example/apt\nDebian|http://one.example/deb", "http://one.example/deb"),
        (
            "$(ORIGIN)|http://one.example/debian-security\n$(ORIGIN)|http://one.example/debian",
            "http://one.example/debian",
        ),
        ("Ubuntu|http://one.example/ubuntu", None),
        ("", None),
    ],
)
def test_the_mirror_is_debians_main_archive(listing, mirror):
    assert packages.choose_mirror(listing) == mirror


def test_no_address_of_a_mirror_stands_in_the_source():
    source = Path(packages.__file__).parent
    for module in source.glob("*.py"):
        assert not re.search(r"https?://[a-z]", module.read_text(encoding="utf-8")), module


def test_libraries_that_are_missing_are_named_with_those_who_need_them():
    needed = {"postgres": ["libc.so.6", "libicu.so.76"], "mosquitto": ["libc.so.6"], "timescaledb.so": ["libicu.so.76"]}
    assert runtime.missing_libraries(needed, ["libc.so.6", "libicu.so.76"]) == {}
    assert runtime.missing_libraries(needed, ["libc.so.6"]) == {"libicu.so.76": ["postgres", "timescaledb.so"]}


def test_each_machine_has_its_own_loader():
    assert runtime.MACHINES["amd64"].loader == "ld-linux-x86-64.so.2"
    assert runtime.MACHINES["arm64"].loader == "ld-linux-aarch64.so.1"


def test_ports_are_kept_while_they_are_free_or_ours():
    free = ports.choose()
    other = ports.choose(free)
    third = ports.choose(free, other)
    kept = Ports(database=free, broker=other, agents=third)
    assert len({free, other, third}) == 3
    assert ports.settle(kept, database_runs=False, broker_runs=False) == kept
    assert ports.settle(kept, database_runs=True, broker_runs=True) == kept
    before = Ports(database=free, broker=other)
    settled = ports.settle(before, database_runs=True, broker_runs=True, listen="192.168.1.5")
    assert (settled.database, settled.broker, settled.listen) == (free, other, "192.168.1.5")
    assert settled.agents not in {None, free, other}
    assert ports.settle(settled, database_runs=True, broker_runs=True) == settled


def test_the_broker_keeps_what_it_acknowledged_unless_told_not_to():
    lines = {persistence: _broker_settings(persistence=persistence) for persistence in (True, False)}
    assert "persistence true" in lines[True]
    assert "persistence false" in lines[False]
    assert _broker_settings() == lines[True]


def test_agents_alone_are_served_elsewhere_than_on_loopback():
    lines = _broker_settings(kept=Ports(database=20001, broker=20002, agents=20003, listen="0.0.0.0"))  # noqa: S104
    assert [line for line in lines if line.startswith("listener")] == [
        "listener 20002 127.0.0.1",
        "listener 20003 0.0.0.0",
    ]


def test_agents_are_told_an_address_that_the_certificate_is_for():
    assert listening.agent_url("127.0.0.1", 5) == "mqtts://127.0.0.1:5"
    assert listening.agent_url("192.168.1.5", 5) == "mqtts://192.168.1.5:5"
    assert listening.agent_url("fd00::5", 5) == "mqtts://[fd00::5]:5"
    for listen in ("127.0.0.1", "192.168.1.5", "0.0.0.0", "::"):  # noqa: S104
        told = parse_broker_url(listening.agent_url(listen, 5)).host
        assert told not in {"0.0.0.0", "::"}  # noqa: S104
        assert {told, "127.0.0.1", "localhost"} <= set(listening.certified_names(listen))


def test_the_access_list_forbids_what_no_role_allows_and_keeps_the_agents():
    agent = {"username": "press:01", "roles": [{"rolename": "agent:a/b/press"}]}
    role = {"rolename": "agent:a/b/press", "acls": []}
    stale = {"username": "server", "password": "of before", "roles": []}
    listed = security.access_list({"clients": [stale, agent], "roles": [role]}, "secret")
    assert listed["defaultACLAccess"] == {
        "publishClientSend": False,
        "publishClientReceive": False,
        "subscribe": False,
        "unsubscribe": True,
    }
    assert [one["username"] for one in listed["clients"]] == ["server", "press:01"]
    assert [one["rolename"] for one in listed["roles"]] == ["server", "agent:a/b/press"]
    assert "secret" not in json.dumps(listed)
    again = security.access_list(listed, "secret")
    assert again["clients"][0]["salt"] != listed["clients"][0]["salt"]
    assert again["clients"][1:] == listed["clients"][1:]
