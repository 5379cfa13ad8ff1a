"""Keeps the broker in step with the database while the API runs."""

from __future__ import annotations

import asyncio
from itertools import count

import psycopg
import structlog

from api.agents.certificates import keep_in_step, reconcile
from api.agents.trust import Trust
from api.database import Pool
from api.problems import ProblemError

log = structlog.get_logger(__name__)

_EVERY_S = 60.0
_RECONCILE_AT = 15
"""At each such turn the broker's whole list is looked at: it may have been made anew, or brought back."""


async def keep_broker_in_step(pool: Pool, trust: Trust) -> None:
    """Once a minute, for ever. Several APIs may do it side by side."""
    for turn in count():
        await asyncio.sleep(_EVERY_S)
        if trust.access is None:
            continue
        try:
            async with pool.connection() as connection:
                if turn % _RECONCILE_AT == 0:
                    await reconcile(connection, trust)
                else:
                    await keep_in_step(connection, trust)
        except ProblemError as error:
            log.warning(
                "the broker could not be told which agents may speak", action="broker.untold", reason=str(error)
            )
        except psycopg.Error as error:
            # Requests meet the same, and tell it.
            log.warning(
                "the database refuses, trying again", action="database.away", error=str(error).strip(), part="agents"
            )
