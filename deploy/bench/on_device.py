"""Runs a command as on a device where only the agent's libraries are installed.

What other extras bring is hidden: a library that finds another one installed may load it, and it would count as ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from types import ModuleType

from deploy.cli import main

_NAME = re.compile(r"[A-Za-z0-9._-]+")


class _Hidden(MetaPathFinder):
    """Says of these packages that they are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{fullname} is hidden, as on a device", name=fullname)
        return None


def command(*arguments: str) -> list[str]:
    """The command line that runs `afkobling` with these arguments and the agent's libraries alone."""
    return [sys.executable, "-m", "deploy.bench.on_device", ",".join(foreign_packages("edge")), *arguments]


def foreign_packages(extra: str) -> list[str]:
    """Top-level packages installed here that an installation with this extra would not have."""
    ours = {"afkobling"}
    waiting = [("afkobling", extra)]
    while waiting:
        name, wanted = waiting.pop()
        for need in _needs(name, wanted):
            if need not in ours:
                ours.add(need)
                waiting.append((need, ""))
    found = packages_distributions()
    return sorted(
        package
        for package, owners in found.items()
        if package.isidentifier() and not ours & {_plain(o) for o in owners}
    )


def _needs(distribution: str, extra: str) -> list[str]:
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        asked = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        match = _NAME.match(requirement.strip())
        if match and (asked is None or asked[1] == extra):
            found.append(_plain(match[0]))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.meta_path.insert(0, _Hidden(sys.argv[1].split(",")))
    sys.exit(main(sys.argv[2:]))
