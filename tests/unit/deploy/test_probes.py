"""What every process shows of itself."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from deploy import probes
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


def test_who_connects_and_says_nothing_or_leaves_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert probes._Handler.timeout is not None
    monkeypatch.setattr(probes._Handler, "timeout", 0.5)
    asked = threading.Event()
    gone = threading.Event()

    def page(_query: str, _accepted: str) -> tuple[str, bytes]:
        asked.set()
        gone.wait(10)
        return "text/plain", b"x" * 10_000_000

    before = threading.active_count()
    port = free_port()
    stop = serve_probes(port, CollectorRegistry(), list, pages={"/": page})
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    try:
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert asked.wait(10)
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.set()
        deadline = time.monotonic() + 30
        while threading.active_count() > before + 1:
            assert time.monotonic() < deadline, "its threads stay"
            time.sleep(0.01)
    finally:
        for connection in silent:
            connection.close()
        stop()
    assert capfd.readouterr().err == ""


def test_an_agent_without_its_broker_says_so() -> None:
    counters = Counters()
    assert "not connected to the broker" in counters.problems()[0]
    counters.online.set(1)
    assert counters.problems() == []
