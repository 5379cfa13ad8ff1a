"""What agents are told: the newest word for each, no more on the way than the broker takes, nothing forgotten."""

from __future__ import annotations

import json

from collector.packets import PacketStream, parse_publish
from collector.stored_window import StoredWindow
from schemas.topics import AgentAddress
from schemas.wire import Stored

PRESS = AgentAddress(organisation="o", site="s", agent="press")
OVEN = AgentAddress(organisation="o", site="s", agent="oven")


def words(address: AgentAddress, *seqs: int, epoch: str = "E") -> list[tuple[AgentAddress, Stored]]:
    return [(address, Stored(epoch=epoch, seq=seq)) for seq in seqs]


def said(packets: bytes) -> list[tuple[int, str, str, int]]:
    """Packet id, agent, epoch and seq of each message."""
    found = []
    for packet in PacketStream().feed(packets):
        message = parse_publish(*packet)
        body = json.loads(message.payload)
        assert message.is_retained
        assert message.content_type == "application/json"
        found.append((message.packet_id, message.topic.split("/")[4], body["epoch"], body["seq"]))
    return found


def test_the_newest_word_takes_the_place_of_the_one_before() -> None:
    window = StoredWindow()
    window.open(10)
    window.add(words(PRESS, 1, 2) + words(OVEN, 7) + words(PRESS, 3) + words(PRESS, 1, epoch="F"))
    assert said(window.take()) == [(1, "press", "E", 3), (2, "oven", "E", 7), (3, "press", "F", 1)]
    assert window.take() == b""


def test_no_more_is_on_the_way_than_the_broker_takes() -> None:
    window = StoredWindow()
    window.add(words(PRESS, 1) + words(OVEN, 1) + words(PRESS, 1, epoch="F"))
    assert not window.has_to_send
    assert window.take() == b""
    window.open(2)
    assert [found[0] for found in said(window.take())] == [1, 2]
    assert not window.has_to_send
    assert window.answered(2) == OVEN
    assert window.answered(2) is None
    assert said(window.take()) == [(3, "press", "F", 1)]
    assert window.is_talking
    assert (window.answered(1), window.answered(3)) == (PRESS, PRESS)
    assert not window.is_talking


def test_what_was_on_the_way_when_the_connection_broke_is_said_again() -> None:
    window = StoredWindow()
    window.open(10)
    window.add(words(PRESS, 1) + words(OVEN, 4))
    window.take()
    window.shut()
    window.add(words(PRESS, 2))
    assert not window.is_talking
    assert window.take() == b""
    # An answer of the connection before means nothing any more.
    assert window.answered(1) is None
    window.open(10)
    assert sorted(found[1:] for found in said(window.take())) == [("oven", "E", 4), ("press", "E", 2)]


def test_packet_ids_come_round_and_none_is_given_twice() -> None:
    window = StoredWindow()
    window.open(2)
    window.add(words(OVEN, 1))
    assert said(window.take())[0][0] == 1
    window._last_id = 65_534
    window.add(words(PRESS, 5))
    assert said(window.take())[0][0] == 65_535
    window.answered(65_535)
    window.add(words(PRESS, 70_000))
    assert said(window.take())[0][0] == 2
