"""Whatever is sent, adopted, sent again and replayed: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import psycopg
import pytest

from deploy.cli import main
from schemas.quarantine import Reason
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import NOW_MS, query, read_quarantine, readings
from tests.integration.collector.replaying import BALANCE, deliver, topic

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("seed", range(6))
def test_every_reading_is_stored_or_in_quarantine_once(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    """Known and unknown meters and agents, broken values, redeliveries and two epochs, adopted one after the other."""
    chance = random.Random(seed)
    agents = {
        name: AgentAddress(organisation=address.organisation, site="hall", agent=name) for name in ("cabinet", "shed")
    }
    meters = {"cabinet": ["power", "water", "steam", "heat"], "shed": ["s1", "s2"]}
    units = {meter: "m3" if meter == "water" else "kWh" for names in meters.values() for meter in names}
    sent: Counter[tuple[str, str, int, float | None]] = Counter()
    epochs = {(agent, epoch): 0 for agent in agents for epoch in ("E1", "E2")}
    history: list[tuple[str, dict[str, Any]]] = []

    def send() -> None:
        (agent, epoch), seq = chance.choice(list(epochs.items()))
        rows = [
            (
                chance.choice(meters[agent]),
                chance.randrange(40),
                chance.choice([1.0, 2.0, float(seq), math.nan if chance.random() < 0.2 else 3.0]),
            )
            for _ in range(chance.randrange(1, 8))
        ]
        epochs[agent, epoch] = seq + 1
        message = readings(seq + 1, rows, epoch=epoch, units=units)
        history.append((agent, message))
        for meter, seconds, value in rows:
            sent[agent, meter, NOW_MS - 1000 * seconds, None if math.isnan(value) else value] += 1
        deliver(connection, message, to=topic(agents[agent]))

    def check(*, is_redelivered: bool = False) -> None:
        accounts = query(database_url, BALANCE)
        assert all(quarantined == counted for *_, quarantined, counted in accounts)
        assert sum(row[0] for row in accounts) == sum(sent.values())
        kept = Counter(
            query(
                database_url,
                "SELECT agent.key, meter.key, (extract(epoch FROM at) * 1000)::int8, value "
                "FROM reading JOIN meter ON meter.id = meter_id JOIN agent ON agent.id = agent_id",
            )
        )
        refused: Counter[Any] = Counter()
        for agent, payload in query(database_url, "SELECT agent, payload FROM quarantine WHERE replayed_at IS NULL"):
            body = json.loads(payload)
            for i, at, value in zip(body["meter"], body["at"], body["value"], strict=True):
                refused[agent, body["meters"][i], at, None if math.isnan(value) else value] += 1
        # Each distinct reading is in one place; what was sent more than once is stored once, or waits as often. What is
        # delivered again and in conflict again may stand in a second entry, which counts for nothing.
        assert max(kept.values(), default=0) <= 1
        assert set(kept) | set(refused) == set(sent)
        assert not set(kept) & set(refused)
        assert all(count == sent[key] or (is_redelivered and count > sent[key]) for key, count in refused.items())

    unknown = [("cabinet", "steam"), ("cabinet", "heat"), ("shed", "s1"), ("shed", "s2")]
    chance.shuffle(unknown)
    for _ in range(15):
        send()
    check()
    for adopted, (agent, meter) in enumerate(unknown):
        for _ in range(3):
            send()
        command = ["meters", "adopt", agent, meter, "--resource", "energy", "--kind", "counter", "--carrier", "steam"]
        assert main([*command, "--site", f"{address.organisation}/hall", "--database-url", database_url]) == 0
        assert f"set up meter {meter}" in capsys.readouterr().out
        check(is_redelivered=adopted > 0)
        old_agent, message = chance.choice(history)
        deliver(connection, message, to=topic(agents[old_agent]))
        check(is_redelivered=True)
    left = dict(
        query(database_url, "SELECT reason, count(*) FROM quarantine WHERE replayed_at IS NULL GROUP BY reason")
    )
    assert set(left) <= {Reason.CONFLICT, Reason.NOT_A_NUMBER}
    assert read_quarantine(database_url)
