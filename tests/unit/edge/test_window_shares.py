"""Many agents with backlogs share a broker's queue, first in, first out, with one that has none."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest

from edge.window import Window

STEP_S = 0.1
PER_STEP = 10
"""Messages that the collector stores in a step: a hundred a second."""


@dataclass
class Agent:
    window: Window
    last: int
    stored: int = 0
    sent: int = 0
    has: set[int] = field(default_factory=set)


def agents(count: int, backlog: int, size: int) -> list[Agent]:
    return [
        Agent(
            window=Window(size=size, in_flight=1_000, resend_after_s=30, stored_seq=0, now_s=0),
            last=backlog,
        )
        for _ in range(count)
    ]


@dataclass
class Shared:
    """What a run came to: how long a live reading waited, second by second, and how busy the collector was."""

    waits_s: list[float]
    own_waits_s: list[float]
    idle_steps: int
    longest_queue: int
    copies: int


def share(late: list[Agent], live: Agent, seconds: int) -> Shared:
    """The agent without a backlog has a message each second; one with a backlog, one every ten seconds."""
    queue: deque[tuple[Agent, int]] = deque()
    made: dict[tuple[int, int], float] = {}
    waits: list[float] = []
    own: list[float] = []
    idle = longest = mid = copies = 0
    for step in range(int(seconds / STEP_S)):
        now_s = step * STEP_S
        if step % 10 == 0:
            live.last += 1
            made[id(live), live.last] = now_s
        for nth, agent in enumerate(late):
            if step % 100 == nth % 100:
                agent.last += 1
                made[id(agent), agent.last] = now_s
        for agent in (*late, live):
            again = agent.window.overdue(now_s)
            copies += len(again)
            for seq in (*again, *agent.window.fresh(agent.last, now_s)):
                mid += 1
                agent.window.note_sent(seq, mid, now_s)
                agent.window.note_answered(mid, was_taken=True)
                agent.sent += 1
                queue.append((agent, seq))
        longest = max(longest, len(queue))
        idle += len(queue) < PER_STEP
        told: dict[int, Agent] = {}
        for agent, seq in [queue.popleft() for _ in range(min(PER_STEP, len(queue)))]:
            agent.has.add(seq)
            since_s = made.pop((id(agent), seq), None)
            if since_s is not None:
                (waits if agent is live else own).append(now_s - since_s)
            told[id(agent)] = agent
        for agent in told.values():
            while agent.stored + 1 in agent.has:
                agent.stored += 1
            agent.window.note_stored(agent.stored, now_s + STEP_S)
    return Shared(waits_s=waits, own_waits_s=own, idle_steps=idle, longest_queue=longest, copies=copies)


@pytest.mark.parametrize("size", [20, 50])
def test_a_country_that_comes_back_does_not_queue_up_before_live_readings(size: int) -> None:
    """200 agents, one message of each a two-second queue: full windows of 20 would be one of forty seconds."""
    late, [live] = agents(200, 10_000, size), agents(1, 0, size)
    found = share(late, live, 60)
    settled = found.waits_s[10:]
    assert np.median(settled) < 8
    assert max(settled) < 10
    assert found.longest_queue < 1_000, "of 4,000"
    assert found.idle_steps <= 2, "the collector always has something to do"
    assert found.copies == 0


@pytest.mark.parametrize("size", [20, 50])
def test_they_share_alike_and_each_shows_what_happens_now(size: int) -> None:
    late, [live] = agents(50, 10_000, size), agents(1, 0, size)
    found = share(late, live, 60)
    stored = sorted(agent.stored for agent in late)
    assert stored[0] > 0.6 * stored[len(stored) // 2]
    assert stored[-6] < 2 * stored[0], "but for a few"
    assert np.median(found.own_waits_s) < 4
    assert np.median(found.waits_s) < 4
    assert len(found.own_waits_s) > 0.8 * 50 * 6
    assert found.copies == 0


@pytest.mark.parametrize("size", [20, 50])
def test_one_alone_gets_its_whole_window(size: int) -> None:
    [late], [live] = agents(1, 10_000, size), agents(1, 0, size)
    found = share([late], live, 60)
    assert late.window.allowed == size
    assert max(found.waits_s) < 1
