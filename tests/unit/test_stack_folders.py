"""The data folder's guard, its ports, and the lock."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from deploy.stack import folders, ports
from deploy.stack.errors import StackPermanentError, StackTransientError
from deploy.stack.folders import DataFolder, Ports
from deploy.stack.processes import Account

ME = Account(name="me", uid=os.geteuid(), gid=os.getegid())


def test_an_empty_or_new_folder_becomes_a_data_folder(tmp_path):
    folder = DataFolder(path=tmp_path / "a" / "b")
    folders.prepare(folder, ME)
    assert folder.exists()
    assert folder.ports() is None
    kept = Ports(database=20001, broker=20002, agents=20003, listen="192.168.1.5")
    folder.keep_ports(kept)
    folders.prepare(folder, ME)
    assert folder.ports() == kept


def test_a_folder_of_before_agents_had_certificates_has_no_port_for_them(tmp_path):
    marker = {"kind": "data folder of an afkobling stack", "database_port": 20001, "broker_port": 20002}
    (tmp_path / "afkobling-stack.json").write_text(json.dumps(marker))
    assert DataFolder(path=tmp_path).ports() == Ports(database=20001, broker=20002, agents=None)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    folder = DataFolder(path=tmp_path)
    with pytest.raises(StackPermanentError, match="not the data folder"):
        folders.prepare(folder, ME)
    with pytest.raises(StackPermanentError, match="not the data folder"):
        folders.refuse_foreign(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_marker_of_another_kind_does_not_count(tmp_path):
    for text in ('{"kind": "something else"}', "[1]", "not json"):
        (tmp_path / "afkobling-stack.json").write_text(text)
        assert not DataFolder(path=tmp_path).exists()


def test_a_name_that_configuration_files_cannot_carry_is_refused(tmp_path):
    with pytest.raises(StackPermanentError, match="characters"):
        folders.prepare(DataFolder(path=tmp_path / "it's"), ME)


def test_delete_removes_everything_and_can_be_repeated_after_a_break(tmp_path):
    folder = DataFolder(path=tmp_path / "stack")
    folders.prepare(folder, ME)
    folder.cluster.mkdir()
    (folder.cluster / "PG_VERSION").write_text("17")
    (folder.path / "deleting-x").mkdir()
    folders.delete(folder)
    assert not folder.path.exists()


def test_scratch_folders_left_by_a_kill_are_removed(tmp_path):
    (tmp_path / "building-old" / "root").mkdir(parents=True)
    made = folders.scratch(tmp_path, "building")
    assert list(tmp_path.iterdir()) == [made]


def test_a_file_is_replaced_whole_with_its_mode(tmp_path):
    path = tmp_path / "password"
    folders.write_whole(path, "one", mode=0o600)
    folders.write_whole(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_lock_makes_a_second_command_wait_and_then_give_up(tmp_path):
    told: list[str] = []
    with folders.locked(tmp_path, report=told.append):
        failed = threading.Event()

        def second() -> None:
            with pytest.raises(StackTransientError, match="Another afkobling command"):  # noqa: SIM117
                with folders.locked(tmp_path, report=told.append, timeout_s=0.2):
                    pass
            failed.set()

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        assert failed.is_set()
    assert len(told) == 1
    with folders.locked(tmp_path, report=told.append, timeout_s=0):
        pass


def test_the_environment_names_the_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("AFKOBLING_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AFKOBLING_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert folders.data_folder().path == tmp_path / "data"
    assert folders.data_folder(Path("/elsewhere")).path == Path("/elsewhere")
    assert folders.runtime_dir() == tmp_path / "runtime"


def test_a_port_that_something_else_took_is_given_up():
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        other = ports.choose(taken)
        assert not ports.is_free(taken)
        kept = Ports(database=taken, broker=other, agents=taken)
        settled = ports.settle(kept, database_runs=False, broker_runs=False)
        assert settled.database != taken
        assert settled.broker == other
        assert settled.agents not in {taken, settled.database, other}
