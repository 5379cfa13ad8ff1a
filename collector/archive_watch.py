"""Old readings that wait in quarantine as nobody could look them up in the archive: told, and replayed by themselves.

Several collectors may watch: whoever is first asks for the replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
import structlog

from collector.archived import reader_of
from schemas.archive_store import ArchiveError
from schemas.quarantine import Reason

_LOG = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0

_WAITING: LiteralString = """
    SELECT count(*), coalesce(bool_or(tried_at IS NULL OR tried_at < now() - interval '1 hour'), false),
           (SELECT url FROM archive_progress)
    FROM (SELECT tried_at FROM quarantine WHERE reason = %s AND replayed_at IS NULL AND dropped_at IS NULL
          LIMIT 10000) AS waiting
"""
# Of a damaged file they are refused again: they are not tried for ever without a pause.
_ASK: LiteralString = """
    INSERT INTO quarantine_replay (reason, author, because)
    SELECT %(reason)s, 'collector', 'the archive answers again'
    WHERE NOT EXISTS (SELECT FROM quarantine_replay WHERE finished_at IS NULL AND reason = %(reason)s)
"""


@dataclass(slots=True, kw_only=True)
class ArchiveWatch:
    """Looks once a minute. `problem` says in plain words what waits and why; None when nothing does."""

    problem: str | None = None
    _look_at_s: float = 0.0

    def tend(self, connection: psycopg.Connection, now_s: float) -> None:
        """Ask for a replay once the archive answers again. `now_s` is the monotonic clock."""
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_SECONDS
        count, is_due, url = connection.execute(_WAITING, [Reason.ARCHIVE_AWAY]).fetchone() or (0, False, None)
        if count == 0 or url is None:
            self.problem = None
            return
        wait = f"messages with readings as old as the archive wait in quarantine ('{Reason.ARCHIVE_AWAY}')"
        try:
            reader_of(url).check()
        except ArchiveError as error:
            self.problem = f"{wait}: {error}; they are replayed by themselves afterwards"
            return
        self.problem = f"{wait}; `afkobling quarantine list --all` tells why, and they are tried again once an hour"
        if is_due and connection.execute(_ASK, {"reason": Reason.ARCHIVE_AWAY}).rowcount:
            _LOG.info("the archive answers, replaying what waited for it", action="archive.answers", entries=count)
