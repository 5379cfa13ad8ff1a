"""How a part ends: in good order, and if it can't, loudly and in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from deploy.service import STOP_SECONDS, StopSecondsError, stop_seconds

PROGRAM = """
import sys, threading, time
from prometheus_client import CollectorRegistry
from deploy.service import serve
from schemas.errors import PermanentError

class Part:
    def __init__(self): self.told = threading.Event()
    def run(self):
        print("runs", flush=True)
        {run}
    def stop(self): self.told.set()
    def problems(self): return ["waits for mqtt://me:hunter2@host"]

serve(Part(), registry=CollectorRegistry(), port=None, part="test")
"""


def run(body: str, *, signals: int, seconds: str = "") -> tuple[int, list[dict[str, Any]]]:
    """The exit status of a part that is sent SIGTERM so often, and its log."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(run=body)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "AFKOBLING_STOP_SECONDS": seconds},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in errors.splitlines()]


def actions(lines: list[dict[str, Any]]) -> list[str]:
    return [line["action"] for line in lines]


def test_it_finishes_what_is_at_hand() -> None:
    status, lines = run("self.told.wait(); time.sleep(0.2)", signals=2)
    assert (status, actions(lines)) == (0, ["process.started", "process.stopping", "process.stopped"])


def test_what_does_not_end_in_time_is_cut_off_and_told() -> None:
    status, lines = run("threading.Event().wait()", signals=1, seconds="0.2")
    assert (status, actions(lines)) == (1, ["process.started", "process.stopping", "process.overdue"])
    assert lines[-1]["unfinished"] == ["waits for mqtt://me:***@host"]


def test_what_it_can_not_do_is_a_line_of_its_log() -> None:
    status, lines = run("raise PermanentError('run `afkobling db migrate` first')", signals=0)
    assert (status, actions(lines)) == (1, ["process.started", "process.failed"])
    assert lines[-1]["event"] == "run `afkobling db migrate` first"


def test_a_defect_keeps_its_traceback() -> None:
    status, lines = run("1 / 0", signals=0)
    assert (status, actions(lines)) == (1, ["process.started", "process.defect"])
    assert "in run" in lines[-1]["exception"]


@pytest.mark.parametrize(("text", "seconds"), [("", STOP_SECONDS), ("  ", STOP_SECONDS), ("10", 10), ("0.5", 0.5)])
def test_the_deadline_can_be_set(text: str, seconds: float) -> None:
    assert stop_seconds({"AFKOBLING_STOP_SECONDS": text}) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3601", "soon"])
def test_a_deadline_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StopSecondsError, match="AFKOBLING_STOP_SECONDS"):
        stop_seconds({"AFKOBLING_STOP_SECONDS": text})
