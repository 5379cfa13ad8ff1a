"""The API put together."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api import problems
from api.agents.attempts import Attempts
from api.agents.steps import keep_broker_in_step
from api.agents.trust import make_trust
from api.auth import Gate
from api.body_limit import BodyLimit
from api.condition import Condition
from api.database import make_pool
from api.metrics import Meter, PoolUse
from api.problems import Problem
from api.remembered import Remembered
from api.routes import (
    agents,
    alerts,
    attribution,
    balance,
    circularity,
    consumption,
    decomposition,
    decoupling,
    drivers,
    events,
    factors,
    facts,
    figures,
    intensity,
    ledger,
    offers,
    page,
    probes,
    production,
    quality,
    quarantine,
    readings,
    replays,
    runs,
    site,
)
from api.settings import ApiSettings

_PROBLEMS = {
    401: "No token, or one that is not known or has expired",
    403: "The token lacks the scope",
    404: "Not there, or another organisation's",
    413: "The body is too large",
    422: "A value can't be taken as it is",
    503: "The database is away or busy, or the archive can't be read",
}


def create_app(settings: ApiSettings) -> FastAPI:
    """The application. It opens its pool when the server starts it, also while the database is away."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = make_pool(settings)
        await pool.open(wait=False)
        app.state.pool = pool
        steps = asyncio.create_task(keep_broker_in_step(pool, app.state.trust))
        try:
            yield
        finally:
            steps.cancel()
            with suppress(asyncio.CancelledError):
                await steps
            await pool.close(timeout=5)

    app = FastAPI(
        title="Afkobling",
        summary="Whether a factory makes more while using less",
        version=version("afkobling"),
        lifespan=lifespan,
        # Their pages load scripts from elsewhere, which a factory's network does not reach.
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"description": text, "model": Problem, "content": {problems.MEDIA_TYPE: {}}}
            for status, text in _PROBLEMS.items()
        },
    )
    app.state.settings = settings
    app.state.trust = make_trust(settings)
    app.state.attempts = Attempts()
    app.state.registry = CollectorRegistry()
    app.state.condition = Condition()
    app.state.registry.register(app.state.condition)
    app.state.registry.register(PoolUse(lambda: getattr(app.state, "pool", None)))
    problems.install(app)
    app.add_middleware(Remembered, most_bytes=settings.answers_mb * 1_000_000)
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate)
    app.add_middleware(Meter, registry=app.state.registry)
    # `page` comes last, so that nothing of it can stand before a resource; `replays` before `quarantine`, whose entries
    # are numbers at the same place.
    for part in (
        probes,
        site,
        readings,
        consumption,
        production,
        runs,
        balance,
        events,
        factors,
        facts,
        intensity,
        circularity,
        attribution,
        figures,
        decoupling,
        decomposition,
        drivers,
        offers,
        replays,
        quarantine,
        ledger,
        quality,
        alerts,
        agents,
        page,
    ):
        app.include_router(part.router)
    return app


def prepare(app: FastAPI) -> None:
    """What would otherwise fall to whoever asks first, for a process that does nothing but serve."""
    # FastAPI builds a route's models when it first looks at it.
    for route in app.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})
    # What is there now stays: the collector of garbage need not go through it again and again.
    gc.collect()
    gc.freeze()
