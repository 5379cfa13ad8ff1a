"""Register maps, and the decoding of registers."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.modbus.profile import load_modbus_profile, register_of
from edge.drivers.modbus.registers import (
    Function,
    Register,
    RegisterType,
    WordOrder,
    decode,
    decode_block,
    encode,
    plan_blocks,
)
from edge.drivers.profile import Protocol, shipped_profiles
from edge.errors import EdgePermanentError


def register(
    type: RegisterType = RegisterType.U16,  # noqa: A002
    *,
    address: int = 0,
    key: str = "k",
    function: Function = Function.INPUT,
    word_order: WordOrder = WordOrder.HIGH_FIRST,
    scale: str = "1",
    absent: bool = False,
) -> Register:
    return Register(
        key=key,
        function=function,
        address=address,
        type=type,
        word_order=word_order,
        scale=Decimal(scale),
        all_ones_is_absent=absent,
    )


@st.composite
def raw_values(draw: st.DrawFn) -> tuple[RegisterType, float]:
    kind = draw(st.sampled_from(RegisterType))
    if kind.value.startswith("float"):
        width = st.floats(width=32) if kind is RegisterType.FLOAT32 else st.floats()
        return kind, draw(width.filter(math.isfinite))
    bits = int(kind.value[1:])
    low, high = (0, 2**bits - 1) if kind.value[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return kind, draw(st.integers(low, high))


@given(raw_values(), st.sampled_from(WordOrder))
def test_decoding_undoes_encoding(raw: tuple[RegisterType, float], order: WordOrder) -> None:
    kind, value = raw
    place = register(kind, word_order=order)
    words = encode(place, value)
    assert len(words) == kind.words
    assert decode(place, words) == float(value)


def test_the_orders_that_register_lists_call_by_letters() -> None:
    words = {
        WordOrder.HIGH_FIRST: [0xAABB, 0xCCDD],
        WordOrder.LOW_FIRST: [0xCCDD, 0xAABB],
        WordOrder.HIGH_FIRST_SWAPPED: [0xBBAA, 0xDDCC],
        WordOrder.LOW_FIRST_SWAPPED: [0xDDCC, 0xBBAA],
    }
    for order, lying in words.items():
        place = register(RegisterType.U32, word_order=order)
        assert decode(place, lying) == 0xAABBCCDD
        assert encode(place, 0xAABBCCDD) == lying


def test_a_tenth_is_a_tenth() -> None:
    assert decode(register(scale="0.1"), [3]) == 0.3
    assert decode(register(RegisterType.U64, scale="0.01"), [0, 0, 0x12, 0xD687]) == 12345.67


def test_absent_is_absent_and_never_a_number() -> None:
    for kind in (RegisterType.U64, RegisterType.I32):
        assert decode(register(kind, absent=True), [0xFFFF] * kind.words) is None
    assert decode(register(RegisterType.I32), [0xFFFF] * 2) == -1
    assert decode(register(RegisterType.FLOAT32), encode(register(RegisterType.FLOAT32), math.nan)) is None
    assert decode(register(RegisterType.FLOAT32), encode(register(RegisterType.FLOAT32), math.inf)) is None


def test_neighbours_are_read_together() -> None:
    registers = [register(address=a, key=str(a)) for a in (10, 0, 1, 4, 200)]
    assert [(b.address, b.count) for b in plan_blocks(registers, gap=0, max_registers=60)] == [
        (0, 2),
        (4, 1),
        (10, 1),
        (200, 1),
    ]
    assert [(b.address, b.count) for b in plan_blocks(registers, gap=5, max_registers=60)] == [(0, 11), (200, 1)]
    assert [(b.address, b.count) for b in plan_blocks(registers, gap=5, max_registers=5)] == [(0, 5), (10, 1), (200, 1)]


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from(RegisterType), st.sampled_from(Function)),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 30),
    st.integers(4, 125),
)
def test_blocks_reach_every_register_within_limits(
    places: list[tuple[int, RegisterType, Function]], gap: int, most: int
) -> None:
    registers = [register(k, address=a, key=str(i), function=f) for i, (a, k, f) in enumerate(places)]
    blocks = plan_blocks(registers, gap=gap, max_registers=most)
    assert sorted(r.key for b in blocks for r in b.registers) == sorted(r.key for r in registers)
    for block in blocks:
        assert block.count <= most
        assert all(r.function is block.function for r in block.registers)
        assert all(block.address <= r.address and r.end <= block.address + block.count for r in block.registers)
        values = decode_block(block, [0] * block.count)
        assert set(values) == {r.key for r in block.registers}


def test_an_answer_of_another_length_is_refused() -> None:
    (block,) = plan_blocks([register(RegisterType.U32)], gap=0, max_registers=60)
    with pytest.raises(ValueError, match="1 registers came where 2 were asked for"):
        decode_block(block, [1])


def test_shipped_profiles_are_valid() -> None:
    for name in shipped_profiles(Protocol.MODBUS):
        profile = load_modbus_profile(name, folder=Path())
        assert profile.name == name
        for quantity in (*profile.quantities, *profile.checks):
            assert register_of(profile, quantity, key="k").type.words <= profile.max_registers


def test_a_register_ends_where_the_addresses_do(tmp_path: Path) -> None:
    text = shipped_profiles()["abb-b23"]
    (tmp_path / "mine.yaml").write_text(text.replace("0x5B2C, type: u16", "65535, type: u16"))
    assert load_modbus_profile("mine.yaml", folder=tmp_path).checks["frequency"].address == 65_535
    (tmp_path / "mine.yaml").write_text(text.replace("0x5B2C, type: u16", "65535, type: u32"))
    with pytest.raises(EdgePermanentError, match="a u32 at address 65535 would end behind the last register"):
        load_modbus_profile("mine.yaml", folder=tmp_path)


def test_what_its_scale_makes_infinite_is_no_value() -> None:
    place = replace(register(RegisterType.FLOAT64), scale=Decimal(1000))
    assert decode(place, encode(place, 1.7e308)) is None
    assert decode(place, encode(place, 1.5)) == 1500.0


def test_a_check_is_no_quantity_and_has_a_range(tmp_path: Path) -> None:
    text = shipped_profiles()["abb-b23"]
    for wrong, told in (
        (text.replace("frequency:", "power:"), "power: stands among the quantities too"),
        (text.replace("[45, 65]", "[65, 45]"), "goes from the lower to the higher value"),
    ):
        (tmp_path / "mine.yaml").write_text(wrong)
        with pytest.raises(EdgePermanentError, match=told):
            load_modbus_profile("mine.yaml", folder=tmp_path)
    profile = load_modbus_profile("abb-b23", folder=tmp_path)
    assert decode(register_of(profile, "frequency", key="f"), [5_001]) == 50.01


def test_abb_reads_its_register_by_hand() -> None:
    profile = load_modbus_profile("abb-b23", folder=Path())
    place = register_of(profile, "energy-import", key="oven")
    assert (place.address, place.function) == (0x5000, Function.HOLDING)
    assert decode(place, [0, 0, 0x0001, 0x0000]) == 655.36


def test_one_s_own_profile_and_its_errors(tmp_path: Path) -> None:
    text = shipped_profiles()["abb-b23"]
    (tmp_path / "mine.yaml").write_text(text.replace("unit: W,", "unit: kWh,"))
    with pytest.raises(
        EdgePermanentError, match=r"mine\.yaml:8: quantities\.power: unit kWh does not go with kind rate"
    ):
        load_modbus_profile("mine.yaml", folder=tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    assert load_modbus_profile("mine.yaml", folder=tmp_path).all_ones_is_absent
    with pytest.raises(EdgePermanentError, match="known for modbus: abb-b23"):
        load_modbus_profile("abb", folder=tmp_path)
    with pytest.raises(EdgePermanentError, match="cannot be read"):
        load_modbus_profile("none.yaml", folder=tmp_path)
