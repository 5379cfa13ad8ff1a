"""What a verdict finds: each thing that can be wrong, in evidence made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deploy.chaos.evidence import Evidence, LedgerRow, Quarantined, StoredReading
from deploy.chaos.meters import AGENTS, CLOCK, PRESS
from deploy.chaos.poison import EPOCH, Poison
from deploy.chaos.verdict import judge
from schemas.quarantine import Reason
from schemas.wire import FIRST_INSTANT, OutboxState

T0 = 1_795_298_400_000
MIN = 60_000
TAKEN = {
    ("power", T0): 10.0,
    ("power", T0 + MIN): 12.5,
    ("heat", T0): 1_000.0,
    ("heat", T0 + MIN): 3_000.0,
    ("pieces", T0): 7.0,
    ("pieces", T0 + MIN): 8.0,
    ("gas", T0): 0.25,
    ("gas", T0 + MIN): 0.5,
}
CONSUMPTION = {"power": 2_500_000_000, "heat": 2_000_000_000, "pieces": 1_000_000_000, "gas": 750_000_000}


def entry(agent: str, **changed: Any) -> LedgerRow:
    good: dict[str, Any] = {
        "agent": agent,
        "epoch": f"E-{agent}",
        "stored_seq": 1,
        "highest_seq": 1,
        "adopted": 0,
        "messages": 1,
        "readings": 2,
        "stored": 2,
        "repeated": 0,
        "quarantined": 0,
        "ahead": 0,
    }
    return LedgerRow(**{**good, **changed})


def outbox(agent: str, **changed: Any) -> OutboxState:
    return OutboxState(**{"epoch": f"E-{agent}", "last_seq": 1, "stored_seq": 1, "readings": 2, **changed})


def stored(without: tuple[str, int] | None = None) -> list[StoredReading]:
    return [
        StoredReading(meter=meter, at_ms=at_ms, value=value, quality=0)
        for (meter, at_ms), value in sorted(TAKEN.items())
        if (meter, at_ms) != without
    ]


def quarantined(agent: str, reason: Reason, meter: str, at_ms: int, value: float) -> Quarantined:
    payload = {
        "epoch": f"E-{agent}",
        "seq": 1,
        "sent_at": T0,
        "meters": [meter],
        "units": ["kWh"],
        "meter": [0],
        "at": [at_ms],
        "value": [value],
    }
    return Quarantined(
        reason=reason,
        agent=agent,
        epoch=f"E-{agent}",
        seq=1,
        topic=f"afkobling/v1/chaos/hall/{agent}/readings",
        counted=1,
        payload=json.dumps(payload).encode(),
        detail="",
    )


GOOD = Evidence(
    taken=TAKEN,
    stored=stored(),
    ledger=[entry(agent) for agent in AGENTS],
    quarantine=[],
    outboxes={agent: outbox(agent) for agent in AGENTS},
    consumption=CONSUMPTION,
)


def with_entry(changed: LedgerRow) -> Evidence:
    return replace(GOOD, ledger=[changed if row.agent == changed.agent else row for row in GOOD.ledger])


def test_nothing_is_found_where_all_is_well():
    verdict = judge(GOOD)
    assert verdict.findings == []
    assert (verdict.taken, verdict.stored, verdict.lost, verdict.doubled, verdict.strange) == (8, 8, 0, 0, 0)
    assert verdict.is_ledger_right
    assert verdict.is_consumption_right


def test_a_reading_that_is_nowhere_is_lost():
    gone = ("power", T0 + MIN)
    evidence = replace(
        with_entry(entry("cabinet", readings=1, stored=1)), stored=stored(gone), consumption={**CONSUMPTION, "power": 0}
    )
    verdict = judge(evidence)
    assert verdict.lost == 1
    assert any("1 readings are lost: power at" in finding for finding in verdict.findings)
    assert not verdict.is_ledger_right


def test_a_row_that_stands_twice_is_doubled():
    verdict = judge(replace(GOOD, stored=[*stored(), stored()[0]]))
    assert verdict.doubled == 1
    assert any("more than once" in finding for finding in verdict.findings)


def test_another_value_than_the_one_taken_is_strange_and_the_one_taken_is_lost():
    rows = [replace(row, value=99.0) if (row.meter, row.at_ms) == ("gas", T0) else row for row in stored()]
    verdict = judge(replace(GOOD, stored=rows))
    assert (verdict.strange, verdict.lost) == (1, 1)


def test_a_row_that_nobody_took_is_strange():
    extra = StoredReading(meter=None, at_ms=T0, value=1.0, quality=0)
    assert judge(replace(GOOD, stored=[*stored(), extra])).strange == 1


def test_what_a_wrong_clock_sent_is_in_quarantine_with_its_reason():
    for reason, at_ms in ((Reason.FUTURE, T0 + 10**10), (Reason.TOO_OLD, FIRST_INSTANT - 1)):
        evidence = replace(
            with_entry(entry(CLOCK, readings=3, quarantined=1)),
            taken={**TAKEN, ("gas", at_ms): 1.0},
            quarantine=[quarantined(CLOCK, reason, "gas", at_ms, 1.0)],
            outboxes={**GOOD.outboxes, CLOCK: outbox(CLOCK, readings=3)},
        )
        verdict = judge(evidence)
        assert verdict.findings == []
        assert verdict.quarantined == {reason.value: 1}


@pytest.mark.parametrize(
    ("agent", "reason", "meter", "at_ms"),
    [
        ("cabinet", Reason.FUTURE, "power", T0 + 10**10),
        (CLOCK, Reason.TOO_OLD, "gas", T0 + 5 * MIN),
        (CLOCK, Reason.FUTURE, "gas", 0),
        (CLOCK, Reason.CONFLICT, "gas", T0),
    ],
    ids=["clock-was-right", "not-that-old", "not-in-the-future", "conflict"],
)
def test_quarantine_without_a_good_reason_is_found(agent: str, reason: Reason, meter: str, at_ms: int):
    evidence = replace(
        with_entry(entry(agent, readings=3, quarantined=1)),
        quarantine=[quarantined(agent, reason, meter, at_ms, 1.0)],
        outboxes={**GOOD.outboxes, agent: outbox(agent, readings=3)},
    )
    assert any("for no good reason" in finding for finding in judge(evidence).findings)


def test_what_an_outbox_gave_up_and_counted_is_not_lost():
    gone = ("pieces", T0 + MIN)
    evidence = replace(
        with_entry(entry(PRESS, readings=1, stored=1)),
        stored=stored(gone),
        consumption={**CONSUMPTION, "pieces": 0},
        outboxes={**GOOD.outboxes, PRESS: outbox(PRESS, dropped_readings=1)},
    )
    verdict = judge(evidence)
    assert verdict.findings == []
    assert (verdict.lost, verdict.missing, verdict.dropped) == (0, 1, 1)


def test_what_an_outbox_gave_up_without_counting_is_lost():
    evidence = replace(
        with_entry(entry(PRESS, readings=1, stored=1)),
        stored=stored(("pieces", T0 + MIN)),
        consumption={**CONSUMPTION, "pieces": 0},
    )
    verdict = judge(evidence)
    assert verdict.lost == 1
    assert not verdict.is_ledger_right


def test_only_one_outbox_may_drop():
    evidence = replace(
        with_entry(entry("boiler", readings=1, stored=1)),
        stored=stored(("heat", T0 + MIN)),
        consumption={**CONSUMPTION, "heat": 0},
        outboxes={**GOOD.outboxes, "boiler": outbox("boiler", dropped_readings=1)},
    )
    assert judge(evidence).lost == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stored_seq": 0}, "without a hole up to 0"),
        ({"highest_seq": 2}, "up to 2"),
        ({"messages": 2}, "the ledger has 2"),
        ({"ahead": 1}, "1 messages stand behind a hole"),
        ({"adopted": 1}, "1 were believed"),
        ({"epoch": "other"}, "does not know the epoch"),
        ({"readings": 1, "stored": 1}, "1 never came"),
        ({"readings": 3, "quarantined": 1}, "counts 1 readings in quarantine, and 0 stand there"),
    ],
    ids=["hole", "highest", "messages", "ahead", "adopted", "epoch", "fewer", "quarantined"],
)
def test_a_ledger_that_differs_from_the_outbox_is_found(changed: dict[str, Any], words: str):
    verdict = judge(with_entry(entry("cabinet", **changed)))
    assert not verdict.is_ledger_right
    assert any(words in finding for finding in verdict.findings)


def test_an_epoch_that_no_outbox_has_is_found_unless_it_is_poisons():
    assert not judge(replace(GOOD, ledger=[*GOOD.ledger, entry("cabinet", epoch="older", stored=0)])).is_ledger_right
    assert judge(replace(GOOD, ledger=[*GOOD.ledger, entry("cabinet", epoch=EPOCH, stored=0)])).is_ledger_right


@pytest.mark.parametrize("meter", ["power", "heat", "pieces", "gas"])
def test_consumption_that_is_off_by_a_billionth_is_found(meter: str):
    verdict = judge(replace(GOOD, consumption={**CONSUMPTION, meter: CONSUMPTION[meter] + 1}))
    assert not verdict.is_consumption_right
    assert any(finding.startswith(meter) for finding in verdict.findings)


def test_a_rebuild_that_differs_is_found():
    assert judge(replace(GOOD, is_rebuilt_identical=False)).findings != []


def test_poison_must_be_in_quarantine_under_its_own_reason():
    poison = Poison(name="noise", reason=Reason.MALFORMED, topic="t", payload=b"x")
    found = Quarantined(
        reason=Reason.MALFORMED, agent="cabinet", epoch=None, seq=None, topic="t", counted=0, payload=b"x", detail=""
    )
    assert judge(replace(GOOD, poisons=[poison], quarantine=[found])).findings == []
    wrong = replace(found, reason=Reason.OVERSIZED)
    assert any("noise" in finding for finding in judge(replace(GOOD, poisons=[poison], quarantine=[wrong])).findings)
