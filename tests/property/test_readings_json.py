"""The fast way to read readings takes only what the models of the wire contract take, and gives the same columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collector.decode import Incoming, ReadingsMessage, decode
from collector.readings_json import ReadingColumns, read_columns
from schemas.wire import MAX_SEQ, Readings, SingleReading

WHOLE = st.integers(min_value=-(2**70), max_value=2**70) | st.integers(min_value=-3, max_value=3)
NUMBER = WHOLE | st.floats()
NAME = st.text(max_size=5) | st.sampled_from(["power", "a\nb", "x" * 101, "m³", ""])
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | NUMBER | NAME | st.lists(st.integers(), max_size=2) | st.just({})
)


def columns_of(count: int) -> st.SearchStrategy[dict[str, Any]]:
    def column(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(one, min_size=count, max_size=count) | st.lists(one | ODD, max_size=3)

    return st.fixed_dictionaries(
        {
            "epoch": st.sampled_from(["E1", "E1\n", "", "ø"]) | NAME,
            "seq": st.integers(1, 5) | st.sampled_from([0, MAX_SEQ, MAX_SEQ + 1]) | ODD,
            "sent_at": WHOLE | ODD,
            "meters": st.just(["power", "water"]) | st.lists(NAME | ODD, max_size=3),
            "units": st.just(["kWh", "m³"]) | st.lists(NAME | ODD, max_size=3),
            "meter": column(st.integers(0, 1)),
            "at": column(WHOLE),
            "value": column(NUMBER),
        },
        optional={
            "quality": st.none() | column(st.integers(-(2**15), 2**15)),
            "v": st.just(1) | ODD,
            "more": ODD,
        },
    )


TABLES = st.integers(0, 3).flatmap(columns_of)
SINGLES = st.fixed_dictionaries(
    {"meter": NAME | ODD, "at": WHOLE | ODD, "value": NUMBER | ODD, "unit": NAME | ODD},
    optional={"quality": WHOLE | ODD, "v": st.just(1) | ODD, "epoch": st.none() | NAME},
)
TEXTS = (TABLES | SINGLES).map(lambda message: json.dumps(message).encode()) | st.binary(max_size=20)


def expected(payload: bytes) -> ReadingColumns | None:
    """What the models say; None for what they refuse."""
    try:
        table = Readings.model_validate_json(payload)
    except ValidationError:
        try:
            single = SingleReading.model_validate_json(payload)
        except ValidationError:
            return None
        if "epoch" in json.loads(payload):
            return None
        return ReadingColumns(
            None,
            None,
            single.at,
            [single.meter],
            [single.unit],
            np.zeros(1, np.int32),
            np.array([single.at], np.int64),
            np.array([single.value], np.float64),
            np.array([single.quality], np.int16),
        )
    quality = table.quality if table.quality is not None else [0] * len(table.at)
    return ReadingColumns(
        table.epoch,
        table.seq,
        table.sent_at,
        table.meters,
        table.units,
        np.array(table.meter, np.int32),
        np.array(table.at, np.int64),
        np.array(table.value, np.float64),
        np.array(quality, np.int16),
    )


def plain(columns: ReadingColumns) -> list[object]:
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in columns]


@settings(max_examples=200)
@given(TEXTS)
@example(b'{"epoch":"E","seq":1.0,"sent_at":1,"meters":[],"units":[],"meter":[],"at":[],"value":[]}')
@example(b'{"epoch":"E","seq":1,"seq":2,"sent_at":1,"meters":["a"],"units":["b"],"meter":[0],"at":[1],"value":[1]}')
@example(b'{"epoch":"E","seq":1,"sent_at":1,"meters":["a"],"units":["b"],"meter":[-1],"at":[1],"value":[1]}')
@example(b'{"epoch":"E","seq":1,"sent_at":1,"meters":["a"],"units":["b"],"meter":[0],"at":[1],"value":[1e400]}')
@example(b'{"epoch":"E","seq":1,"sent_at":1,"meters":["a"],"units":["b"],"meter":[0],"at":[1],"value":[1],"z":"\xff"}')
@example(b'{"meter":"a","at":1,"value":1,"unit":"b","z":' + b"[" * 50_000)
@example(b'{"meter":"a","at":1,"value":-0,"unit":"b","quality":null}')
def test_what_it_takes_the_models_take_too(payload: bytes) -> None:
    found = read_columns(payload)
    if found is not None:
        wanted = expected(payload)
        assert wanted is not None
        assert plain(found) == plain(wanted)
        assert [part.dtype for part in found[-4:]] == [part.dtype for part in wanted[-4:]]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**60), st.floats(allow_nan=False)), max_size=5),
    st.none() | st.integers(-9, 9),
)
def test_it_takes_what_agents_send(rows: list[tuple[int, int, float]], quality: int | None) -> None:
    message: dict[str, Any] = {
        "v": 1,
        "epoch": "01JD",
        "seq": 7,
        "sent_at": 5,
        "meters": ["power", "water"],
        "units": ["kWh", "m³"],
        "meter": [row[0] for row in rows],
        "at": [row[1] for row in rows],
        "value": [row[2] for row in rows if np.isfinite(row[2])] + [1.5 for row in rows if not np.isfinite(row[2])],
    }
    if quality is not None:
        message["quality"] = [quality] * len(rows)
    payload = json.dumps(message, ensure_ascii=False).encode()
    # Twice: the second time, what repeats is known by its bytes.
    for _ in range(2):
        found, wanted = read_columns(payload), expected(payload)
        assert found is not None
        assert wanted is not None
        assert plain(found) == plain(wanted)


def test_what_repeats_is_shared_and_nobody_can_change_it() -> None:
    def message(seq: int) -> bytes:
        return (
            f'{{"epoch":"E","seq":{seq},"sent_at":1,"meters":["a","b"],"units":["kWh","kWh"],'
            f'"meter":[0,1],"at":[1,2],"value":[1,2],"quality":[0,1]}}'
        ).encode()

    first, second = read_columns(message(1)), read_columns(message(2))
    assert first is not None
    assert second is not None
    assert first.meters is second.meters
    assert first.meter is second.meter
    assert not first.meter.flags.writeable
    assert not first.quality.flags.writeable
    assert first.at is not second.at


def test_what_it_does_not_take_is_judged_by_the_models() -> None:
    body = '{"epoch":"E","seq":1,"sent_at":1,"meters":["a"],"units":["b"],"meter":[0],"at":[1],"value":[NaN]}'
    assert read_columns(body.encode()) is None
    found = decode(Incoming(topic="afkobling/v1/o/s/a/readings", payload=body.encode()))
    assert isinstance(found, ReadingsMessage)
    assert np.isnan(found.value[0])
