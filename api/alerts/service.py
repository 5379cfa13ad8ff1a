"""The alerts as a process: look at each site in turn, keep its alerts, and tell who should hear of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from psycopg.rows import DictRow
from tenacity import RetryCallState, Retrying, wait_exponential

from api import quality_store
from api.alerts import store
from api.alerts.channels import Broker, Channel, UndeliveredError, Webhook
from api.alerts.messages import message_of
from api.alerts.plan import batches, due, reconcile
from api.alerts.rules import LOOK_BACK, conditions
from api.alerts.settings import AlertSettings
from api.calendar.clock import Period
from api.database import Connection
from api.problems import ProblemError
from api.quality_loader import load_quality
from api.site_store import SiteRow, find_site
from api.turns import Turns

_LOG = structlog.get_logger(__name__)
_POLL_S = 2.0
_AT_A_TIME = 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 15.0, 3600.0
_LATELY = timedelta(hours=1)
_WAIT = wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)


class AlertMetrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.checks = Counter("afkobling_alerts_checks", "Sites looked at", registry=self.registry)
        self.delivered = Counter(
            "afkobling_alerts_delivered", "Messages delivered", ["channel"], registry=self.registry
        )
        self.failed = Counter("afkobling_alerts_failed", "Attempts that failed", ["channel"], registry=self.registry)
        self.open = Gauge("afkobling_alerts_open", "Open alerts of the site looked at last", registry=self.registry)


def channels_of(settings: AlertSettings) -> list[Channel]:
    """The ways out that are set up; none is allowed: the API and the command line still show the alerts."""
    found: list[Channel] = []
    if settings.alert_webhook_url is not None:
        token = settings.alert_webhook_token
        found.append(Webhook(str(settings.alert_webhook_url), token.get_secret_value() if token else None))
    if settings.alert_mqtt and settings.broker_url is not None:
        found.append(Broker(settings.broker_url, settings.broker_tls))
    return found


class AlertService:
    """Runs until `stop`. Several may run: each site, and each message, is taken up by one of them."""

    def __init__(self, settings: AlertSettings, *, channels: Sequence[Channel] | None = None) -> None:
        self._settings = settings
        self._channels = {c.name: c for c in (channels_of(settings) if channels is None else channels)}
        self.metrics = AlertMetrics()
        self._turns = Turns(settings.database_url.get_secret_value(), self.turn, name="alerts", poll_s=_POLL_S)
        self._failing: dict[str, str] = {}

    def run(self) -> None:
        """Work until `stop` is called. A database that is away, or has not the schema yet, is tried again."""
        try:
            self._turns.run()
        finally:
            for channel in self._channels.values():
                channel.close()

    def stop(self) -> None:
        """Finish what is at hand and end. Safe from a signal handler, before `run`, and twice."""
        self._turns.stop()

    def problems(self) -> list[str]:
        """What keeps alerts from being seen or told, in plain words; empty when all is well."""
        return [*([self._turns.problem] if self._turns.problem else []), *self._failing.values()]

    async def turn(self, connection: Connection) -> bool:
        """Look at one site that is due, and try what waits to be told. Whether there was anything to do."""
        row = await store.take_site(connection, timedelta(seconds=self._settings.alert_every_s))
        if row is not None:
            await self._check(connection, row)
        told = await self._deliver(connection)
        return row is not None or told > 0

    async def _check(self, connection: Connection, row: DictRow) -> None:
        site = await find_site(
            connection, row["site"], organisation_id=row["organisation_id"], organisation=row["organisation"]
        )
        try:
            await check_site(connection, site, self._settings, channels=list(self._channels))
        except ProblemError as error:
            # One site's trouble is no reason to leave the others alone.
            _LOG.error("a site can't be judged", action="site.unjudged", site=site.key, error=str(error))
        self.metrics.checks.inc()
        self.metrics.open.set(len(await store.open_alerts(connection, site)))

    async def _deliver(self, connection: Connection) -> int:
        taken = await store.take_messages(connection, list(self._channels), _AT_A_TIME)
        for row in taken:
            channel = self._channels[row["channel"]]
            try:
                await asyncio.to_thread(channel.send, row["payload"])
            except UndeliveredError as error:
                self._failing[channel.name] = str(error)
                self.metrics.failed.labels(channel.name).inc()
                _LOG.warning("an alert was not delivered", action="alert.undelivered", error=str(error))
                patience = timedelta(hours=self._settings.alert_patience_h)
                await store.failed(
                    connection, row["id"], str(error), wait=wait_after(row["attempts"]), patience=patience
                )
            else:
                self._failing.pop(channel.name, None)
                self.metrics.delivered.labels(channel.name).inc()
                await store.delivered(connection, row["id"])
        return len(taken)


async def check_site(
    connection: Connection, site: SiteRow, settings: AlertSettings, *, channels: Sequence[str]
) -> None:
    """Bring the site's alerts up to date and queue what should be told, in one transaction. Raises a 422 problem."""
    now, _ = await quality_store.clock(connection)
    found = await load_quality(connection, site, _look_back(site, now))
    async with connection.transaction():
        holding = conditions(found.findings, now=now)
        changes = reconcile(await store.open_alerts(connection, site), holding, now=now, policy=settings.policy)
        await store.write_changes(connection, site, changes, now=now)
        if not channels:
            return
        told_lately = await store.told_lately(connection, site, now - _LATELY)
        waiting = due(await store.untold_alerts(connection, site), now=now, policy=settings.policy)
        for batch in batches(waiting, told_lately=told_lately, policy=settings.policy):
            message = message_of(site, batch, number=uuid4(), now=now)
            await store.queue(connection, site, message, batch, channels=channels, now=now)
        await store.forget_old(connection)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: a quarter of a minute at first, an hour at most."""
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempts
    return timedelta(seconds=_WAIT(state))


def _look_back(site: SiteRow, now: datetime) -> Period:
    return Period(start=now - LOOK_BACK, end=now, zone=site.zone)
