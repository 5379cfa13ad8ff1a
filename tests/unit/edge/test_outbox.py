"""The outbox: no gaps, nothing lost, nothing kept that is stored, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.batch import Draft
from edge.errors import (
    EdgePermanentError,
    ForeignConfirmationError,
    OutboxFullError,
    OutboxHeldError,
    OutboxUnavailableError,
)
from edge.outbox import Outbox, WhenFull
from schemas.topics import Kind
from schemas.wire import Readings

NOW_MS = 1_795_298_400_000


def draft(size: int = 10, *, readings: int = 1) -> Draft:
    """A message of about so many bytes, in the file too: digits at random can't be packed to less than half."""

    def encode(epoch: str, seq: int) -> bytes:
        return json.dumps({"epoch": epoch, "seq": seq, "fill": os.urandom(size).hex()}).encode()

    return Draft(kind=Kind.READINGS, readings=readings, encode=encode)


def open_outbox(path: Path, *, max_bytes: int = 10_000_000, when_full: WhenFull = WhenFull.DROP_OLDEST) -> Outbox:
    return Outbox(path, max_bytes=max_bytes, when_full=when_full, now_ms=lambda: NOW_MS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with closing(open_outbox(path)) as outbox:
        yield outbox


def seqs(outbox: Outbox, after: int = 0, limit: int = 1_000) -> list[int]:
    return [waiting.seq for waiting in outbox.window(after, limit)]


def test_messages_carry_their_own_epoch_and_seq(outbox: Outbox) -> None:
    assert outbox.append([draft(), draft()]) == [1, 2]
    for waiting in outbox.window(0, 10):
        said = json.loads(waiting.payload)
        assert (said["epoch"], said["seq"]) == (outbox.epoch, waiting.seq)


def test_confirmed_is_forgotten_and_the_rest_stays(outbox: Outbox) -> None:
    outbox.append([draft() for _ in range(5)])
    assert outbox.confirm(outbox.epoch, 3)
    assert not outbox.confirm(outbox.epoch, 2)
    assert seqs(outbox) == [4, 5]
    assert outbox.state().waiting == 2


def test_strange_confirmations_are_refused(outbox: Outbox) -> None:
    outbox.append([draft()])
    with pytest.raises(ForeignConfirmationError, match="epoch"):
        outbox.confirm("another", 1)
    with pytest.raises(ForeignConfirmationError, match="only 1 messages exist"):
        outbox.confirm(outbox.epoch, 2)
    assert seqs(outbox) == [1]


def test_a_second_agent_is_kept_out(outbox: Outbox, path: Path) -> None:
    with pytest.raises(OutboxHeldError, match="another agent uses the outbox"):
        open_outbox(path)
    outbox.close()
    open_outbox(path).close()


def test_epoch_and_seq_survive_a_restart_even_when_empty(path: Path) -> None:
    with closing(open_outbox(path)) as first:
        first.append([draft(), draft()])
        first.confirm(first.epoch, 2)
        epoch = first.epoch
    with closing(open_outbox(path)) as second:
        assert second.epoch == epoch
        assert second.append([draft()]) == [3]


class TestFull:
    def test_oldest_are_given_up_counted_and_replaced(self, path: Path) -> None:
        with closing(open_outbox(path, max_bytes=5_000)) as outbox:
            for _ in range(10):
                outbox.append([draft(1_000, readings=7)])
            state = outbox.state()
            assert state.dropped_readings == 7 * outbox.dropped_messages
            assert outbox.dropped_messages > 0
            window = outbox.window(0, 100)
            assert [waiting.seq for waiting in window] == list(range(1, 11))
            given_up = Readings.model_validate_json(window[0].payload)
            assert (given_up.seq, given_up.epoch, given_up.at) == (1, outbox.epoch, [])
            assert json.loads(window[-1].payload)["fill"]
        with closing(open_outbox(path, max_bytes=5_000)) as again:
            assert again.state() == state

    def test_stop_reading_refuses_until_there_is_room(self, path: Path) -> None:
        with closing(open_outbox(path, max_bytes=5_000, when_full=WhenFull.STOP_READING)) as outbox:
            outbox.append([draft(1_000) for _ in range(4)])
            with pytest.raises(OutboxFullError, match="reading waits"):
                outbox.append([draft(1_000)])
            last = 4
            assert seqs(outbox) == list(range(1, last + 1))
            outbox.confirm(outbox.epoch, last)
            assert outbox.append([draft(1_000)]) == [last + 1]
            assert outbox.state().dropped_readings == 0


class TestDisk:
    def test_a_full_disk_keeps_nothing_of_the_batch_and_heals(self, outbox: Outbox) -> None:
        outbox.append([draft()])
        pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
        outbox._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutboxUnavailableError, match="free some space"):
            outbox.append([draft(100), draft(50_000)])
        assert seqs(outbox) == [1]
        outbox._db.execute(f"PRAGMA max_page_count = {pages + 1_000}")
        assert outbox.append([draft(50_000)]) == [2]

    @pytest.mark.parametrize("damage", [b"this is no database, as anybody can see" * 200, b"\0" * 4096])
    def test_a_damaged_file_is_moved_aside(self, path: Path, damage: bytes) -> None:
        path.write_bytes(damage)
        with closing(open_outbox(path)) as outbox:
            assert outbox.append([draft()]) == [1]
        kept = [p for p in path.parent.iterdir() if ".damaged-" in p.name]
        assert [p.read_bytes() for p in kept if p.suffix != ".lock"] == [damage]

    def test_damage_while_running_begins_a_new_epoch(self, outbox: Outbox, path: Path) -> None:
        outbox.append([draft(3_000) for _ in range(200)])
        before = outbox.epoch
        outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        outbox._db.execute("PRAGMA cache_size = 0")
        assert outbox.append([draft()]) == [1]
        assert outbox.epoch != before
        assert seqs(outbox) == [1]
        assert any(".damaged-" in p.name for p in path.parent.iterdir())

    def test_a_newer_format_is_left_alone(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
        with pytest.raises(EdgePermanentError, match="newer version"):
            open_outbox(path)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (99,)

    def test_a_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutboxUnavailableError, match="cannot be made"):
            open_outbox(tmp_path / "file" / "outbox.sqlite")


