"""A machine on which the private runtime cannot work is told what else there is."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from deploy.stack import packages, runtime
from deploy.stack.errors import StackPermanentError, StackTransientError
from deploy.stack.processes import Account
from deploy.stack.runtime import Runtime


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No runtime yet, and none installed."""
    monkeypatch.setenv("AFKOBLING_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr(Runtime, "is_complete", lambda _self: False)
    monkeypatch.setattr(runtime, "server_account", _myself)
    return tmp_path


def _myself():
    return Account(name="me", uid=os.geteuid(), gid=os.getegid())


def _silent(_text: str) -> None:
    pass


def _ensure_fails(error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        runtime.ensure(report=_silent)
    text = str(caught.value)
    assert "AFKOBLING_DATABASE_URL" in text
    assert "AFKOBLING_BROKER_URL" in text
    return text


def test_another_operating_system(bare, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "do not fit this machine" in _ensure_fails(StackPermanentError)


def test_no_apt(bare, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    assert "apt-get" in _ensure_fails(StackPermanentError)


def test_no_keyring(bare, monkeypatch):
    monkeypatch.setattr(packages, "_KEYRINGS", (bare / "none.gpg",))
    assert "debian-archive-keyring" in _ensure_fails(StackPermanentError)


def _apt_that(listing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: Sequence[str | Path], **_kwargs: object) -> CompletedProcess[str]:
        if "indextargets" in arguments:
            return CompletedProcess([], 0, listing, "")
        return CompletedProcess([], 100, "", "E: Failed to fetch: could not connect")

    monkeypatch.setattr(packages, "run", run)
    monkeypatch.setattr(packages, "_KEYRINGS", (Path(__file__),))
    monkeypatch.setattr(shutil, "which", lambda name, **_kwargs: f"/usr/bin/{name}")


def test_no_debian_mirror(bare, monkeypatch):
    _apt_that("Ubuntu|http://one.example/ubuntu", monkeypatch)
    assert "no Debian mirror" in _ensure_fails(StackPermanentError)


def test_no_network_quotes_apt_and_leaves_nothing_half_built(bare, monkeypatch):
    _apt_that("Debian|http://one.example/debian", monkeypatch)
    assert "could not connect" in _ensure_fails(StackTransientError)
    assert [path.name for path in (bare / "runtime").iterdir()] == ["lock"]


def test_a_runtime_that_was_moved_is_not_taken_for_ready(bare):
    machine = runtime.MACHINES["amd64"]
    for name in runtime.MACHINES:
        root = bare / "runtime" / f"trixie-{name}"
        root.mkdir(parents=True)
        (root / "runtime.json").write_text('{"root": "/elsewhere"}')
    assert machine.architecture == "amd64"
    assert runtime.find() is None
