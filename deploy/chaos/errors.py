"""What can go wrong with a run of chaos itself, as against what it finds."""

from __future__ import annotations

from schemas.errors import AfkoblingError, PermanentError, TransientError


class ChaosError(AfkoblingError):
    """Root of everything that a run of chaos raises on purpose."""


class ChaosRefusedError(ChaosError, PermanentError):
    """What was asked for can't be run."""


class PartEndedError(ChaosError, PermanentError):
    """A process ended that should go on, or ended in another way than it should."""


class StuckError(ChaosError, TransientError):
    """What has to happen in the end did not happen in a time that is long enough for anything."""
