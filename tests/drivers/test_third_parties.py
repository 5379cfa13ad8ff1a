"""Drivers of others: the example of docs/drivers.md, installed as a package is, and packages that are broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge.drivers import DriverKind, find_driver
from edge.drivers.listing import list_drivers
from edge.errors import UnknownDriverError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "drivers.md").read_text("utf-8")


def example(name: str) -> str:
    """The code that the page gives for a file."""
    [code] = [code for _, code in re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL) if code.startswith(f"# {name}\n")]
    return str(code)


def install(folder: Path, name: str, points: dict[str, str]) -> None:
    """What an installer leaves behind of a package with these entry points."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{driver} = {where}\n" for driver, where in points.items())
    (about / "entry_points.txt").write_text(f"[afkobling.drivers]\n{lines}")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    (tmp_path / "acme_meter.py").write_text(example("acme_meter.py"))
    points = tomllib.loads(example("pyproject.toml"))["project"]["entry-points"]["afkobling.drivers"]
    install(tmp_path, "acme-meter", points)
    return tmp_path


def test_the_example_of_the_page_passes_the_suite(acme: Path) -> None:
    (acme / "test_acme_meter.py").write_text(example("test_acme_meter.py"))
    (acme / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    found = run(acme, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rs", "test_acme_meter.py")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "10 passed, 1 skipped" in found.stdout
    assert "does not ask to hear when its readings are kept" in found.stdout


def test_its_pure_part_needs_no_device(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(acme)
    kind = find_driver("acme")
    assert isinstance(kind, DriverKind)
    decode = sys.modules["acme_meter"].decode
    assert decode(b"1234.5\n") == 1234.5
    for nonsense in (b"", b"1234", b"-\n", b"1.2.3\n", b"nan\n"):
        with pytest.raises(ValueError, match="makes no sense"):
            decode(nonsense)
    sys.modules.pop("acme_meter")


def test_the_command_lists_it_with_where_it_came_from(acme: Path) -> None:
    found = run(acme, "-m", "deploy.cli", "edge", "drivers", "--json")
    assert found.returncode == 0, found.stderr
    listed = {driver["name"]: driver for driver in json.loads(found.stdout)}
    assert listed["acme"] == {
        "name": "acme",
        "about": "acme_meter:KIND",
        "source": "acme-meter 1.0",
        "problem": None,
    }
    assert listed["modbus"]["source"] == "afkobling"
    assert all(driver["about"] for driver in listed.values()), "each of our drivers says what it reads"


@pytest.mark.parametrize(
    ("code", "where", "words"),
    [
        (None, "nowhere_at_all:KIND", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("import no_such_library", "broken:KIND", "No module named 'no_such_library'"),
        ("x = 1", "broken:KIND", "AttributeError"),
        ("raise RuntimeError('no licence found')", "broken:KIND", "RuntimeError: no licence found"),
        ("def", "broken:KIND", "SyntaxError"),
        ("KIND = 1", "broken:KIND", "is not a DriverKind; tell its authors"),
    ],
)
def test_a_broken_one_is_said_and_harms_no_other(
    code: str | None, where: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is not None:
        (tmp_path / "broken.py").write_text(code)
    install(tmp_path, "broken", {"shaky": where, "modbus": where})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(UnknownDriverError, match=re.escape(words)) as found:
        find_driver("shaky")
    assert where in str(found.value)
    listed = {driver.name: driver for driver in list_drivers()}
    assert words in str(listed["shaky"].problem)
    assert (listed["modbus"].source, listed["modbus"].problem) == ("afkobling", None)
    # A name of ours stays ours.
    assert find_driver("modbus").settings.__module__.startswith("edge.")
    monkeypatch.delitem(sys.modules, "broken", raising=False)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.listing._is_installed", lambda library: library != "asyncua")
    listed = {driver.name: driver for driver in list_drivers()}
    assert listed["opcua"].problem == "needs asyncua; install it with: pip install 'afkobling[opcua]'"
    assert listed["modbus"].problem is None