def broken(_epoch: str, _seq: int) -> bytes:
    raise ZeroDivisionError


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("confirm"), st.floats(0, 1)),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("fail"), st.integers(1, 3)),
    ),
    max_size=25,
)


@given(steps=steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_interleaving_leaves_no_gap_and_loses_nothing(steps: list[tuple[str, float]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.sqlite"
        outbox = open_outbox(path)
        stored, last = 0, 0
        for step, how in steps:
            if step == "append":
                assert outbox.append([draft() for _ in range(int(how))]) == list(range(last + 1, last + int(how) + 1))
                last += int(how)
            elif step == "confirm":
                stored = max(stored, round(how * last))
                outbox.confirm(outbox.epoch, stored)
            elif step == "fail":
                with pytest.raises(ZeroDivisionError):
                    outbox.append([draft()] * int(how) + [Draft(kind=Kind.RUNS, readings=0, encode=broken)])
            else:
                outbox.close()
                outbox = open_outbox(path)
            assert seqs(outbox) == list(range(stored + 1, last + 1))
            state = outbox.state()
            assert (state.last_seq, state.stored_seq, state.waiting) == (last, stored, last - stored)
        outbox.close()


@given(sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=30), cut=st.floats(0, 1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_bounded_outbox_stays_bounded_and_accounts_for_all(sizes: list[int], cut: float) -> None:
    with TemporaryDirectory() as folder, closing(open_outbox(Path(folder) / "o", max_bytes=8_000)) as outbox:
        for size in sizes:
            outbox.append([draft(size)])
        held = outbox._db.execute("SELECT coalesce(sum(length(payload)), 0), count(*) FROM message").fetchone()
        assert held[0] <= 8_000
        assert held[1] + outbox.state().dropped_readings == len(sizes)
        assert seqs(outbox) == list(range(1, len(sizes) + 1))
        stored = round(cut * len(sizes))
        outbox.confirm(outbox.epoch, stored)
        assert seqs(outbox) == list(range(stored + 1, len(sizes) + 1))


_APPENDS_FOR_EVER = """
import sys
from pathlib import Path
from edge.batch import Draft
from edge.outbox import Outbox, WhenFull
from schemas.topics import Kind
outbox = Outbox(Path(sys.argv[1]), max_bytes=10**9, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: 0)
draft = Draft(kind=Kind.READINGS, readings=1, encode=lambda epoch, seq: b"%d" % seq + b"x" * 500)
while True:
    print(outbox.append([draft])[0], flush=True)
"""


def test_a_kill_in_the_middle_keeps_all_that_was_acknowledged(path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _APPENDS_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(40):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]
        process.stdout.close()
        process.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        with closing(open_outbox(path)) as outbox:
            last = outbox.state().last_seq
            # The one that was being appended may or may not be there; whatever is there has no gap.
            assert acknowledged <= last <= acknowledged + 1
            window = outbox.window(0, last)
            assert [waiting.seq for waiting in window] == list(range(1, last + 1))
            assert all(waiting.payload.startswith(b"%dx" % waiting.seq) for waiting in window)
            acknowledged = last
