"""What an agent shows of itself on the spot: the page, its JSON, and `afkobling edge status`."""

from __future__ import annotations

import json
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import edge.clock
import edge.status_socket
from deploy.cli import main
from deploy.demo.parts import free_port
from deploy.status_lines import status_lines
from deploy.status_page import render, serve_with_page
from deploy.status_words import Language, asked_language, number, size, span
from edge.batch import Draft
from edge.local_status import BrokerStatus, ClockStatus, LocalStatus, MeterStatus, OutboxStatus
from edge.messages import encode_readings
from edge.outbox import Outbox, WhenFull
from schemas.topics import Kind
from schemas.wire import ConfigurationState

NOW_MS = 1_795_298_400_000
WELL = LocalStatus.model_validate(
    {
        "running": True,
        "at": NOW_MS,
        "agent": "acme/hall/cabinet-1",
        "version": "1.0",
        "started_at": NOW_MS - 3 * 86_400_000,
        "broker": BrokerStatus(address="mqtts://broker:8883", connected=True),
        "outbox": OutboxStatus(
            messages=3,
            readings=1_200,
            bytes=45_000,
            limit_bytes=500_000_000,
            oldest_at=NOW_MS - 90_000,
            stored_at=NOW_MS - 2_000,
        ),
        "clock": ClockStatus(ahead_ms=40, synchronised=True),
        "certificate_until": NOW_MS + 40 * 86_400_000 + 1,
        "configuration": ConfigurationState.model_validate({"running": 4, "latest": 4, "standing": "applied"}),
        "disk_free_bytes": 12_000_000_000,
        "meters": [
            MeterStatus.model_validate(
                {"meter": "oven", "state": "reading", "value": 10234.5, "unit": "kWh", "at": NOW_MS - 5_000}
            ),
            MeterStatus.model_validate({"meter": "press", "state": "waiting", "unit": "kWh"}),
        ],
    }
)
ILL = WELL.model_copy(
    update={
        "agent": "acme/hall/<script>alert(1)</script>",
        "problems": ["driver <b>oven</b> is away: mqtt://me:secret@broker", "the clock is off"],
        "broker": BrokerStatus(address='"><img src=x>', connected=False, reason="refused: password=hunter2"),
        "meters": [
            MeterStatus.model_validate({"meter": "a&b", "state": "silent", "unit": "<i>", "value": 1.0, "at": NOW_MS})
        ],
    }
)


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def test_the_page_of_a_healthy_agent() -> None:
    page = Page(render(WELL, Language.ENGLISH))
    text = "|".join(page.text)
    assert "All is well" in text
    assert "oven|10234.5 kWh|5 s|reading" in text
    assert "press|–|–|waiting" in text
    assert "3 messages, 1200 readings, 45 kB of 500 MB, oldest 90 s" in text
    assert "as the collector's, synchronised" in text
    assert "40 days left" in text
    assert "version 4 applied" in text
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in page.tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_the_page_in_danish() -> None:
    html = render(WELL, Language.DANISH)
    assert '<html lang="da">' in html
    text = "|".join(Page(html).text)
    assert "Alt er i orden" in text
    assert "oven|10234,5 kWh|5 s|aflæses" in text
    english = {label for label, _ in status_lines(WELL)}
    danish = {label for label, _ in status_lines(WELL, Language.DANISH)}
    assert english & danish <= {"Broker", "Disk", "Version"}


def test_nothing_on_the_page_is_taken_for_markup_or_comes_from_elsewhere() -> None:
    html = render(ILL, Language.ENGLISH)
    page = Page(html)
    assert "Something is wrong" in "".join(page.text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "b", "i", "link", "iframe"})
    assert not any(name in {"src", "onclick", "style"} for _, attributes in page.tags for name in attributes)
    assert {a.get("href") for tag, a in page.tags if tag == "a"} == {"?lang=da"}
    assert "a&b" in page.text


