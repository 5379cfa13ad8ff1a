"""`make wheels`: whether every library of the agent comes ready-made for a Raspberry Pi class computer.

Asks the index that this machine's pip is set to, for the versions in constraints.txt. What is not ready-made would have
to be compiled on the device, for which it has no compiler.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_EXTRAS = ("edge", "opcua", "gpio")
_PYTHONS = ("3.11", "3.13")
"""Of Debian 12 and 13, and of Raspberry Pi OS on them."""
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_28_aarch64", "manylinux_2_34_aarch64")
"""Whatever the C library of Debian 12 (2.36) runs."""
_WHEEL = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)-(?:\d[^-]*-)?[^-]+-[^-]+-(?P<platform>[^-]+)\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What pip chose for one Python; `trouble` is its last word where it found no whole set."""

    python: str
    wheels: tuple[str, ...]
    trouble: str | None


def edge_requirements(project: Path) -> list[str]:
    """What pyproject.toml asks for on a device: the base and the agent's extras."""
    table = tomllib.loads(project.read_text("utf-8"))["project"]
    optional = table["optional-dependencies"]
    wanted = [*table["dependencies"], *(need for extra in _EXTRAS for need in optional.get(extra, []))]
    return [need for need in wanted if not need.startswith("afkobling")]


def find_wheels(requirements: Sequence[str], constraints: Path, *, python: str) -> Found:
    """Let pip resolve and fetch them for aarch64, ready-made ones only."""
    with tempfile.TemporaryDirectory(prefix="afkobling-wheels-") as folder:
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        done = subprocess.run(  # noqa: S603 - our own pip
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                *platforms,
                "--python-version",
                python,
                "--constraint",
                str(constraints),
                "--dest",
                folder,
                *requirements,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = tuple(sorted(path.name for path in Path(folder).glob("*.whl")))
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    trouble = None if done.returncode == 0 else (lines or done.stderr.splitlines() or ["pip failed"])[-1]
    return Found(python=python, wheels=wheels, trouble=trouble)


def describe(found: Found) -> Iterator[str]:
    """The table of one Python, a line a library."""
    yield f"Python {found.python} on aarch64"
    for wheel in found.wheels:
        match = _WHEEL.fullmatch(wheel)
        if match:
            kind = "pure Python" if match["platform"] == "any" else "aarch64"
            yield f"  {match['name']:<24}{match['version']:<14}{kind}"
    yield f"  {found.trouble}" if found.trouble else f"  {len(found.wheels)} libraries, all ready-made"


def main() -> int:
    """Print a table for each Python. Exit status 1 when something would have to be compiled."""
    requirements = edge_requirements(_ROOT / "pyproject.toml")
    all_found = [find_wheels(requirements, _ROOT / "constraints.txt", python=python) for python in _PYTHONS]
    print("\n".join(line for found in all_found for line in describe(found)))
    return 1 if any(found.trouble for found in all_found) else 0


if __name__ == "__main__":
    sys.exit(main())
