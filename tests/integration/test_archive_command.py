"""`afkobling archive`, as a person calls it, and as a machine kills it."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collector.archive.archiver import ArchiveRunner
from deploy.archive_place import default_archive, remove_default_archive
from deploy.cli import main
from deploy.stack.folders import data_folder
from tests.integration.collector.archive_site import everything, fill, in_table, prepare, settings, strays
from tests.integration.collector.conftest import wait_for

pytestmark = pytest.mark.stack

LONG_AGO = datetime(2024, 3, 20, tzinfo=UTC)


@pytest.fixture
def ours(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A database with old readings, and where its archive is to be."""
    # The clock of a command is the machine's own.
    prepare(database_url, start=LONG_AGO)
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", database_url)
    monkeypatch.setenv("AFKOBLING_ARCHIVE_URL", str(tmp_path / "archive"))
    return database_url, tmp_path / "archive"


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any, str]:
    """Status, what was printed (as JSON where it is), and what was said of failures."""
    status = main(["archive", *words])
    printed = capsys.readouterr()
    try:
        return status, json.loads(printed.out), printed.err
    except ValueError:
        return status, printed.out, printed.err


def test_run_status_verify_restore(ours, capsys):
    database_url, folder = ours
    with psycopg.connect(database_url, autocommit=True) as connection:
        truth = in_table(connection)
        connection.execute("ANALYZE reading")
        before = call(capsys, "status", "--json")[1]
        assert (before["hot_readings"], before["archived_readings"]) == (len(truth), 0)
        assert before["due_chunks"] == before["hot_chunks"] > 3
        assert before["url"] == folder.as_uri()
        assert "due        0 chunks" in call(capsys, "status", "--retention", "36500d")[1]
        status, done, _ = call(capsys, "run", "--json")
        assert (status, done["readings"], done["problems"]) == (0, len(truth), [])
        assert done["bytes_per_reading"] > 0
        assert call(capsys, "run")[:2] == (0, "nothing is due\n")
        after = call(capsys, "status", "--json")[1]
        assert (after["hot_chunks"], after["archived_readings"]) == (0, len(truth))
        assert call(capsys, "verify")[1].endswith(f"with {len(truth):,} readings read and compared: 0 damaged\n")
        assert call(capsys, "verify", "--fast", "--site", "acme/hall", "--json")[1]["readings"] == len(truth) // 2
        victim = sorted(folder.rglob("*.parquet"))[0]
        kept = victim.read_bytes()
        victim.unlink()
        status, told, _ = call(capsys, "verify", "--json")
        assert (status, told["damaged"]) == (
            1, [{"path": str(victim.relative_to(folder)), "problem": "is missing"}],
        )  # fmt: skip
        victim.write_bytes(kept)
        status, back, _ = call(
            capsys, "restore", "--from", "2024-03-01", "--to", "2024-05-01", "--site", "yard", "--json"
        )
        assert (status, back["readings"]) == (0, len(truth) // 2)
        assert everything(connection, folder) == truth
        assert "kept until" in call(capsys, "status")[1]
        assert call(capsys, "run")[1] == "nothing is due\n"
        nothing = call(capsys, "restore", "--from", "2020-01-01", "--to", "2020-01-02")
        assert nothing[:2] == (0, "nothing archived lies in that span\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore", "--from", "2026-01-02", "--to", "2026-01-01"], "--to is not after --from"),
        (["restore", "--from", "yesterday", "--to", "2026-01-01"], "'yesterday' is no instant"),
        (["restore", "--from", "2026-01-01T10:00", "--to", "2026-01-02"], "lacks its offset from UTC"),
        (["restore", "--from", "2026-01-01", "--to", "2026-01-02", "--keep", "7"], "--keep: '7' is not a span of time"),
        (["verify", "--site", "nowhere"], "there is no site 'nowhere'"),
        (["run", "--every", "5min"], "--every and --metrics-port are of --forever"),
        (["run", "--retention", "soon"], "setting AFKOBLING_ARCHIVE_RETENTION: 'soon' is not a span"),
        (["run", "--forever", "--json"], "--json is of a single pass"),
        (["run", "--chunk-interval", "1s"], "a chunk spans a minute at least"),
        (["run", "--url", "ftp://plant"], "not an address of an archive"),
        (["run", "--url", "s3://key:secret@bucket"], "AWS_ACCESS_KEY_ID"),
        (["run", "--url", "/dev/null/archive"], "the archive at file:///dev/null/archive can't be used"),
        (["move", "elsewhere"], "nothing was archived yet"),
    ],
)
def test_what_can_t_be_done_is_said(database_url, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", database_url)
    if "--url" not in words:
        monkeypatch.setenv("AFKOBLING_ARCHIVE_URL", str(tmp_path))
    status, _, err = call(capsys, *words)
    assert status == 1
    assert err.startswith("afkobling: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_without_a_place(ours, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("AFKOBLING_ARCHIVE_URL")
    monkeypatch.setenv("AFKOBLING_DATA_DIR", str(tmp_path / "no stack"))
    status, _, err = call(capsys, "run")
    assert status == 1
    assert "set AFKOBLING_ARCHIVE_URL" in err


def test_the_stack_s_own_databases_have_a_folder_each(tmp_path):
    stack = data_folder(tmp_path / "stack")
    stack.path.mkdir()
    assert default_archive("postgresql://me:x@127.0.0.1:5432/plant", stack.path) is None
    (stack.path / "afkobling-stack.json").write_text(
        json.dumps({"kind": "data folder of an afkobling stack", "database_port": 5432, "broker_port": 1883})
    )
    place = default_archive("postgresql://me:x@127.0.0.1:5432/plant", stack.path)
    assert place == stack.path / "archive" / "plant"
    assert default_archive("postgresql://me:x@127.0.0.1:5432/a%2Fb", stack.path) == stack.path / "archive" / "a%2Fb"
    for other in ("postgresql://me:x@127.0.0.1:5433/plant", "postgresql://me:x@db.plant:5432/plant", "the cabinet"):
        assert default_archive(other, stack.path) is None
    place.mkdir(parents=True)
    remove_default_archive("postgresql://me:x@127.0.0.1:5432/plant", stack.path)
    assert place.exists()
    (place / "afkobling-archive.json").write_text("{}")
    remove_default_archive("postgresql://me:x@127.0.0.1:5432/plant", stack.path)
    assert not place.exists()


def test_killed_again_and_again(ours):
    """SIGKILL at random instants: each reading stands in one place, and at the end nothing is left over."""
    database_url, folder = ours
    with psycopg.connect(database_url, autocommit=True) as connection:
        truth = in_table(connection)
        connection.execute("TRUNCATE reading")
        connection.execute("SELECT set_chunk_time_interval('reading', interval '12 hours')")
        fill_again(connection, truth)
        rng = random.Random(4)
        kills = 0
        while in_table(connection):
            process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "archive", "run"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            before = connection.execute("SELECT count(*) FROM archive_leftover").fetchone()
            deadline = time.monotonic() + 60
            # Killed a moment after it has begun to work.
            while process.poll() is None and time.monotonic() < deadline:
                if connection.execute("SELECT count(*) FROM archive_leftover").fetchone() != before or not kills:
                    break
                time.sleep(0.005)
            if kills < 4:
                time.sleep(rng.random() * 0.4)
                process.kill()
                kills += 1
            _, said = process.communicate(timeout=60)
            assert process.returncode in {0, -signal.SIGKILL}, said
            assert everything(connection, folder) == truth
        assert kills == 4
        connection.execute("UPDATE archive_leftover SET remove_after = now()")
        assert main(["archive", "run"]) == 0
        assert strays(connection, folder) == set()
        assert everything(connection, folder) == truth


def fill_again(connection: psycopg.Connection[Any], truth: Any) -> None:
    rows = sorted(truth)
    connection.execute(
        "INSERT INTO reading SELECT m, timestamptz 'epoch' + us * interval '1 microsecond', v, q "
        "FROM unnest(%s::int4[], %s::int8[], %s::float8[], %s::int2[]) AS r(m, us, v, q)",
        [list(column) for column in zip(*rows, strict=True)],
    )


def test_a_full_disk_drops_nothing(ours, tmp_path):
    database_url, folder = ours
    with psycopg.connect(database_url, autocommit=True) as connection:
        truth = in_table(connection)
        process = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "archive", "run"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            # No file grows beyond that: the system refuses to write, as it does when a disk is full.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
        )
        assert process.returncode == 1
        assert process.stderr.startswith("afkobling: the archive at file://"), process.stderr
        assert "can't be written" in process.stderr
        assert everything(connection, folder) == in_table(connection) == truth
        assert strays(connection, folder) == set()
        assert main(["archive", "run"]) == 0
        assert everything(connection, folder) == truth


def test_as_a_process_it_waits_for_the_database_and_stops(ours):
    database_url, _ = ours
    environment = {**os.environ, "AFKOBLING_ARCHIVE_EVERY": "100ms"}
    process = subprocess.Popen([sys.executable, "-m", "deploy.cli", "archive", "run", "--forever"], env=environment)
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            wait_for(lambda: not in_table(connection), "the first pass")
            fill(connection, LONG_AGO + timedelta(days=200), days=1, step=timedelta(hours=1))
            wait_for(lambda: not in_table(connection), "a further pass")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)


def test_the_process_tells_what_keeps_it(database_url):
    runner = ArchiveRunner(settings(database_url, "/dev/null/archive", archive_every="50ms"))
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_for(lambda: any("/dev/null/archive" in problem for problem in runner.problems()), "a problem")
    runner.stop()
    runner.stop()
    thread.join(30)
    assert not thread.is_alive()
