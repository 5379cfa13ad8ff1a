"""Counts and durations of requests, by the route's template, so that the series stay few; and use of the pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database import Pool


class PoolUse(Collector):
    """How the pool of connections to the database is used; nothing before the server has started."""

    def __init__(self, pool: Callable[[], Pool | None]) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants them."""
        pool = self._pool()
        if pool is None:
            return
        stats = pool.get_stats()
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        connections = GaugeMetricFamily(
            "afkobling_api_pool_connections", "Connections to the database", labels=["state"]
        )
        connections.add_metric(["idle"], idle)
        connections.add_metric(["used"], size - idle)
        yield connections
        yield GaugeMetricFamily(
            "afkobling_api_pool_limit_connections", "Most connections at once", value=stats.get("pool_max", 0)
        )
        yield GaugeMetricFamily(
            "afkobling_api_pool_waiting_requests",
            "Requests that wait for a connection",
            value=stats.get("requests_waiting", 0),
        )
        yield CounterMetricFamily(
            "afkobling_api_pool_wait_seconds",
            "Time that requests have waited for a connection",
            value=stats.get("requests_wait_ms", 0) / 1000,
        )


class Meter:
    """ASGI middleware, the outermost: it sees what is refused as well."""

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "afkobling_api_requests",
            "Requests answered, by method, route and status",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "afkobling_api_request_seconds",
            "Time until the answer was given, by method and route",
            ["method", "route"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in {"GET", "PUT", "POST", "DELETE"} else "other"
            self._requests.labels(method, route, status).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - started)
