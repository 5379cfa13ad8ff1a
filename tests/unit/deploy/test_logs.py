"""Logs off a terminal: one JSON object a line, whoever says it, and no secret in it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from deploy.logs import _Seldom
from deploy.secrets import HIDDEN, without_secrets, without_secrets_in

_HEAD = "import logging, structlog, threading\nfrom deploy.logs import configure_logs\nconfigure_logs('collector')\n"


def lines_of(program: str) -> list[dict[str, Any]]:
    """What a program of its own says on standard error, each line as JSON."""
    done = subprocess.run([sys.executable, "-c", _HEAD + program], capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_each_line_is_an_object_that_says_who_and_what() -> None:
    (line,) = lines_of(
        "import decimal\n"
        "structlog.get_logger().warning('the database is away', action='database.away', wait_s=0.5,"
        " x=decimal.Decimal(1))"
    )
    at = line.pop("at")
    assert at.endswith("Z")
    assert line == {
        "event": "the database is away", "action": "database.away", "level": "warning", "part": "collector",
        "wait_s": 0.5, "x": "1",
    }  # fmt: skip


def test_threads_and_libraries_say_it_in_the_same_form() -> None:
    lines = lines_of(
        "log = structlog.get_logger()\n"
        "t = threading.Thread(target=lambda: log.info('from a thread', action='process.started'))\n"
        "t.start(); t.join()\n"
        "logging.getLogger('uvicorn.error').error('port %s is taken', 8080)\n"
        "logging.getLogger('uvicorn.error').info('of no interest')\n"
        "try:\n    1 / 0\n"
        "except ZeroDivisionError:\n    logging.getLogger('asyncio').exception('a task failed')\n"
    )
    assert [(line["action"], line["level"], line["part"]) for line in lines] == [
        ("process.started", "info", "collector"),
        ("library.uvicorn", "error", "collector"),
        ("library.asyncio", "error", "collector"),
    ]
    assert lines[1]["event"] == "port 8080 is taken"
    assert "ZeroDivisionError" in lines[2]["exception"]


@pytest.mark.parametrize("place", ["main", "thread"])
def test_what_nobody_caught_is_one_line_too(place: str) -> None:
    fail = "def fail(): raise ValueError('postgresql://me:hunter2@host/db')\n"
    call = "fail()" if place == "main" else "t = threading.Thread(target=fail); t.start(); t.join()"
    (line,) = lines_of(fail + call)
    assert (line["action"], line["level"]) == ("process.defect", "critical")
    assert "ValueError" in line["exception"]
    assert "hunter2" not in json.dumps(line)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://me:hunter2@host:5432/db is away", "postgresql://me:***@host:5432/db is away"),
        ("mqtts://agent:p%40ss@broker", "mqtts://agent:***@broker"),
        ("mqtt://a:p@ss:w/rd@broker:1883, again", "mqtt://a:***@broker:1883, again"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("postgresql://me@host/db?password=hunter2&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("host=x user=me password='hunter 2' dbname=y", "host=x user=me password=*** dbname=y"),
        ("AFKOBLING_ALERT_WEBHOOK_TOKEN=hunter2", "AFKOBLING_ALERT_WEBHOOK_TOKEN=***"),
        ("Authorization: Bearer afk_hunter2", "Authorization: Bearer ***"),
        ("https://hooks.example/x?token=hunter2", "https://hooks.example/x?token=***"),
        ("no connection to mqtt://me@broker:1883: refused", "no connection to mqtt://me@broker:1883: refused"),
        ("seq 11: meter a@b, 12:30 http://x:80/y", "seq 11: meter a@b, 12:30 http://x:80/y"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, told: str) -> None:
    assert without_secrets(text) == told


def test_secrets_are_hidden_wherever_they_stand() -> None:
    url = "mqtt://me:hunter2@broker"
    found = without_secrets_in(
        {"a": [url, {"b": (url,)}], "database_password": "hunter2", "error": ValueError(url), "n": 1, "none": None}
    )
    assert "hunter2" not in repr(found)
    assert found["database_password"] == HIDDEN
    assert (found["n"], found["none"]) == (1, None)


def test_a_log_line_hides_what_is_secret() -> None:
    (line,) = lines_of(
        "structlog.get_logger().error('x', action='broker.away', url='mqtt://me:hunter2@b', token='hunter2')"
    )
    assert (line["url"], line["token"]) == ("mqtt://me:***@b", "***")


def test_a_warning_that_is_repeated_is_told_once_a_minute() -> None:
    now = 0.0
    seldom = _Seldom(clock=lambda: now)

    def say(**event: Any) -> EventDict | None:
        try:
            return seldom(None, "", {"level": "warning", "event": "away", "at": now, **event})
        except structlog.DropEvent:
            return None

    assert say(error="refused") == {"level": "warning", "event": "away", "at": 0.0, "error": "refused"}
    assert [say(error="refused", wait_s=n) for n in range(3)] == [None] * 3
    assert say(error="disk full") is not None
    for level in ("info", "error"):
        assert say(error="refused", level=level) is not None
        assert say(error="refused", level=level) is not None
    now = 61.0
    told = say(error="refused")
    assert told is not None
    assert told["repeated"] == 3
    assert say(error="refused") is None
    assert "repeated" not in (say(error="disk full") or {})


def test_what_is_remembered_of_warnings_is_bounded() -> None:
    now = 0.0
    seldom = _Seldom(clock=lambda: now)
    for number in range(5000):
        now += 1
        seldom(None, "", {"level": "warning", "event": number})
    assert len(seldom._said) <= 1000