def test_page_and_json_are_served_without_secrets() -> None:
    port = free_port()
    stop = serve_with_page(port, CollectorRegistry(), list, address="127.0.0.1", status=lambda: ILL)
    try:
        opener = urllib.request.build_opener()
        opener.addheaders = [("Accept-Language", "da-DK,en;q=0.5")]
        with opener.open(f"http://127.0.0.1:{port}/") as answer:
            html = answer.read().decode()
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert '<html lang="da">' in html
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?lang=en") as answer:
            assert '<html lang="en">' in answer.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status") as answer:
            told = answer.read().decode()
        assert LocalStatus.model_validate_json(told).meters[0].meter == "a&b"
        for text in (html, told):
            assert "secret@" not in text
            assert "hunter2" not in text
    finally:
        stop()


def test_words_for_people() -> None:
    assert [span(ms) for ms in (-5, 1_400, 119_000, 200_000, 7_300_000, 400_000_000)] == [
        "0 s",
        "1 s",
        "119 s",
        "3 min",
        "2 h",
        "5 d",
    ]
    assert [number(v) for v in (0.1, 10234.5, 1e12, 123456789.123)] == ["0.1", "10234.5", "1000000000000", "123456789"]
    assert [size(v) for v in (0, 999, 45_000, 5e8, 1.25e10)] == ["0 B", "999 B", "45 kB", "500 MB", "12.5 GB"]  # type: ignore[arg-type]
    assert asked_language("a=1&lang=da", "en") is Language.DANISH
    assert asked_language("lang=xx", "") is Language.ENGLISH
    told = dict(
        status_lines(
            WELL.model_copy(
                update={
                    "clock": ClockStatus(ahead_ms=-200_000, synchronised=False),
                    "configuration": ConfigurationState.model_validate(
                        {"running": 3, "latest": 4, "standing": "rolled_back", "reason": "oven gave nothing"}
                    ),
                    "certificate_until": NOW_MS - 1,
                }
            )
        )
    )
    assert told["Clock"] == "3 min behind the collector, not synchronised"
    assert told["Configuration"] == "version 3; version 4 rolled_back: oven gave nothing"
    assert told["Certificate"] == "expired"


def status_of(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main(["edge", "status", "--config", str(config), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_who_keeps_the_clock_is_asked_by_the_command_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's service may not ask the kernel, and so does not know."""
    config = tmp_path / "edge.yaml"
    config.write_text(
        "organisation: acme\nsite: hall\nagent: a\nbroker: mqtt://127.0.0.1:1\ndrivers:\n"
        "  - {name: m, driver: modbus, host: h, profile: eastron-sdm630, meters: {oven: power}}\n"
    )
    monkeypatch.setattr(edge.clock, "is_synchronised", lambda: True)
    for said, told in ((None, True), (False, False)):
        clock = ClockStatus(ahead_ms=5, synchronised=said)
        monkeypatch.setattr(edge.status_socket, "ask", lambda _, clock=clock: WELL.model_copy(update={"clock": clock}))
        assert status_of(config, capsys)[1]["clock"] == {"ahead_ms": 5, "synchronised": told}


def test_status_without_an_agent_reads_the_outbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text(
        "organisation: acme\nsite: hall\nagent: a\nbroker: mqtt://127.0.0.1:1\ndrivers:\n"
        "  - {name: m, driver: modbus, host: h, profile: eastron-sdm630, meters: {oven: power}}\n"
    )
    status, told = status_of(config, capsys)
    assert (status, told["running"], told["outbox"]["messages"]) == (1, False, 0)
    outbox = Outbox(
        tmp_path / "outbox.sqlite", max_bytes=1_000_000, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: NOW_MS
    )

    def encode(epoch: str, seq: int) -> bytes:
        return encode_readings([], epoch=epoch, seq=seq, sent_at_ms=NOW_MS)

    outbox.append([Draft(kind=Kind.READINGS, readings=7, encode=encode)])
    outbox.close()
    status, told = status_of(config, capsys)
    assert (status, told["outbox"]["messages"], told["outbox"]["readings"]) == (1, 1, 7)
    assert told["outbox"]["oldest_at"] == NOW_MS
    assert "no agent runs: start it with" in told["problems"][0]
    assert main(["edge", "status", "--config", str(config)]) == 1
    assert "acme/hall/a: no agent runs here" in capsys.readouterr().out
