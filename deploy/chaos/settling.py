"""After the last fault: everything is healed, and what is on its way arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import LiteralString

from deploy.chaos.errors import StuckError
from deploy.chaos.evidence import read_quarantine
from deploy.chaos.meters import AGENTS, STEP_MS
from deploy.chaos.plant import ROLLUP, Plant, edge_of, now_ms, require_good_end
from deploy.chaos.poison import Poison
from deploy.chaos.processes import wait_for

_PATIENCE_S = 300
"""Without any progress. Keep-alives and back-offs have their say within half of it."""
_AGAIN_S = 5
_IS_ROLLED_UP: LiteralString = """
    SELECT NOT EXISTS (SELECT FROM pending) AND computed_to >= to_timestamp(%s / 1000.0)
           AND computed_to >= date_bin('15 minutes', closed_to - interval '15 seconds', '2000-01-01Z')
    FROM rollup_progress
"""
_STATUS: LiteralString = """
    SELECT agent, status->>'state', (status->'outbox'->>'waiting')::int8, (status->'outbox'->>'last_seq')::int8
    FROM agent_report WHERE organisation = %s
"""


def settle(plant: Plant, poisons: Sequence[Poison], say: Callable[[str], None]) -> None:
    """Until every reading is stored and rolled up, every poison in quarantine, and every part has ended well.

    Raises StuckError, PartEndedError.
    """
    say("The last fault is over; agents hand over what they have")
    for proxy in plant.proxies.values():
        proxy.heal()
    for agent in AGENTS:
        plant.order(agent, is_last=True)
    end_ms = plant.settings.clock.at(now_ms()) + 30 * STEP_MS
    _wait_for_agents(plant)
    say("All is confirmed to the agents; poison that the broker lost is given again")
    _wait_for_poison(plant, poisons)
    say("All poison is in quarantine; the roll-up does what is left")
    # From now on the real command, whose clock is past everything.
    plant.kill(ROLLUP)
    wait_for(lambda: not plant.is_rollup_connected(), "the roll-up to be gone", _PATIENCE_S)
    plant.start_real_rollup()
    wait_for(plant.is_rollup_connected, "the roll-up to be there", _PATIENCE_S)
    _wait_checking(plant, lambda: plant.query(_IS_ROLLED_UP, end_ms) == [(True,)], "the roll-up to do everything")
    _wait_checking(plant, lambda: _are_statuses_final(plant), "the last status of each agent")
    for name in (ROLLUP, *plant.collectors):
        require_good_end(plant.processes.stop(name), name)


def _wait_for_agents(plant: Plant) -> None:
    """Until each has ended by itself, as nothing waits in its outbox."""
    going = set(AGENTS)
    seen, seen_s = -1, time.monotonic()
    while going:
        plant.processes.check(*plant.collectors, ROLLUP)
        for agent in list(going):
            name = edge_of(agent)
            status = plant.processes.ended(name)
            require_good_end(status, name)
            if status is not None:
                going.discard(agent)
        outboxes = [plant.outbox(agent) for agent in AGENTS]
        progress = sum(outbox.stored_seq + outbox.last_seq for outbox in outboxes if outbox is not None)
        if progress > seen or going == set():
            seen, seen_s = progress, time.monotonic()
        if time.monotonic() - seen_s > _PATIENCE_S:
            waiting = {agent: outbox.waiting for agent, outbox in zip(AGENTS, outboxes, strict=True) if outbox}
            raise StuckError(f"nothing was confirmed for {_PATIENCE_S} s; messages that wait, by agent: {waiting}")
        time.sleep(0.05)


def _wait_for_poison(plant: Plant, poisons: Sequence[Poison]) -> None:
    """Until each is in quarantine: only the broker stood behind it, so what was lost there is given again."""
    deadline = time.monotonic() + _PATIENCE_S
    given_s = float("-inf")
    while missing := _not_in_quarantine(plant, poisons):
        plant.check()
        if time.monotonic() > deadline:
            names = ", ".join(f"{poison.name} (as {poison.reason})" for poison in missing)
            raise StuckError(f"not in quarantine after {_PATIENCE_S} s: {names}")
        if time.monotonic() > given_s + _AGAIN_S:
            given_s = time.monotonic()
            for poison in missing:
                plant.outsider.give(poison)
        time.sleep(0.5)


def _not_in_quarantine(plant: Plant, poisons: Sequence[Poison]) -> list[Poison]:
    entries = read_quarantine(plant) if poisons else []
    return [poison for poison in poisons if not any(entry.is_of(poison) for entry in entries)]


def _wait_checking(plant: Plant, condition: Callable[[], bool], what: str) -> None:
    def holds() -> bool:
        plant.check()
        return condition()

    wait_for(holds, what, _PATIENCE_S)


def _are_statuses_final(plant: Plant) -> bool:
    expected = set()
    for agent in AGENTS:
        outbox = plant.outbox(agent)
        expected.add((agent, "offline", 0, outbox.last_seq if outbox else None))
    return set(plant.query(_STATUS, plant.settings.organisation)) == expected
