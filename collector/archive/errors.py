"""What can go wrong while readings move between the table and the archive."""

from __future__ import annotations

from collector.errors import CollectorError
from schemas.errors import PermanentError, TransientError


class ArchiveRefusedError(CollectorError, PermanentError):
    """The archive or the database is not what was asked for; nothing was moved."""


class NotVerifiedError(CollectorError, PermanentError):
    """What was read back is not what the database holds. Nothing was dropped; the files don't count."""


class ArchiveBusyError(CollectorError, TransientError):
    """Somebody else is at work with these readings; they stay where they are, and it is tried again later."""


class ArchiveStoppedError(CollectorError, TransientError):
    """We were asked to stop before it was done; the next run does it."""
