"""What the demo says of its readings while they come in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from deploy.demo.outcome import _ledger


def entry(epoch: str, sent: int, readings: int, stored: int, quarantined: int = 0) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "sent": sent,
        "readings": readings,
        "stored": stored,
        "repeated": 0,
        "quarantined": quarantined,
        "missing": [],
    }


def test_what_was_sent_is_stored_in_quarantine_or_on_its_way():
    entries = [entry("past", 1000, 1000, 1000), entry("e1", 50, 40, 40), entry("e2", 7, 7, 5, quarantined=2)]
    client: Any = SimpleNamespace(get=lambda _: {"items": entries})
    scenario: Any = SimpleNamespace(history=SimpleNamespace(epoch="past"))
    ledger = _ledger(client, scenario, sent_in_history=1000)
    assert (ledger["sent"], ledger["on_their_way"]) == (1057, 10)
    assert ledger["sent"] == sum(ledger[what] for what in ("stored", "repeated", "quarantined", "on_their_way"))
