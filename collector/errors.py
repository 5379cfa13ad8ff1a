"""What can go wrong between broker and database."""

from __future__ import annotations

from schemas.errors import AfkoblingError, PermanentError, TransientError


class CollectorError(AfkoblingError):
    """Root of this package's errors."""


class SetupError(CollectorError, PermanentError):
    """The database or the broker is not what the collector needs; the message says what to do."""


class StoreUnavailableError(CollectorError, TransientError):
    """The database is away or refused for now. Nothing was acknowledged; the same batch is tried again."""


class ImportRefusedError(CollectorError, PermanentError):
    """A file can't be imported as it is; the message says why, and what to change."""


class ImportBusyError(CollectorError, TransientError):
    """Another process imports this file just now."""
