"""What the stack renders, lists and picks, without a server."""

import re
from pathlib import Path

import pytest

from deploy.stack import mosquitto, packages, ports, postgres, runtime
from deploy.stack.folders import DataFolder, Ports

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


def test_broker_settings_listen_on_loopback_only_and_bound_the_queues():
    text = mosquitto.render_settings(port=20002, store=Path("/d/mosquitto"), log=Path("/d/log/m.log"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("listener")] == ["listener 20002 127.0.0.1"]
    for line in (
        "persistence true",
        "persistence_location /d/mosquitto/",
        "autosave_interval 30",
        "max_queued_messages 0",
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
    kept = Ports(database=free, broker=other)
    assert free != other
    assert ports.settle(kept, database_runs=False, broker_runs=False) == kept
    assert ports.settle(kept, database_runs=True, broker_runs=True) == kept


def test_the_broker_keeps_what_it_acknowledged_unless_told_not_to():
    lines = {
        persistence: mosquitto.render_settings(port=1, store=Path("/s"), log=Path("/l"), persistence=persistence)
        for persistence in (True, False)
    }
    assert "\npersistence true\n" in lines[True]
    assert "\npersistence false\n" in lines[False]
    assert mosquitto.render_settings(port=1, store=Path("/s"), log=Path("/l")) == lines[True]
