"""What every process shows of itself."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from deploy.demo.parts import free_port
from deploy.probes import PortTakenError, serve_probes
from edge.counters import Counters


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_health_and_what_is_wrong() -> None:
    registry = CollectorRegistry()
    Counter("readings", "readings", registry=registry).inc(3)
    troubles = ["no database; is it running?"]
    port = free_port()
    stop = serve_probes(port, registry, lambda: troubles)
    try:
        assert "readings_total 3.0" in _get(port, "/metrics")[1]
        assert _get(port, "/health") == (200, '{"status": "ok"}')
        status, body = _get(port, "/ready")
        assert (status, json.loads(body)) == (503, {"ready": False, "problems": troubles})
        troubles.clear()
        assert _get(port, "/ready")[0] == 200
        assert _get(port, "/other")[0] == 404
        with pytest.raises(PortTakenError, match=f"{port}, cannot be used"):
            serve_probes(port, registry, list)
    finally:
        stop()


def test_an_agent_without_its_broker_says_so() -> None:
    counters = Counters()
    assert "not connected to the broker" in counters.problems()[0]
    counters.online.set(1)
    assert counters.problems() == []
