"""Sharing consumption out as a process: site by site, whatever has changed."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry, Counter

from api.attribution.keeper import due_sites, keep_site
from api.attribution.settings import AttributionSettings
from api.database import Connection
from api.problems import ProblemError
from api.turns import Turns

_LOG = structlog.get_logger(__name__)


class AttributionMetrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.days = Counter("afkobling_attribution_days", "Days of sites that were computed", registry=self.registry)


class AttributionService:
    """Runs until `stop`. Several may run: each site is taken up by one of them."""

    def __init__(self, settings: AttributionSettings) -> None:
        self.metrics = AttributionMetrics()
        url = settings.database_url.get_secret_value()
        self._turns = Turns(url, self.turn, name="attribution", poll_s=settings.attribution_poll_s)
        self._failing: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop` is called. A database that is away, or has not the schema yet, is tried again."""
        self._turns.run()

    def stop(self) -> None:
        """Finish what is at hand and end. Safe from a signal handler, before `run`, and twice."""
        self._turns.stop()

    def problems(self) -> list[str]:
        """What keeps figures from being up to date, in plain words; empty when all is well."""
        return [*([self._turns.problem] if self._turns.problem else []), *self._failing.values()]

    async def turn(self, connection: Connection) -> bool:
        """Bring every site that is due up to date. Whether there was anything to do."""
        done = 0
        for site in await due_sites(connection):
            try:
                kept = await keep_site(connection, site)
            except (ProblemError, ValueError) as error:
                # One site's trouble is no reason to leave the others alone; its figures are computed when asked for.
                self._failing[site.key] = f"site {site.key} can't be shared out: {error}"
                _LOG.error("a site can't be shared out", action="site.unshared", site=site.key, error=str(error))
                continue
            self._failing.pop(site.key, None)
            done += kept.days
        self.metrics.days.inc(done)
        return done > 0
