"""Fetching the servers' packages from the Debian mirror that this machine already uses.

The apt run is private (its own lists, cache and source), needs no root, and leaves the machine's package state
alone. The machine's apt configuration still applies, so that a proxy or its credentials are the ones in use.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.stack.addresses import masked
from deploy.stack.errors import StackPermanentError, StackTransientError, other_way
from deploy.stack.processes import last_lines, run

SUITE = "trixie"

# Everything that the servers load, down to the C library. libllvm (26 MB) is left out: only just-in-time
# compilation needs it, and that is off.
PACKAGES = (
    "postgresql-17",
    "postgresql-client-17",
    "postgresql-17-timescaledb",
    "mosquitto",
    "libaudit1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcjson1",
    "libcom-err2",
    "libdlt2",
    "libev4t64",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libicu76",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap2",
    "liblz4-1",
    "liblzma5",
    "libmosquitto1",
    "libnsl2",
    "libpam0g",
    "libpcre2-8-0",
    "libpq5",
    "libreadline8t64",
    "libsasl2-2",
    "libselinux1",
    "libssl3t64",
    "libstdc++6",
    "libsystemd0",
    "libtinfo6",
    "libtirpc3t64",
    "libuuid1",
    "libuv1t64",
    "libwebsockets19t64",
    "libwrap0",
    "libxml2",
    "libxslt1.1",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
)

_KEYRINGS = tuple(Path("/usr/share/keyrings") / f"debian-archive-keyring.{suffix}" for suffix in ("gpg", "pgp"))
_PRINTED_URI = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+)", re.MULTILINE)


def choose_mirror(listing: str) -> str | None:
    """The mirror among lines of `origin|site`, as apt prints them: Debian's own, and not the security archive.

    Without knowledge of the origin (no lists fetched yet) apt prints the placeholder: then the first that
    is called like a Debian archive.
    """
    pairs = [line.partition("|")[::2] for line in listing.splitlines() if "|" in line]
    usable = [(origin, site.rstrip("/")) for origin, site in pairs if "://" in site]
    usable = [(origin, site) for origin, site in usable if not site.endswith("-security")]
    for origin, site in usable:
        if origin == "Debian":
            return site
    return next((site for _, site in usable if site.endswith("/debian")), None)


def fetch(folder: Path, *, report: Callable[[str], None]) -> list[Path]:
    """Download every package into `folder` and return the files. Needs the network.

    Raises StackPermanentError when this machine has no apt, mirror or keyring that can serve; StackTransientError
    when the mirror cannot be reached or a package not be had.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise StackPermanentError(
            f"The servers' packages come through apt-get, which this machine lacks. {other_way()}"
        )
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    if keyring is None:
        raise StackPermanentError(
            "Debian's packages cannot be verified: the keyring /usr/share/keyrings/debian-archive-keyring.gpg is"
            f" missing (package debian-archive-keyring). {other_way()}"
        )
    options = _private_apt(folder, mirror=_mirror(), keyring=keyring)
    report("Reading the mirror's package list")
    _apt(["update", "--error-on=any"], options, folder=folder, timeout_s=300)
    listed = _apt(["download", "--print-uris", *PACKAGES], options, folder=folder, timeout_s=60)
    sizes = {match["file"]: int(match["size"]) for match in _PRINTED_URI.finditer(listed)}
    total = sum(sizes.values())
    report(f"Downloading {len(sizes)} packages, {total / 1e6:.0f} MB")
    archives = folder / "archives"
    archives.mkdir()
    _download([*_command(options), "download", *PACKAGES], archives, total=total)
    return sorted(archives.glob("*.deb"))


def _mirror() -> str:
    for extra in ([], ["--no-release-info"]):
        done = run(["apt-get", "indextargets", *extra, "--format", "$(ORIGIN)|$(SITE)"], timeout_s=60)
        if mirror := choose_mirror(done.stdout):
            return mirror
    raise StackPermanentError(
        f"apt on this machine has no Debian mirror to get the servers' packages from. {other_way()}"
    )


def _private_apt(folder: Path, *, mirror: str, keyring: Path) -> list[str]:
    """Options that give apt its own state below `folder`. An empty dpkg status: what is installed must not matter."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    source = folder / "sources.list"
    source.write_text(f"deb [signed-by={keyring} target=Packages] {mirror} {SUITE} main\n")
    return [
        f"Dir::Etc::sourcelist={source}",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferences=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        f"Dir::State::Lists={folder / 'lists'}",
        f"Dir::State::status={folder / 'status'}",
        f"Dir::Cache={folder / 'cache'}",
        "APT::Sandbox::User=",
        "Debug::NoLocking=1",
        "Acquire::Languages=none",
        "Acquire::Retries=2",
        "Acquire::http::Timeout=20",
        "Acquire::https::Timeout=20",
    ]


def _command(options: list[str]) -> list[str]:
    return ["apt-get", "--quiet=2", *(part for option in options for part in ("-o", option))]


def _apt(words: list[str], options: list[str], *, folder: Path, timeout_s: float) -> str:
    done = run([*_command(options), *words], timeout_s=timeout_s, folder=folder)
    if done.returncode != 0:
        raise _unreachable(done.stderr or done.stdout)
    return done.stdout


def _unreachable(words: str) -> StackTransientError:
    return StackTransientError(
        f"The servers' packages could not be fetched from this machine's Debian mirror:\n{last_lines(masked(words))}\n"
        "  Check the network and the proxy in apt's configuration, and try again; once fetched, no network is"
        f" needed. Otherwise: {other_way()}"
    )


def _download(command: list[str], archives: Path, *, total: int, timeout_s: float = 1800) -> None:
    """Run the download and show how far it is, by the size of the files: a bar, for a terminal only."""
    from tqdm import tqdm

    deadline = time.monotonic() + timeout_s
    log = archives.with_suffix(".log")
    with (
        log.open("w") as words,
        tqdm(total=total, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar,
        subprocess.Popen(  # noqa: S603 - arguments are a list, no shell reads them
            command, cwd=archives, stdin=subprocess.DEVNULL, stdout=words, stderr=words, umask=0o022
        ) as process,
    ):
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise StackTransientError(
                        f"The download did not finish within {timeout_s / 60:.0f} minutes. Try again."
                    )
                time.sleep(0.1)
                bar.update(_size(archives) - bar.n)
            bar.update(_size(archives) - bar.n)
        finally:
            process.kill()
    if process.returncode != 0:
        raise _unreachable(log.read_text(errors="replace"))


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
