"""What `afkobling bench ingest` measures: the cases, and messages that carry the rows they stand for."""

from __future__ import annotations

import json

import pytest

from collector.packets import PacketStream, parse_publish
from deploy.bench.courier import ready_made
from deploy.bench.ingest import _load, cases_of
from deploy.bench.load import Encoding, Shape, agent_key, columns, payloads

BOTH = list(Encoding)


def test_every_combination_is_measured_once() -> None:
    cases = cases_of(shapes=list(Shape), sizes=[1, 10, 100, 1000], encodings=BOTH, collectors=[1, 2])
    # One reading a message is neither deep nor wide.
    assert len(cases) == len(set(cases)) == 3 * 2 * 2 * 2 + 2 * 2
    assert {shape for shape, size, _, _ in cases if size == 1} == {Shape.WIDE}
    assert cases_of(shapes=[Shape.DEEP], sizes=[1], encodings=[Encoding.JSON], collectors=[1]) == [
        (Shape.DEEP, 1, Encoding.JSON, 1)
    ]


@pytest.mark.parametrize("size", [1, 10, 100, 1000])
def test_small_messages_are_bounded_by_their_number(size: int) -> None:
    loads = {encoding: _load(Shape.WIDE, size, encoding, 2_000_000) for encoding in Encoding}
    for load in loads.values():
        assert load.total_readings <= 2_000_000
        assert load.total_messages <= 40_000
        assert load.total_messages >= 2_000
    assert loads[Encoding.JSON].total_messages >= loads[Encoding.ARROW].total_messages


@pytest.mark.parametrize("shape", list(Shape))
def test_messages_carry_the_rows_that_raw_copy_writes(shape: Shape) -> None:
    load = _load(shape, 10, Encoding.JSON, 2_000)
    for nth, payload in enumerate(payloads(load, 3, "E")):
        body = json.loads(payload)
        meter, at, value = columns(load, nth)
        assert [body["meters"][entry] for entry in body["meter"]] == [f"a3-m{m}" for m in meter]
        assert (body["at"], body["value"]) == (at.tolist(), value.tolist())
        assert body["seq"] == nth + 1


def test_a_ready_made_message_lacks_only_its_id() -> None:
    head, tail = ready_made(f"afkobling/v1/bench/bench/{agent_key(1)}/readings", b"{}", "application/json")
    [packet] = PacketStream().feed(head + (513).to_bytes(2) + tail)
    message = parse_publish(*packet)
    assert (message.packet_id, message.payload, message.content_type) == (513, b"{}", "application/json")
    assert not message.is_retained
