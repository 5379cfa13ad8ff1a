"""The servers' programs: the machine's own where they fit, else a private root unpacked from Debian packages.

Debian 13's programs need a newer C library than Debian 12 has. The private root therefore brings its own, down to
the loader, and its programs are patched to start with that loader and find only its libraries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import folders, packages
from deploy.stack.errors import StackPermanentError, other_way
from deploy.stack.processes import SERVER_ENVIRONMENT, Account, run, run_checked, server_account

POSTGRES_MAJOR = 17
# Before 2.0.13 Mosquitto lost count of a window when acknowledgements came in batches.
OLDEST_MOSQUITTO = (2, 0, 13)
_MANIFEST = "runtime.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a Debian architecture calls its library folder and its loader."""

    architecture: str
    triplet: str
    loader: str


MACHINES = {
    "amd64": Machine(architecture="amd64", triplet="x86_64-linux-gnu", loader="ld-linux-x86-64.so.2"),
    "arm64": Machine(architecture="arm64", triplet="aarch64-linux-gnu", loader="ld-linux-aarch64.so.1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A root folder with the servers in Debian's places; `/` when the machine has them installed."""

    root: Path

    @property
    def postgres_programs(self) -> Path:
        """The folder of postgres, initdb, pg_ctl and psql."""
        return self.root / f"usr/lib/postgresql/{POSTGRES_MAJOR}/bin"

    @property
    def mosquitto(self) -> Path:
        """The broker's program."""
        return self.root / "usr/sbin/mosquitto"

    @property
    def dynamic_security(self) -> Path | None:
        """The broker's plugin that keeps its access list; None where it is not there."""
        return next(iter(sorted(self.root.glob("usr/lib/*/mosquitto_dynamic_security.so"))), None)

    @property
    def timescaledb_control(self) -> Path:
        """The extension's control file, which names its version."""
        return self.root / f"usr/share/postgresql/{POSTGRES_MAJOR}/extension/timescaledb.control"

    def is_complete(self) -> bool:
        """Whether all of it is there."""
        needed = (self.postgres_programs / "postgres", self.mosquitto, self.timescaledb_control)
        return all(path.exists() for path in needed) and self.dynamic_security is not None

    def postgres_version(self) -> str:
        """What the postgres program says, such as `17.6`."""
        program = self.postgres_programs / "postgres"
        return _version(run([program, "--version"], timeout_s=20, environment=SERVER_ENVIRONMENT))

    def mosquitto_version(self) -> str:
        """What the mosquitto program says, such as `2.0.21`."""
        return _version(run([self.mosquitto, "-h"], timeout_s=20, environment=SERVER_ENVIRONMENT))

    def timescaledb_version(self) -> str:
        """The version that CREATE EXTENSION would install."""
        text = self.timescaledb_control.read_text(encoding="utf-8")
        match = re.search(r"^default_version\s*=\s*'([^']+)'", text, re.MULTILINE)
        return match[1] if match else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a server is started from: programs, data and account."""

    runtime: Runtime
    folder: folders.DataFolder
    account: Account


def find() -> Runtime | None:
    """The runtime that is ready for use, or None. Neither writes nor touches the network."""
    installed = Runtime(root=Path("/"))
    if installed.is_complete() and _parts(installed.mosquitto_version()) >= OLDEST_MOSQUITTO:
        return installed
    machine = _machine()
    if machine is None:
        return None
    private = Runtime(root=_private_root(machine))
    manifest = _manifest(private.root)
    # Programs carry the absolute path of their loader: a root that was moved does not start.
    return private if manifest is not None and manifest.get("root") == str(private.root) else None


def ensure(*, report: Callable[[str], None]) -> Runtime:
    """The runtime, downloaded and unpacked on first use (some 50 MB), from then on without any network.

    Raises StackPermanentError when this machine cannot have one, StackTransientError when the mirror is away.
    """
    if ready := find():
        return ready
    machine = _machine()
    if machine is None:
        raise StackPermanentError(
            "The local stack comes as Debian packages for amd64 and arm64, which do not fit this machine"
            f" ({sys.platform}, {os.uname().machine}). {other_way()}"
        )
    home = folders.runtime_dir()
    try:
        folders.make_public(home)
    except OSError as error:
        raise StackPermanentError(
            f"The runtime folder {home} cannot be created: {error.strerror}. Choose another with AFKOBLING_RUNTIME_DIR."
        ) from error
    # Before the download rather than after it.
    folders.require_reach(home, server_account(), what="runtime folder", remedy="AFKOBLING_RUNTIME_DIR")
    with folders.locked(home, report=report), folders.trouble_told(home):
        return find() or _build(home, machine, report=report)


def missing_libraries(needed: dict[str, list[str]], present: Iterable[str]) -> dict[str, list[str]]:
    """For each library that is needed but not present, the files that need it."""
    have = set(present)
    missing: dict[str, list[str]] = {}
    for file, names in needed.items():
        for name in names:
            if name not in have:
                missing.setdefault(name, []).append(file)
    return missing


def _build(home: Path, machine: Machine, *, report: Callable[[str], None]) -> Runtime:
    """Build in a scratch folder and rename: a root that is in place is whole."""
    started = time.monotonic()
    report(f"Setting up PostgreSQL, TimescaleDB and Mosquitto in {home} (once)")
    work = folders.scratch(home, "building")
    final = _private_root(machine)
    try:
        archives = packages.fetch(work, report=report)
        report(f"Unpacking {len(archives)} packages")
        root = work / "root"
        root.mkdir(mode=0o755)
        for archive in archives:
            run_checked(["dpkg", "-x", archive, root], doing="Unpacking", timeout_s=120)
        _settle(root, final, machine)
        manifest = {"root": str(final), "packages": [archive.name for archive in archives]}
        folders.write_whole(root / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
        # The rename must not reach the disk before the files do.
        os.sync()
        if final.exists():
            final.rename(work / "replaced")
        root.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(f"The runtime is ready after {time.monotonic() - started:.0f} s")
    return Runtime(root=final)


def _settle(root: Path, final: Path, machine: Machine) -> None:
    """Link the libraries' names, drop what needs LLVM, patch the programs, and check that nothing is missing."""
    libraries = root / "usr/lib" / machine.triplet
    # An ordinary user's PATH often lacks the folder of ldconfig.
    ldconfig = shutil.which("ldconfig", path=SERVER_ENVIRONMENT["PATH"]) or "/sbin/ldconfig"
    run_checked([ldconfig, "-n", libraries], doing="Linking the libraries", timeout_s=60)
    modules = root / f"usr/lib/postgresql/{POSTGRES_MAJOR}/lib"
    for name in ("llvmjit.so", "llvmjit_types.bc", "bitcode"):
        path = modules / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    programs = [
        path
        for place in (Runtime(root=root).postgres_programs, root / "usr/sbin", root / "usr/bin")
        for path in sorted(place.glob("*"))
        if _is_elf(path)
    ]
    here = Path("usr/lib") / machine.triplet
    for program in programs:
        # An rpath, not a runpath: it holds for the libraries' own libraries too.
        patch: list[str | Path] = [_patchelf(), "--set-interpreter", final / here / machine.loader]
        patch += ["--force-rpath", "--set-rpath", final / here, program]
        run_checked(patch, doing=f"Patching {program.name}", timeout_s=60)
    plugins = sorted(libraries.glob("mosquitto_*.so"))
    _check_libraries([*programs, *sorted(modules.glob("*.so")), *plugins], libraries)


def _check_libraries(files: list[Path], libraries: Path) -> None:
    """Follow what the files need, and what that needs, within the library folder; raise when one is not there."""
    present = {path.name for path in libraries.iterdir()}
    needed: dict[str, list[str]] = {}
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file.name in needed:
            continue
        listed = run_checked([_patchelf(), "--print-needed", file], doing=f"Reading {file.name}", timeout_s=60)
        needed[file.name] = listed.split()
        waiting += [libraries / name for name in needed[file.name] if name in present]
    missing = missing_libraries(needed, present)
    if missing:
        lines = "\n".join(f"    {name}, for {', '.join(users[:3])}" for name, users in sorted(missing.items()))
        raise StackPermanentError(
            "The unpacked packages lack libraries; Debian has probably changed what they depend on:\n"
            f"{lines}\n  Please report it. {other_way()}"
        )


def _patchelf() -> Path:
    """The program of the package `patchelf`, which stands beside this interpreter."""
    beside = Path(sys.executable).with_name("patchelf")
    found = beside if beside.exists() else shutil.which("patchelf")
    if found is None:
        raise StackPermanentError(
            "The program patchelf is missing. Install Afkobling with its extra `server`, which brings it."
        )
    return Path(found)


def _machine() -> Machine | None:
    architectures = {"x86_64": "amd64", "aarch64": "arm64"}
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    return MACHINES.get(architectures.get(os.uname().machine, ""))


def _private_root(machine: Machine) -> Path:
    return folders.runtime_dir() / f"{packages.SUITE}-{machine.architecture}"


def _manifest(root: Path) -> dict[str, object] | None:
    try:
        manifest = json.loads((root / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _version(done: object) -> str:
    match = re.search(r"\d+(?:\.\d+)+", f"{getattr(done, 'stdout', '')}")
    return match[0] if match else "unknown"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
