"""What the agents of a backlog have to say, by number and moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.bench.backlog_plan import METERS, Fleet, message, message_head, value
from schemas.wire import Readings

START_MS = 1_795_298_400_000

fleets = st.builds(
    Fleet,
    first=st.integers(0, 50),
    count=st.integers(1, 40),
    backlog=st.integers(0, 1_000),
    cadence_ms=st.integers(100, 20_000),
    start_ms=st.just(START_MS),
)


@given(fleets, st.integers(0, 1_000_000), st.data())
def test_the_newest_message_is_the_last_that_is_due(fleet: Fleet, since_ms: int, data: st.DataObject) -> None:
    agent = data.draw(st.sampled_from(list(fleet.agents)))
    last = fleet.last_seq(agent, START_MS + since_ms)
    assert last >= fleet.backlog
    assert fleet.at_ms(agent, last + 1) > START_MS + since_ms
    if last:
        assert fleet.at_ms(agent, last) <= START_MS + since_ms


@given(fleets, st.data())
def test_instants_rise_and_the_backlog_lies_before_the_start(fleet: Fleet, data: st.DataObject) -> None:
    agent = data.draw(st.sampled_from(list(fleet.agents)))
    instants = [fleet.at_ms(agent, seq) for seq in range(1, fleet.backlog + 5)]
    assert instants == sorted(set(instants))
    assert all(at_ms < START_MS for at_ms in instants[: fleet.backlog])
    assert all(at_ms >= START_MS for at_ms in instants[fleet.backlog :])


def test_a_message_is_one_of_the_wire() -> None:
    said = Readings.model_validate_json(message(message_head(3, "E"), 7, START_MS))
    assert (said.epoch, said.seq, set(said.at), len(said.meters)) == ("E", 7, {START_MS}, METERS)
    assert said.value == [value(7, meter) for meter in range(METERS)]
    assert said.meters[:2] == ["agent-3-m0", "agent-3-m1"]


@given(fleets, st.integers(1, 4))
def test_parts_are_all_of_it_once(fleet: Fleet, parts: int) -> None:
    shared_out = [agent for nth in range(parts) for agent in fleet.part(nth, parts)]
    assert sorted(shared_out) == list(fleet.agents)
