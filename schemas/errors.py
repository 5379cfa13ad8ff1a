"""The root of every error that Afkobling raises on purpose.

A message says what failed, for which meter or file and line, and what to do next. The command line prints
it as it stands; anything that does not derive from here is a defect and keeps its traceback.
"""


class AfkoblingError(Exception):
    """Root. Raise one of the two kinds below, or a package's own root derived from one of them."""


class PermanentError(AfkoblingError):
    """Trying again will not help: the input, the set-up or the request must change."""


class TransientError(AfkoblingError):
    """Trying again later may help: a peer is away, a lock is held, a disk is full."""
