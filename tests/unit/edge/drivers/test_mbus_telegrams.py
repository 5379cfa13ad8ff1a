"""Frames, secondary addresses, numbers and telegrams of M-Bus."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.mbus_telegrams import BCD_8, encode_record, encode_telegram
from edge.drivers.mbus.frames import (
    ACK,
    Frame,
    FrameError,
    length_of,
    long_frame,
    parse_long,
    parse_short,
    request,
    reset,
    select,
)
from edge.drivers.mbus.meanings import Meaning, Measure, code_of, in_unit, meaning_of, units_of
from edge.drivers.mbus.numbers import REAL, VARIABLE, decode_number, encode_number, variable_width
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.status import condition_of
from edge.drivers.mbus.telegram import Function, Record, TelegramError, decode_telegram
from schemas.resources import UNITS, Quality

METER = SecondaryAddress.parse("12345678-KAM-1B-04")
ENERGY = Meaning(measure=Measure.ENERGY, unit="Wh", exponent=3)


def telegram(records: str, *, information: int = 0x72, head: str = "78 56 34 12 2D 2C 1B 04 01 00 00 00") -> Frame:
    return Frame(control=8, address=1, information=information, data=bytes.fromhex(head + records))


def records(text: str) -> tuple[Record, ...]:
    return decode_telegram(telegram(text)).records


def values(text: str) -> list[tuple[str, str, Decimal | None]]:
    return [(r.meaning.measure.value, r.meaning.unit, r.value) for r in records(text)]


# --- frames


def test_requests_as_the_standard_writes_them() -> None:
    assert reset(5).hex(" ") == "10 40 05 45 16"
    assert [request(1, telegram=n).hex(" ") for n in range(3)] == [
        "10 7b 01 7c 16",
        "10 5b 01 5c 16",
        "10 7b 01 7c 16",
    ]
    assert select(METER.encode()).hex(" ") == "68 0b 0b 68 53 fd 52 78 56 34 12 2d 2c 1b 04 2e 16"
    assert parse_short(reset(5)) == (0x40, 5)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=252))
def test_parsing_undoes_building(control: int, address: int, information: int, data: bytes) -> None:
    frame = Frame(control=control, address=address, information=information, data=data)
    built = long_frame(frame)
    assert length_of(built[:4]) == len(built)
    assert parse_long(built) == frame


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_frame_with_one_wrong_byte_is_refused(data: bytes, draw: st.DataObject) -> None:
    frame = bytearray(long_frame(Frame(control=8, address=1, information=0x72, data=data)))
    frame[draw.draw(st.integers(0, len(frame) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        parse_long(bytes(frame))


@given(st.binary(max_size=40))
def test_nothing_but_a_frame_is_a_frame(data: bytes) -> None:
    for parse in (parse_long, parse_short):
        try:
            parsed = parse(data)
        except FrameError:
            continue
        assert data == (long_frame(parsed) if isinstance(parsed, Frame) else bytes((0x10, *parsed, data[3], 0x16)))


def test_lengths_as_frames_begin() -> None:
    assert [length_of(data) for data in (b"", ACK, b"\x10", b"\x68", b"\x68\x1f\x1f\x68")] == [None, 1, 5, None, 37]
    for nonsense in (b"\x00", b"\x68\x05\x06\x68", b"\x68\x02\x02\x68", b"\x68\x05\x05\x10"):
        with pytest.raises(FrameError):
            length_of(nonsense)
    with pytest.raises(FrameError, match="more than the 252"):
        long_frame(Frame(control=8, address=1, information=0x72, data=bytes(253)))


# --- secondary addresses


@pytest.mark.parametrize(
    ("text", "canonical", "encoded"),
    [
        ("12345678-KAM-1B-04", "12345678-KAM-1B-04", "78 56 34 12 2d 2c 1b 04"),
        ("12345678", "12345678-*-*-*", "78 56 34 12 ff ff ff ff"),
        ("*-lug-*-04", "FFFFFFFF-LUG-*-04", "ff ff ff ff a7 32 ff 04"),
        ("1234ffff-FFFF-FF-FF", "1234FFFF-*-*-*", "ff ff 34 12 ff ff ff ff"),
        ("00000001-0001-00-00", "00000001-0001-00-00", "01 00 00 00 01 00 00 00"),
    ],
)
def test_secondary_addresses_have_one_form(text: str, canonical: str, encoded: str) -> None:
    address = SecondaryAddress.parse(text)
    assert str(address) == canonical
    assert address.encode().hex(" ") == encoded
    assert SecondaryAddress.parse(canonical) == SecondaryAddress.decode(bytes.fromhex(encoded)) == address


@pytest.mark.parametrize(
    "text", ["", "1234567", "123456789", "1234567G", "12345678-KA", "12345678-KAM-1-04", "1-2-3-4-5"]
)
def test_what_is_no_secondary_address_is_told_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 12345678-KAM-1B-04"):
        SecondaryAddress.parse(text)


@given(st.binary(min_size=8, max_size=8))
def test_any_eight_bytes_are_an_address_and_come_back(data: bytes) -> None:
    address = SecondaryAddress.decode(data)
    assert address.encode() == data
    assert SecondaryAddress.parse(str(address)) == address
    assert SecondaryAddress().covers(address)


def test_wildcards() -> None:
    for mask, covers in {
        "1234FFFF": True,
        "1235FFFF": False,
        "FFFFFFF8-KAM": True,
        "*-LUG": False,
        "*-*-1B": True,
        "*-*-1C": False,
        "*-*-*-04": True,
        "*-*-*-07": False,
    }.items():
        assert SecondaryAddress.parse(mask).covers(METER) is covers, mask
    assert METER.is_certain
    assert not SecondaryAddress.parse("12345678").is_certain


# --- numbers and meanings


@given(st.sampled_from([1, 2, 3, 4, 6, 7]), st.data())
def test_integers_come_back(field: int, draw: st.DataObject) -> None:
    bits = 8 * {6: 6, 7: 8}.get(field, field)
    number = draw.draw(st.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1))
    assert decode_number(field, encode_number(field, number)) == number
    assert decode_number(field, (1 << (bits - 1)).to_bytes(bits // 8, "little")) is None


@given(st.sampled_from([0x9, 0xA, 0xB, 0xC, 0xE]), st.data())
def test_decimal_digits_come_back(field: int, draw: st.DataObject) -> None:
    digits = 2 * {0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}[field]
    number = draw.draw(st.integers(-(10 ** (digits - 1)) + 1, 10**digits - 1))
    assert decode_number(field, encode_number(field, number)) == number
    with pytest.raises(ValueError, match="does not fit"):
        encode_number(field, 10**digits)


def test_error_codes_and_what_is_no_number_are_none() -> None:
    assert decode_number(0xC, bytes.fromhex("EEEEEEEE")) is None
    assert decode_number(0xC, bytes.fromhex("AB345612")) is None
    assert decode_number(0xC, bytes.fromhex("563412F0")) == -123456
    assert decode_number(REAL, bytes.fromhex("0000C07F")) is None
    assert decode_number(REAL, bytes.fromhex("0000807F")) is None
    assert decode_number(REAL, bytes.fromhex("00004841")) == Decimal("12.5")


def test_variable_lengths() -> None:
    assert [variable_width(n) for n in (0, 0xBF, 0xC4, 0xD2, 0xE8, 0xF0, 0xF4, 0xF5, 0xF6)] == [
        0, 191, 4, 2, 8, 16, 32, 48, 64,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="does not exist"):
        variable_width(0xFF)
    read = {"C2 34 12": 1234, "D2 34 12": -1234, "E2 FE FF": -2, "02 41 42": None, "F0" + " 00" * 16: None}
    assert {text: decode_number(VARIABLE, bytes.fromhex(text)) for text in read} == read


def test_every_code_has_its_meaning_and_back() -> None:
    for code in range(0x7B):
        meaning = meaning_of(code)
        if meaning.measure is not Measure.OTHER:
            assert code_of(meaning) == bytes((code,))
    for extension in (0xFB, 0xFD):
        for code in range(0x7B):
            meaning = meaning_of(code, extension=extension)
            if meaning.measure not in {Measure.OTHER, Measure.COUNT} and extension == 0xFB:
                assert (
                    meaning_of(code_of(meaning)[-1], extension=0xFB if len(code_of(meaning)) == 2 else None) == meaning
                )
    with pytest.raises(ValueError, match="no code for energy"):
        code_of(Meaning(measure=Measure.ENERGY, unit="Wh", exponent=99))


@pytest.mark.parametrize(
    ("code", "extension", "measure", "unit", "exponent"),
    [
        (0x03, None, "energy", "Wh", 0),
        (0x06, None, "energy", "Wh", 3),
        (0x0E, None, "energy", "J", 6),
        (0x13, None, "volume", "m3", -3),
        (0x16, None, "volume", "m3", 0),
        (0x1B, None, "mass", "kg", 0),
        (0x2B, None, "power", "W", 0),
        (0x33, None, "power", "J/h", 3),
        (0x3B, None, "volume_flow", "m3/h", -3),
        (0x47, None, "volume_flow", "m3/min", 0),
        (0x4F, None, "volume_flow", "m3/s", -2),
        (0x53, None, "mass_flow", "kg/h", 0),
        (0x5A, None, "other", "°C", -1),
        (0x6D, None, "other", "", 0),
        (0x00, 0xFB, "energy", "Wh", 5),
        (0x01, 0xFB, "energy", "Wh", 6),
        (0x09, 0xFB, "energy", "J", 9),
        (0x19, 0xFB, "mass", "kg", 6),
        (0x48, 0xFD, "other", "V", -1),
        (0x61, 0xFD, "count", "", 0),
        (0x17, 0xFD, "other", "", 0),
    ],
)
def test_the_tables_of_the_standard(code: int, extension: int | None, measure: str, unit: str, exponent: int) -> None:
    meaning = meaning_of(code, extension=extension)
    assert (meaning.measure.value, meaning.unit, meaning.exponent) == (measure, unit, exponent)


def test_conversions_are_exact() -> None:
    def convert(value: str, measure: Measure, unit: str, wanted: str, scale: str = "1") -> float:
        return in_unit(Decimal(value), measure=measure, unit=unit, wanted=wanted, scale=Decimal(scale))

    assert convert("37351000", Measure.ENERGY, "Wh", "kWh") == 37351.0
    assert convert("0.3", Measure.ENERGY, "Wh", "Wh") == 0.3
    assert convert("3600000", Measure.ENERGY, "J", "kWh") == 1.0
    assert convert("12.34E9", Measure.ENERGY, "J", "kWh") == 12.34e9 / 3.6e6
    assert convert("7200000", Measure.POWER, "J/h", "kW") == 2.0
    assert convert("0.001", Measure.VOLUME_FLOW, "m3/s", "m3/h") == 3.6
    assert convert("0.28", Measure.VOLUME, "m3", "l", "10") == 2800.0
    assert convert("7", Measure.COUNT, "", "pcs", "0.1") == 0.7


def test_units_are_those_that_the_site_model_knows() -> None:
    known = {unit for units in UNITS.values() for unit in units}
    for measure in Measure:
        assert set(units_of(measure)) - known <= {"J", "J/h", "m3/min", "m3/s"}, measure


# --- telegrams


@st.composite
def any_record(draw: st.DrawFn) -> tuple[Record, int]:
    meaning = meaning_of(draw(st.integers(0, 0x57).filter(lambda code: meaning_of(code).measure is not Measure.OTHER)))
    field = draw(st.sampled_from([0x1, 0x2, 0x3, 0x4, 0x6, 0x7, 0x9, 0xA, 0xB, 0xC, 0xE]))
    record = Record(
        meaning=meaning,
        value=Decimal(draw(st.integers(-9, 99))).scaleb(meaning.exponent),
        function=draw(st.sampled_from(Function)),
        storage=draw(st.integers(0, 2**20)),
        tariff=draw(st.integers(0, 2**10)),
        subunit=draw(st.integers(0, 2**5)),
        vife=draw(st.sampled_from([(), (0x3C,), (0x7F, 0x01), (0x7C, 0x02), (0x3B, 0x3E)])),
    )
    return record, field


@given(st.lists(any_record(), max_size=8), st.booleans(), st.integers(0, 255))
def test_decoding_undoes_encoding(given_records: list[tuple[Record, int]], more: bool, status: int) -> None:
    built = [encode_record(record, field=field) for record, field in given_records]
    frame = parse_long(encode_telegram(built, identity=METER, address=9, status=status, more_follows=more))
    told = decode_telegram(frame)
    assert (told.identity, told.status, told.more_follows, frame.address) == (METER, status, more, 9)
    assert told.records == tuple(record for record, _ in given_records)


@given(st.binary(max_size=60), st.sampled_from([0x70, 0x72, 0x73, 0x76, 0x78, 0x7A, 0x00]))
def test_any_bytes_are_decoded_or_refused(data: bytes, information: int) -> None:
    try:
        told = decode_telegram(Frame(control=8, address=1, information=information, data=data))
    except TelegramError:
        return
    assert all(record.value is None or record.value.is_finite() for record in told.records)


def test_records_of_meters_by_hand() -> None:
    assert values("04 06 E7 91 00 00") == [("energy", "Wh", Decimal(37351000))]
    assert values("0C 13 19 11 62 01") == [("volume", "m3", Decimal("1621.119"))]
    assert values("05 2E A0 C8 51 46") == [("power", "W", Decimal("13426156.25"))]
    assert values("04 FB 00 08 00 00 00") == [("energy", "Wh", Decimal(800000))]
    assert values("2F 2F 04 13 01 00 00 00 2F") == [("volume", "m3", Decimal("0.001"))]
    # A factor is multiplied in; the zero extension and an error code of none say nothing.
    assert values("8E 10 84 00 01 00 00 00 00 00") == [("energy", "Wh", Decimal(10))]
    assert values("04 86 77 05 00 00 00") == [("energy", "Wh", Decimal(50000))]
    assert values("04 86 7D 05 00 00 00") == [("energy", "Wh", Decimal(5000000))]
    # A unit in words, before its extensions.
    assert values("02 FC 03 48 52 25 74 D4 11 04 13 02 00 00 00") == [
        ("other", "", Decimal("45.64")),
        ("volume", "m3", Decimal("0.002")),
    ]


def test_where_a_record_belongs() -> None:
    (record,) = records("84 90 40 03 AE 1E 00 00")
    assert (record.storage, record.tariff, record.subunit, record.function) == (0, 1, 2, Function.INSTANTANEOUS)
    (record,) = records("9B 10 2D 00 00 00")
    assert (record.storage, record.tariff, record.function) == (0, 1, Function.MAXIMUM)
    (record,) = records("C4 01 13 01 00 00 00")
    assert (record.storage, record.function) == (3, Function.INSTANTANEOUS)
    (record,) = records("3B 2D 99 99 99")
    assert record.function is Function.ERROR
    (record,) = records("04 AB FF 01 FE FF FF FF")
    assert record.vife == (0x7F, 0x01)
    (record,) = records("04 86 3C 00 00 00 00")
    assert record.vife == (0x3C,)


def test_what_the_meter_marks_as_none_is_none_and_the_rest_stands() -> None:
    assert [value for _, _, value in values("0C 06 EE EE EE EE 0C 13 01 00 00 00")] == [None, Decimal("0.001")]
    assert [value for _, _, value in values("04 86 15 01 00 00 00 04 13 01 00 00 00")] == [None, Decimal("0.001")]
    assert [value for _, _, value in values("04 06 00 00 00 80")] == [None]


def test_the_rest_of_a_telegram_is_the_maker_s_own() -> None:
    told = decode_telegram(telegram("04 13 01 00 00 00 0F 04 06 01 02"))
    assert (len(told.records), told.more_follows) == (1, False)
    told = decode_telegram(telegram("04 13 01 00 00 00 1F 04 06"))
    assert (len(told.records), told.more_follows) == (1, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("04 13 01 00 00", "ends within a record"),
        ("04", "ends within a record"),
        ("84", "ends within a record"),
        ("04 93", "ends within a record"),
        ("04 7C 09 41", "ends within a record"),
        ("0D 13 FF", "length that does not exist"),
        ("04 13 01 00 00 00 3F", "begins with 0x3f"),
        ("84" + "80" * 10 + "00 13 01 00 00 00", "more than ten extensions"),
        ("04 93" + "80" * 10 + "00 01 00 00 00", "more than ten extensions"),
    ],
)
def test_a_broken_record_takes_the_whole_telegram_along(text: str, reason: str) -> None:
    with pytest.raises(TelegramError, match=reason):
        records("04 06 E7 91 00 00" + text)


@pytest.mark.parametrize(
    ("information", "head", "reason"),
    [
        (0x70, "08", "the meter reports that it is busy"),
        (0x70, "", "the meter reports an error of its own"),
        (0x73, "00" * 16, "fixed data structure"),
        (0x76, "00" * 16, "most significant first"),
        (0x72, "00" * 11, "head has 12 bytes; 11 came"),
        (0x72, "00" * 8, "head has 12 bytes; 8 came"),
        (0x7A, "00" * 3, "head has 4 bytes; 3 came"),
        (0x72, "78 56 34 12 2D 2C 1B 04 01 00 10 05", "encrypted"),
        (0x51, "00", "a kind that is not known here"),
    ],
)
def test_telegrams_that_can_t_be_read_say_why(information: int, head: str, reason: str) -> None:
    with pytest.raises(TelegramError, match=reason):
        decode_telegram(telegram("", information=information, head=head))


def test_shorter_heads() -> None:
    told = decode_telegram(telegram("04 13 01 00 00 00", information=0x7A, head="07 04 00 00"))
    assert (told.identity, told.access, told.status, len(told.records)) == (None, 7, 4, 1)
    told = decode_telegram(telegram("04 13 01 00 00 00", information=0x78, head=""))
    assert (told.identity, told.access, told.status, len(told.records)) == (None, None, 0, 1)


def test_encoding_refuses_what_it_can_t_say() -> None:
    half = Record(meaning=ENERGY, value=Decimal(500))
    with pytest.raises(ValueError, match="no whole number"):
        encode_record(half, field=BCD_8)
    with pytest.raises(ValueError, match="no one form"):
        encode_record(Record(meaning=ENERGY, value=None))
    assert decode_telegram(telegram(encode_record(half, field=REAL).hex())).records == (half,)


@pytest.mark.parametrize(
    ("status", "hold", "quality", "says"),
    [
        (0x00, True, Quality.GOOD, None),
        (0x01, False, Quality.GOOD, "busy"),
        (0x02, False, Quality.GOOD, "application error"),
        (0x03, True, Quality.GOOD, "leak"),
        (0x04, True, Quality.GOOD, "battery"),
        (0x08, True, Quality.SUSPECT, "permanent"),
        (0x10, True, Quality.SUSPECT, "temporary"),
        (0xE0, True, Quality.GOOD, None),
    ],
)
def test_status(status: int, hold: bool, quality: Quality, says: str | None) -> None:
    condition = condition_of(status)
    assert (condition.values_hold, condition.quality) == (hold, quality)
    assert len(condition.remarks) == (says is not None)
    assert says is None or says in condition.remarks[0]
