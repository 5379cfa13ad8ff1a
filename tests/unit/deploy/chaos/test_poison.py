"""Every poison is refused for its reason by the collector's own checks, and no reading of it is left to store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from collector.batch import assemble
from collector.decode import Incoming, decode
from collector.meter_index import KnownMeter, MeterIndex
from deploy.chaos.meters import CABINET, SITE
from deploy.chaos.poison import POISONS, Dose, Poison, number_used_twice
from schemas.quarantine import Reason
from schemas.topics import AgentAddress

NOW_MS = 1_795_298_400_000
DOSE = Dose(organisation="chaos", seq=7, at_ms=NOW_MS - 3_600_000, rng=random.Random(1))


@pytest.fixture
def index() -> MeterIndex:
    address = AgentAddress(organisation="chaos", site=SITE, agent=CABINET)
    return MeterIndex(
        version=1, agents=frozenset({address}), meters={address: {"power": KnownMeter(id=1, unit="kWh", largest=1e9)}}
    )


@pytest.mark.parametrize("make", POISONS, ids=[make(DOSE).name for make in POISONS])
def test_it_is_refused_for_its_reason(make: Callable[[Dose], Poison], index: MeterIndex):
    poison = make(DOSE)
    incoming = Incoming(topic=poison.topic, payload=poison.payload, content_type=poison.content_type)
    batch = assemble([decode(incoming)], index, now_ms=NOW_MS, future_tolerance_ms=300_000)
    assert len(batch.rows) == 0
    assert [entry.reason for message in batch.messages for entry in message.quarantined] == [poison.reason]


def test_without_a_fault_it_would_be_stored(index: MeterIndex):
    incoming = Incoming(topic=DOSE.topic(), payload=DOSE.message())
    assert len(assemble([decode(incoming)], index, now_ms=NOW_MS, future_tolerance_ms=300_000).rows) == 1


def test_a_number_used_twice_has_other_values_at_the_same_instants():
    poison = number_used_twice(DOSE.topic(), DOSE.message())
    before, after = json.loads(DOSE.message()), json.loads(poison.payload)
    assert (after["epoch"], after["seq"], after["at"]) == (before["epoch"], before["seq"], before["at"])
    assert (poison.epoch, poison.seq, poison.reason) == (before["epoch"], before["seq"], Reason.CONFLICT)
    assert len(after["value"]) == 1
    assert after["value"] != before["value"]
