"""The agent's install script, unit and container file agree with each other and with the commands there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.cli import build_parser
from deploy.edge.wheels import Found, describe, edge_requirements

PROJECT = Path(__file__).parents[3]
FOLDER = PROJECT / "deploy" / "edge"
SCRIPT = FOLDER / "install-edge.sh"
UNIT = FOLDER / "afkobling-edge.service"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def unit() -> dict[str, str]:
    """Of a name that stands several times, the last value."""
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


def test_the_script_carries_the_unit_as_it_stands_in_the_repository() -> None:
    done = run("--print-unit")
    assert (done.returncode, done.stdout) == (0, UNIT.read_text())


def test_the_unit_runs_a_command_that_there_is() -> None:
    start = unit()["ExecStart"].split()
    assert start[0] == "/opt/afkobling-edge/current/bin/afkobling"
    arguments = build_parser().parse_args(start[1:])
    assert arguments.config == "/var/lib/afkobling-edge/edge.yaml"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("CapabilityBoundingSet", ""),
        ("DevicePolicy", "closed"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("StateDirectory", "afkobling-edge"),
        ("Restart", "always"),
    ],
)
def test_the_unit_is_hardened(name: str, value: str) -> None:
    assert unit()[name] == value


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_understands_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    program = tmp_path / "afkobling"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/afkobling-edge/current/bin/afkobling", str(program)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in verified.stderr.splitlines() if UNIT.name in line] == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert level is not None, judged.stderr
    assert float(level[1]) <= 2.0


def test_bad_options_change_nothing(tmp_path: Path) -> None:
    for arguments in ([], ["--nonsense"], ["--from"], ["--prefix"]):
        done = run(*arguments)
        assert done.returncode != 0
        assert "install-edge" in done.stderr
    done = run("--prefix", str(tmp_path / "p"), "--back")
    assert (done.returncode, "no version before" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    done = run(
        "--prefix",
        str(prefix),
        "--from",
        str(tmp_path / "there-is-none"),
        PIP_NO_INDEX="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
    )
    assert done.returncode == 1
    assert "pip could not install" in done.stderr
    assert list((prefix / "opt" / "afkobling-edge").iterdir()) == []
    assert (prefix / "var" / "lib" / "afkobling-edge").is_dir()


@pytest.mark.skipif(
    "AFKOBLING_INSTALL_CHECK" not in os.environ, reason="fetches packages; AFKOBLING_INSTALL_CHECK=1 runs it"
)
def test_install_change_and_back_keep_what_belongs_to_the_device(tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    options = ["--prefix", str(prefix), "--constraint", str(PROJECT / "constraints.txt"), "--from", str(PROJECT)]
    assert run(*options).returncode == 0
    state = prefix / "var" / "lib" / "afkobling-edge"
    (state / "edge.yaml").write_text(
        "organisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://127.0.0.1:1\n"
        "drivers: [{name: f, driver: replay, path: m.csv}]\n"
    )
    (state / "outbox.sqlite").write_bytes(b"")
    programs = prefix / "opt" / "afkobling-edge"
    first = (programs / "current").readlink()
    assert run(*options).returncode == 0
    second = (programs / "current").readlink()
    assert (first != second, (programs / "previous").readlink()) == (True, first)
    assert run("--prefix", str(prefix), "--back").returncode == 0
    assert (programs / "current").readlink() == first
    assert run("--prefix", str(prefix), "--remove").returncode == 0
    assert not programs.exists()
    assert sorted(path.name for path in state.iterdir()) == ["edge.yaml", "outbox.sqlite"]


def test_the_container_runs_a_command_that_there_is() -> None:
    text = (FOLDER / "Containerfile").read_text()
    entry = re.search(r'ENTRYPOINT \["afkobling", "edge"\]\nCMD \["run", "--config", "([^"]+)"\]', text)
    assert entry is not None
    assert (
        build_parser().parse_args(["edge", "run", "--config", entry[1]]).config.startswith("/var/lib/afkobling-edge/")
    )
    assert "USER afkobling-edge" in text


class TestWheels:
    def test_the_agent_s_libraries_are_asked_for_and_not_the_server_s(self) -> None:
        wanted = {re.split(r"[<>=\[ ]", need)[0] for need in edge_requirements(PROJECT / "pyproject.toml")}
        assert {"paho-mqtt", "pymodbus", "pydantic", "structlog"} <= wanted
        assert wanted.isdisjoint({"numpy", "pyarrow", "psycopg", "fastapi", "afkobling"})

    def test_the_table_says_which_are_made_for_the_processor(self) -> None:
        wheels = ("paho_mqtt-2.2.0-py3-none-any.whl", "cffi-2.1.1-cp311-cp311-manylinux2014_aarch64.whl")
        told = list(describe(Found(python="3.11", wheels=wheels, trouble=None)))
        assert ["pure Python" in line for line in told[1:3]] == [True, False]
        assert told[-1] == "  2 libraries, all ready-made"
        assert list(describe(Found(python="3.11", wheels=(), trouble="ERROR: none")))[-1] == "  ERROR: none"
