"""The outbox's file over versions: what is in it comes along, up and down."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.batch import Draft
from edge.errors import EdgePermanentError, OutboxFullError, OutboxUnavailableError
from edge.outbox import Outbox, WhenFull
from edge.outbox_depth import read_depth
from edge.outbox_file import FORMAT, to_format
from edge.outbox_table import pack, unpack
from schemas.topics import Kind

NOW_MS = 1_795_298_400_000
_FIRST_FORMAT = """
CREATE TABLE outbox (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    stored_seq INTEGER NOT NULL DEFAULT 0,
    readings INTEGER NOT NULL DEFAULT 0,
    dropped_readings INTEGER NOT NULL DEFAULT 0,
    dropped_messages INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    readings INTEGER NOT NULL,
    payload BLOB NOT NULL
);
INSERT INTO outbox VALUES (1, 'EPOCH', 3, 1, 30, 0, 0);
INSERT INTO message VALUES (2, 'readings', 10, CAST('{"seq": 2}' AS BLOB)), (3, 'runs', 0, CAST('{"seq": 3}' AS BLOB));
PRAGMA user_version = 1;
"""


def draft() -> Draft:
    def encode(epoch: str, seq: int) -> bytes:
        return json.dumps({"epoch": epoch, "seq": seq, "meters": ["oven-electricity"] * 50}).encode()

    return Draft(kind=Kind.READINGS, readings=1, encode=encode)


def open_outbox(path: Path) -> Outbox:
    return Outbox(path, max_bytes=10_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: NOW_MS)


@pytest.fixture
def first_format(tmp_path: Path) -> Path:
    path = tmp_path / "outbox.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_FIRST_FORMAT)
    return path


def test_a_file_of_the_first_format_goes_on(first_format: Path) -> None:
    with closing(open_outbox(first_format)) as outbox:
        assert outbox.epoch == "EPOCH"
        assert [(w.seq, w.kind, w.payload) for w in outbox.window(0, 10)] == [
            (2, Kind.READINGS, b'{"seq": 2}'),
            (3, Kind.RUNS, b'{"seq": 3}'),
        ]
        assert outbox.append([draft()]) == [4]


def test_back_to_the_first_format_and_up_again(first_format: Path) -> None:
    with closing(open_outbox(first_format)) as outbox:
        outbox.append([draft(), draft()])
        before, state = outbox.window(0, 10), outbox.state()
    to_format(first_format, 1)
    with closing(sqlite3.connect(first_format)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        # As the version before reads it.
        rows = database.execute("SELECT seq, kind, payload FROM message ORDER BY seq").fetchall()
        assert rows == [(w.seq, w.kind, w.payload) for w in before]
        assert len(database.execute("SELECT * FROM message").description) == 4
    with closing(open_outbox(first_format)) as outbox:
        assert (outbox.window(0, 10), outbox.state().last_seq) == (before, state.last_seq)


def test_there_is_no_such_format(first_format: Path) -> None:
    with pytest.raises(EdgePermanentError, match=rf"there are the formats 1 to {FORMAT}"):
        to_format(first_format, FORMAT + 1)
    with pytest.raises(EdgePermanentError, match="there is no outbox"):
        to_format(first_format.with_name("none.sqlite"), 1)
    assert not first_format.with_name("none.sqlite").exists()


def test_an_agent_that_runs_keeps_its_file(first_format: Path) -> None:
    with closing(open_outbox(first_format)), pytest.raises(Exception, match="another agent uses the outbox"):
        to_format(first_format, 1)


@given(payload=st.binary(max_size=2_000))
def test_what_is_packed_comes_back(payload: bytes) -> None:
    row = pack(1, Kind.READINGS, 1, payload)
    assert len(row.payload) <= len(payload)
    assert unpack(row.payload, row.is_packed) == payload


def test_many_alike_take_little_of_the_disk(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path / "o")) as outbox:
        outbox.append([draft() for _ in range(100)])
        payload = len(outbox.window(0, 1)[0].payload)
        assert outbox.size_bytes < 100 * payload / 4


def test_a_packed_message_that_is_damaged_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(open_outbox(path)) as outbox:
        outbox.append([draft()])
        epoch = outbox.epoch
        outbox._db.execute("UPDATE message SET payload = CAST(x'00' || substr(payload, 2) AS BLOB)")
        assert outbox.window(0, 10) == []
        assert outbox.epoch != epoch
    assert any(".damaged-" in p.name for p in tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["payload = x'FF00'", "kind = 'reXdings'"])
def test_a_damaged_message_of_the_first_format_stalls_nobody(first_format: Path, damage: str) -> None:
    with closing(sqlite3.connect(first_format)) as database, database:
        database.execute(f"UPDATE message SET {damage} WHERE seq = 2")
    with closing(open_outbox(first_format)) as outbox:
        # Asked by the status and by the metrics, which must go on.
        assert outbox.oldest_s() == 0
        assert outbox.window(0, 10) == []
        assert outbox.append([draft()]) == [1]
    assert any(".damaged-" in p.name for p in first_format.parent.iterdir())


def test_a_damaged_message_is_said_when_it_is_to_be_brought_to_the_first_format(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(open_outbox(path)) as outbox:
        outbox.append([draft()])
        outbox._db.execute("UPDATE message SET payload = CAST(x'00' || substr(payload, 2) AS BLOB)")
    before = path.read_bytes()
    with pytest.raises(OutboxUnavailableError, match="stays as it was"):
        to_format(path, 1)
    assert path.read_bytes() == before


def test_damage_on_a_disk_that_takes_nothing_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> Path:
        raise OutboxUnavailableError("cannot be moved aside: Read-only file system")

    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.append([draft()])
        outbox._db.execute("UPDATE message SET payload = CAST(x'00' || substr(payload, 2) AS BLOB)")
        with monkeypatch.context() as patch:
            patch.setattr("edge.outbox.move_aside", cannot)
            for _ in range(2):
                with pytest.raises(OutboxUnavailableError, match="Read-only"):
                    outbox.window(0, 10)
        assert outbox.window(0, 10) == []
        assert outbox.append([draft()]) == [1]


class TestConfirmation:
    """It is written along with the next append; a kill before that costs a repetition, nothing else."""

    def test_it_costs_no_write_of_its_own(self, tmp_path: Path) -> None:
        with closing(open_outbox(tmp_path / "o")) as outbox:
            outbox.append([draft(), draft(), draft()])
            writes = outbox._db.total_changes
            assert outbox.confirm(outbox.epoch, 2)
            assert outbox._db.total_changes == writes
            assert [w.seq for w in outbox.window(0, 10)] == [3]
            outbox.append([draft()])
            assert outbox._db.execute("SELECT seq FROM message ORDER BY seq").fetchall() == [(3,), (4,)]

    def test_after_a_kill_it_is_as_if_it_had_not_come(self, tmp_path: Path) -> None:
        path = tmp_path / "o"
        outbox = open_outbox(path)
        outbox.append([draft(), draft()])
        outbox.confirm(outbox.epoch, 1)
        # What a kill leaves: nobody closes the outbox, so the file is as it is.
        with closing(sqlite3.connect(path)) as beside:
            assert beside.execute("SELECT stored_seq FROM outbox").fetchone() == (0,)
            assert beside.execute("SELECT count(*) FROM message").fetchone() == (2,)
        outbox.close()
        with closing(sqlite3.connect(path)) as beside:
            assert beside.execute("SELECT stored_seq FROM outbox").fetchone() == (1,)

    def test_one_that_no_append_follows_is_written_when_it_is_due(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(open_outbox(tmp_path / "o")) as outbox:
            outbox.append([draft(), draft()])
            monkeypatch.setattr("edge.outbox._CONFIRMED_S", -1)
            due = [outbox.is_confirmation_due]
            outbox.confirm(outbox.epoch, 2)
            due.append(outbox.is_confirmation_due)
            outbox.write_confirmed()
            due.append(outbox.is_confirmation_due)
            assert due == [False, True, False]
            assert outbox._db.execute("SELECT count(*) FROM message").fetchone() == (0,)

    def test_one_whose_append_could_not_be_committed_is_due_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edge.outbox._CONFIRMED_S", -1)
        path = tmp_path / "o"
        with closing(open_outbox(path)) as outbox:
            outbox.append([draft(), draft()])
            outbox.confirm(outbox.epoch, 2)
            # A deferred foreign key fails at COMMIT, and only there: as a disk that fills up.
            outbox._db.execute("PRAGMA foreign_keys = ON")
            outbox._db.execute("CREATE TABLE other (seq INTEGER REFERENCES message DEFERRABLE INITIALLY DEFERRED)")
            outbox._db.execute("INSERT INTO other VALUES (2)")
            with pytest.raises(sqlite3.IntegrityError):
                outbox.append([draft()])
            outbox._db.execute("DELETE FROM other")
            assert outbox.is_confirmation_due
        with closing(sqlite3.connect(path)) as beside:
            assert beside.execute("SELECT stored_seq FROM outbox").fetchone() == (2,)

    def test_many_are_written_by_themselves(self, tmp_path: Path) -> None:
        with closing(open_outbox(tmp_path / "o")) as outbox:
            outbox.append([draft() for _ in range(1_100)])
            outbox.confirm(outbox.epoch, 1_050)
            assert outbox._db.execute("SELECT count(*) FROM message").fetchone() == (50,)


class TestDepth:
    def test_it_is_what_the_outbox_says_of_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "outbox.sqlite"
        assert read_depth(path) is None
        with closing(open_outbox(path)) as outbox:
            outbox.append([draft(), draft(), draft()])
            outbox.confirm(outbox.epoch, 1)
            assert (outbox.waiting_readings, outbox.state().waiting) == (2, 2)
            state, size = outbox.state(), outbox.size_bytes
        depth = read_depth(path)
        assert depth is not None
        assert (depth.epoch, depth.messages, depth.readings, depth.size_bytes) == (state.epoch, 2, 2, size)
        with closing(open_outbox(path)) as again:
            assert (again.waiting_readings, again.size_bytes) == (2, size)

    def test_another_format_or_no_outbox_is_said(self, first_format: Path, tmp_path: Path) -> None:
        with pytest.raises(EdgePermanentError, match="has format 1"):
            read_depth(first_format)
        (tmp_path / "text").write_text("this is no database" * 300)
        with pytest.raises(OutboxUnavailableError, match="cannot be read"):
            read_depth(tmp_path / "text")


def test_readings_that_wait_are_counted_through_everything(tmp_path: Path) -> None:
    small = Outbox(tmp_path / "o", max_bytes=1_500, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: NOW_MS)
    with closing(small) as outbox:
        outbox.append([draft() for _ in range(40)])
        assert outbox.state().dropped_readings > 0
        assert outbox.waiting_readings == 40 - outbox.state().dropped_readings
        waiting = outbox.window(outbox.state().last_seq - 1, 1)[0]
        outbox.replace(waiting, [draft()])
        assert outbox.waiting_readings == 40 - outbox.state().dropped_readings
        outbox.limit(max_bytes=100, when_full=WhenFull.STOP_READING)
        with pytest.raises(OutboxFullError):
            outbox.append([draft()])
        outbox.confirm(outbox.epoch, outbox.state().last_seq)
        assert (outbox.waiting_readings, outbox.size_bytes) == (0, 0)
