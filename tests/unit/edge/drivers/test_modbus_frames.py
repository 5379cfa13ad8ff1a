"""Only the answer to the question is an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.modbus import split_requests
from edge.devices.modbus_faults import FAULTS, Fault, Said, after_noise
from edge.drivers.modbus.frames import checksum, find_answer
from edge.drivers.modbus.line import Framing

PDU = bytes([4, 4, 0x43, 0x67, 0x12, 0x34])


def tcp_request(transaction: int = 7, device_id: int = 9, count: int = 2) -> bytes:
    return transaction.to_bytes(2, "big") + b"\0\0\0\6" + bytes([device_id, 4, 0, 52, 0, count])


def rtu_request(device_id: int = 9, count: int = 2) -> bytes:
    body = bytes([device_id, 4, 0, 52, 0, count])
    return body + checksum(body)


REQUESTS = {Framing.TCP: tcp_request(), Framing.RTU: rtu_request()}


def said(framing: Framing, pdu: bytes = PDU) -> Said:
    return Said(request=REQUESTS[framing], device_id=9, pdu=pdu, framing=framing)


def test_the_checksum_is_that_of_the_specification() -> None:
    # Modbus over serial line V1.02, 6.2.2: device 2, function 7 gives 41 12.
    assert checksum(bytes([2, 7])) == bytes([0x41, 0x12])


@pytest.mark.parametrize("framing", Framing)
def test_the_answer_is_found_whole_and_only_then(framing: Framing) -> None:
    frame = said(framing).frame()
    assert find_answer(framing, request=REQUESTS[framing], received=frame) == frame
    for cut in range(len(frame)):
        assert find_answer(framing, request=REQUESTS[framing], received=frame[:cut]) == b""


@pytest.mark.parametrize("framing", Framing)
def test_a_refusal_is_an_answer(framing: Framing) -> None:
    frame = said(framing, bytes([0x84, 2])).frame()
    assert find_answer(framing, request=REQUESTS[framing], received=frame) == frame


def test_a_refusal_whose_length_was_counted_wrongly_is_mended() -> None:
    frame = said(Framing.TCP, bytes([0x84, 2])).frame(length=2)
    mended = find_answer(Framing.TCP, request=REQUESTS[Framing.TCP], received=frame)
    assert mended == frame[:5] + b"\3" + frame[6:]


@pytest.mark.parametrize(
    ("framing", "fault"),
    [(framing, fault) for framing in Framing for fault in FAULTS[framing]],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_nonsense_is_none(framing: Framing, fault: Fault) -> None:
    received = b"".join(fault(said(framing)))
    assert received
    assert find_answer(framing, request=REQUESTS[framing], received=received) == b""


@pytest.mark.parametrize("framing", Framing)
def test_the_answer_is_found_behind_noise(framing: Framing) -> None:
    received = b"".join(after_noise(said(framing)))
    assert find_answer(framing, request=REQUESTS[framing], received=received) == said(framing).frame()


@given(st.sampled_from(Framing), st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_stands_around_it(framing: Framing, before: bytes, after: bytes) -> None:
    frame = said(framing).frame()
    assert find_answer(framing, request=REQUESTS[framing], received=before + frame + after) == frame


def test_unit_0_may_answer_under_its_own_id() -> None:
    answer = Said(request=tcp_request(device_id=0), device_id=3, pdu=PDU, framing=Framing.TCP).frame()
    assert find_answer(Framing.TCP, request=tcp_request(device_id=0), received=answer) == answer
    assert find_answer(Framing.TCP, request=tcp_request(device_id=4), received=answer) == b""


@given(st.lists(st.integers(1, 247), min_size=1, max_size=5), st.sampled_from(Framing), st.integers(1, 30))
def test_a_simulated_device_finds_requests_in_any_pieces(ids: list[int], framing: Framing, piece: int) -> None:
    make = rtu_request if framing is Framing.RTU else tcp_request
    requests = [make(device_id=device_id) for device_id in ids]
    stream, buffer, found = b"".join(requests), bytearray(), []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        found += list(split_requests(framing, buffer))
    assert found == requests
