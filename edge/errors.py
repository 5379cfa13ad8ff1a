"""What can go wrong in the agent, each failure permanent or transient where it is raised."""

from __future__ import annotations

from schemas.errors import AfkoblingError, PermanentError, TransientError


class EdgeError(AfkoblingError):
    """Root of the agent's errors."""


class EdgePermanentError(EdgeError, PermanentError):
    """The configuration, the file or the device must change first."""


class EdgeTransientError(EdgeError, TransientError):
    """Trying again later may help."""


class OutboxUnavailableError(EdgeTransientError):
    """The outbox cannot be read or written just now: the disk is full or fails."""


class OutboxFullError(EdgeTransientError):
    """The outbox is at its size limit and is set to stop reading rather than to drop."""


class OutboxHeldError(EdgeTransientError):
    """Another agent has this outbox open."""


class ForeignConfirmationError(EdgePermanentError):
    """A `stored` message is about another epoch, or about messages that never were."""


class BrokerUnavailableError(EdgeTransientError):
    """The broker cannot be reached, or refuses the agent."""


class BrokerRefusesError(BrokerUnavailableError):
    """The broker knows this agent's certificate no more, or never did."""


class UnknownDriverError(EdgePermanentError):
    """No driver has that name; the message lists those that are known."""
