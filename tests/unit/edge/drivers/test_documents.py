"""What is read out of JSON documents, and what is not."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.documents.mapping import DocumentMapping, DocumentMeter, DocumentTime, NamedQuantity
from edge.drivers.documents.paths import ABSENT, DocumentPath
from edge.drivers.documents.reading import Found, Wanted, clock_of, parse_document, read_document, want
from edge.drivers.documents.values import InstantForm, instant_of, number_of
from edge.errors import EdgePermanentError
from edge.readings import refusal

NOW_MS = 1_795_298_400_000
"""2026-11-21T22:00Z."""
QUANTITY: dict[str, Any] = {"unit": "kWh", "resource": "energy", "kind": "counter"}


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def mapping(path: object = "$.total", **settings: Any) -> DocumentMapping:
    quantity = {**QUANTITY, "path": path} | settings.pop("quantity", {})
    return DocumentMapping.model_validate(
        {"name": "m", "description": "d", "source": "s", "quantities": {"energy": quantity}, **settings}
    )


def wanted(path: object = "$.total", **settings: Any) -> list[Wanted]:
    channel = settings.pop("meter_channel", None)
    return want(mapping(path, **settings), {"oven": DocumentMeter(quantity="energy", channel=channel)})


def read(document: object, path: object = "$.total", at: dict[str, Any] | None = None, **settings: Any) -> Found:
    how = {name: settings.pop(name) for name in ("is_fresh", "is_partial", "decimal") if name in settings}
    clock = clock_of(DocumentTime.model_validate(at) if at else None, zone=settings.pop("zone", None))
    return read_document(document, wanted(path, **settings), clock=clock, now_ms=NOW_MS, **how)


def values(found: Found) -> list[float]:
    return [reading.value for reading in found.readings]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (12, 12),
        (-0.5, -0.5),
        (0, 0),
        ("12.5", 12.5),
        (" 1e3 ", 1000.0),
        ("42", 42),
        (None, None),
        (math.nan, None),
        ("NaN", None),
    ],
    ids=repr,
)
def test_numbers(said: object, number: float | None) -> None:
    assert number_of(said) == number


@pytest.mark.parametrize(
    "said",
    [
        True,
        False,
        "",
        "12,5",
        "1.234,5",
        "0x10",
        "1_000",
        "12 kWh",
        "inf",
        math.inf,
        10**400,
        "9" * 400,
        "1e999",
        [],
        {},
    ],
    ids=lambda said: repr(said)[:12],
)
def test_what_is_no_number(said: object) -> None:
    with pytest.raises(ValueError, match="says"):
        number_of(said)


def test_a_decimal_comma_is_told_of_and_then_read() -> None:
    with pytest.raises(ValueError, match="write `decimal: ','` in the mapping"):
        number_of("12,5")
    assert number_of("12,5", decimal=",") == 12.5
    with pytest.raises(ValueError, match=r"decimal: '\.'"):
        number_of("12.5", decimal=",")


@pytest.mark.parametrize(
    ("said", "form", "zone", "at"),
    [
        ("2026-11-21T12:00:00Z", "iso", None, "2026-11-21T12:00:00+00:00"),
        ("2026-11-21T12:00:00.250+01:00", "iso", "Europe/Lisbon", "2026-11-21T11:00:00.250+00:00"),
        ("2026-11-21T12:00:00", "iso", "Europe/Copenhagen", "2026-11-21T11:00:00+00:00"),
        ("2026-07-01 12:00:00", "iso", "Europe/Copenhagen", "2026-07-01T10:00:00+00:00"),
        (1_795_298_400.25, "unix_s", None, "2026-11-21T22:00:00.250+00:00"),
        ("1795298400", "unix_s", None, "2026-11-21T22:00:00+00:00"),
        (1_795_298_400_250, "unix_ms", None, "2026-11-21T22:00:00.250+00:00"),
    ],
)
def test_instants(said: object, form: str, zone: str | None, at: str) -> None:
    assert instant_of(said, InstantForm(form), zone=zone, now_ms=NOW_MS) == ms(at)


@pytest.mark.parametrize(
    ("said", "form", "zone", "words"),
    [
        ("2026-11-21T12:00:00", "iso", None, "zone: Europe/Copenhagen"),
        ("1970-01-01T00:00:12", "iso", "UTC", "clock has not been set"),
        (12.5, "unix_s", None, "clock has not been set"),
        ("2000-01-01T00:05:00Z", "iso", None, "clock has not been set"),
        (1_795_298_400, "unix_ms", None, "form is not unix_ms"),
        (1_795_298_400_000, "unix_s", None, "not of the form unix_s"),
        ("noon", "iso", None, "not of the form iso"),
        (None, "unix_s", None, "is null"),
        (True, "unix_s", None, "not of the form"),
        (math.nan, "unix_s", None, "not of the form"),
        ("1e999999999", "unix_s", None, "not of the form"),
        ([1], "unix_s", None, "not of the form"),
        ("0001-01-01T00:00:00", "iso", "Asia/Tokyo", "none that a meter was read at"),
        ("2026-03-29T02:30:00", "iso", "Europe/Copenhagen", "does not exist"),
    ],
)
def test_what_is_no_instant(said: object, form: str, zone: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        instant_of(said, InstantForm(form), zone=zone, now_ms=NOW_MS)


@pytest.mark.parametrize("at", ["2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00"])
def test_the_hour_that_comes_twice_is_the_one_of_now(at: str) -> None:
    said, zone = "2026-10-25T02:30:00", "Europe/Copenhagen"
    assert instant_of(said, InstantForm.ISO, zone=zone, now_ms=ms(at) + 5_000) == ms(at)


def test_the_hour_that_comes_twice_is_not_guessed_later() -> None:
    with pytest.raises(ValueError, match="comes twice"):
        instant_of("2026-10-25T02:30:00", InstantForm.ISO, zone="Europe/Copenhagen", now_ms=NOW_MS)


@pytest.mark.parametrize("text", ["total", "", "$.", "$.a[", "$[?", "$.a b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON path"):
        DocumentPath(text)


def test_paths_find_one_value_or_none() -> None:
    document = {"a": {"b:0": [1, {"c": None}]}, "list": [{"id": "x", "v": 1}, {"id": "y", "v": 2}, {"id": "y", "v": 3}]}
    assert DocumentPath("$.a['b:0'][0]").find(document) == 1
    assert DocumentPath("$.a['b:0'][1].c").find(document) is None
    assert DocumentPath("$.a.b").find(document) is ABSENT
    assert DocumentPath("$.list[?@.id=='x'].v").find(document) == 1
    with pytest.raises(ValueError, match="several values"):
        DocumentPath("$.list[?@.id=='y'].v").find(document)
    for scalar in (5, "text", None):
        assert DocumentPath("$").find(scalar) == scalar
        assert DocumentPath("$.a").find(scalar) is ABSENT
    assert DocumentPath("$.a").find('{"a": 1}') is ABSENT, "a text is no document"


@pytest.mark.parametrize("payload", [b"", b"online", b"\xff\xfe", b'{"a": ', b"[" * 5_000], ids=lambda p: repr(p[:8]))
def test_what_is_no_document(payload: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        parse_document(payload, largest_bytes=10_000)


def test_a_document_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="has 11 bytes"):
        parse_document(b"1" * 11, largest_bytes=10)


def test_a_value_is_scaled_and_taken_now() -> None:
    (reading,) = read({"total": 1234}, quantity={"scale": "0.001"}).readings
    assert (reading.meter, reading.at_ms, reading.value, reading.unit) == ("oven", NOW_MS, 1.234, "kWh")


def test_the_document_says_when() -> None:
    at = {"path": "$.time", "form": "unix_s"}
    document = {"total": 1, "time": 1_795_000_000.5}
    for fresh in (True, False):
        (reading,) = read(document, at=at, is_fresh=fresh).readings
        assert reading.at_ms == 1_795_000_000_500


def test_what_says_no_time_is_of_now_only_when_it_is_fresh() -> None:
    at = {"path": "$.time", "form": "unix_s", "required": False}
    assert [reading.at_ms for reading in read({"total": 1}, at=at).readings] == [NOW_MS]
    for clock in (None, at):
        old = read({"total": 1}, at=clock, is_fresh=False)
        assert (old.readings, old.undated, old.remarks) == ([], True, [])


def test_a_time_that_is_missing_or_wrong_leaves_the_values() -> None:
    cases: list[dict[str, Any]] = [{"total": 1}, {"total": 1, "time": None}, {"total": 1, "time": 7}]
    for document in cases:
        found = read(document, at={"path": "$.time", "form": "unix_s"})
        assert found.readings == []
        assert [remark.about for remark in found.remarks] == ["time"]


def test_absent_is_absent() -> None:
    documents_without: list[Any] = [{}, {"total": {}}, [], 5, None, "text"]
    for document in documents_without:
        assert values(read(document)) == []
    (remark,) = read({"other": 1}).remarks
    assert remark.about == "oven"
    assert "$.total is not in the document" in remark.words
    assert read({"other": 1}, is_partial=True).remarks == []
    assert read({"total": None}).remarks == []


def test_the_first_path_that_is_there_counts() -> None:
    paths = ["$.total", "$.sum"]
    assert values(read({"sum": 2}, paths)) == [2.0]
    assert values(read({"sum": 2, "total": 1}, paths)) == [1.0]
    assert values(read({"sum": 2, "total": None}, paths)) == [], "no other value stands in for one that is not there"


def test_a_value_that_its_device_calls_invalid_is_none() -> None:
    for valid, expected in ((True, [1.0]), (False, []), (None, []), ("true", []), (1, [])):
        found = read({"total": 1, "ok": valid}, quantity={"valid_if": "$.ok"})
        assert values(found) == expected
        assert found.remarks == []


def test_channels() -> None:
    paths = ["$.power", "$.power[{channel}]"]
    assert values(read({"power": 7}, paths)) == [7.0]
    assert values(read({"power": [7, 8]}, paths, meter_channel=1)) == [8.0]
    assert values(read({"power": 7}, paths, meter_channel=1)) == [], "a sum is not a channel"
    (remark,) = read({"power": [7, 8]}, paths).remarks
    assert "give the meter its `channel`" in remark.words
    assert values(read({"power": [7, 8]}, "$.power[{channel}]", channel=0)) == [7.0], "the mapping has one of its own"


@pytest.mark.parametrize(
    ("path", "channel", "words"),
    [("$.a[{channel}]", None, "needs its `channel`"), ("$.a", 1, "leave `channel` out")],
)
def test_a_channel_that_is_missing_or_too_much(path: str, channel: int | None, words: str) -> None:
    with pytest.raises(EdgePermanentError, match=words):
        wanted(path, meter_channel=channel)


def test_an_unknown_quantity() -> None:
    with pytest.raises(EdgePermanentError, match="no quantity 'power'; known: energy"):
        want(mapping(), {"oven": DocumentMeter(quantity="power")})


def test_a_local_clock_needs_a_zone() -> None:
    with pytest.raises(EdgePermanentError, match="zone: Europe/Copenhagen"):
        clock_of(DocumentTime(path="$.Time", local=True), zone=None)


def test_a_quantity_by_its_name() -> None:
    assert NamedQuantity.model_validate("energy") == NamedQuantity(quantity="energy")
    assert NamedQuantity.model_validate({"quantity": "energy", "channel": 2}).channel == 2


@pytest.mark.parametrize("path", ["$.{part}.total", ["$.total", "$.x['{part}']"]], ids=str)
def test_a_part_must_be_named(path: object) -> None:
    with pytest.raises(ValueError, match="say which part"):
        mapping(path)


DATETIMES = st.datetimes(datetime(2020, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["total", "time", "ok", "a", "x"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)
PATHS = ["$.total", "$.a.total", "$[0]", "$", "$..total", "$.a[?@.x==1].total", "$.total[-1]"]


@given(
    document=documents,
    path=st.sampled_from(PATHS),
    form=st.sampled_from(["iso", "unix_s", "unix_ms"]),
    zone=st.sampled_from([None, "Europe/Copenhagen", "UTC"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_it_never_raises_and_never_invents(
    document: Any, path: str, form: str, zone: str | None, flags: tuple[bool, bool, bool]
) -> None:
    fresh, partial, valid = flags
    quantity = {"valid_if": "$.ok"} if valid else {}
    for at in (None, {"path": "$.time", "form": form, "required": False}):
        found = read(document, path, at=at, zone=zone, is_fresh=fresh, is_partial=partial, quantity=quantity)
        for reading in found.readings:
            assert refusal(reading) is None
            assert any(is_number(said, reading.value) for said in leaves(document)), "a value that nobody said"
            assert reading.at_ms == NOW_MS or ms("2020-01-01T00:00:00+00:00") <= reading.at_ms
            assert fresh or reading.at_ms != NOW_MS or at is not None


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_a_number_comes_through_json_as_it_is(value: float) -> None:
    document = parse_document(json.dumps({"total": value}).encode(), largest_bytes=10_000)
    assert values(read(document)) == [float(value)]


@given(at=DATETIMES)
def test_every_instant_comes_through_each_form(at: datetime) -> None:
    at_ms = (at - datetime(1970, 1, 1, tzinfo=UTC)).days * 86_400_000 + (
        at.hour * 3_600_000 + at.minute * 60_000 + at.second * 1000 + at.microsecond // 1000
    )
    assert instant_of(at.isoformat(), InstantForm.ISO, zone=None, now_ms=NOW_MS) == at_ms
    assert instant_of(at_ms, InstantForm.UNIX_MS, zone=None, now_ms=NOW_MS) == at_ms
    assert instant_of(at_ms // 1000, InstantForm.UNIX_S, zone=None, now_ms=NOW_MS) == at_ms // 1000 * 1000


def leaves(document: Any) -> list[Any]:
    match document:
        case dict():
            return [leaf for value in document.values() for leaf in leaves(value)]
        case list():
            return [leaf for value in document for leaf in leaves(value)]
        case _:
            return [document]


def is_number(said: Any, value: float) -> bool:
    if isinstance(said, bool) or said is None:
        return False
    try:
        return math.isclose(float(said), value, rel_tol=1e-12)
    except (ValueError, OverflowError):
        return False


def test_the_folder_is_not_looked_at_for_a_shipped_mapping(tmp_path: Path) -> None:
    from edge.drivers.bridge.mapping import load_bridge_mapping

    (tmp_path / "shelly").write_text("nonsense")
    assert load_bridge_mapping("shelly", folder=tmp_path).name == "shelly"
