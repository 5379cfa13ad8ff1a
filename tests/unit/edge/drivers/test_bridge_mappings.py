"""Each shipped mapping of the bridge, with messages as its devices publish them; and what a mapping may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge.drivers import DriverContext
from edge.drivers.bridge.driver import BridgeDriver, BridgeMeter, BridgeSettings
from edge.drivers.bridge.mapping import BridgeMapping, check_filter, load_bridge_mapping
from edge.drivers.bridge.routes import LARGEST_BYTES, Heard, Routes, plan_routes
from edge.drivers.bridge.silence import Silence, Silent
from edge.drivers.documents.mapping import shipped_mappings
from edge.errors import EdgePermanentError
from edge.readings import refusal

NOW_MS = 1_795_298_400_000
SHIPPED = sorted(shipped_mappings("edge.drivers.bridge.mappings"))
SHELLY = "shellypro4pm-f008d1d8b8b8"


def routes(mapping: str, meters: dict[str, Any], *, zone: str | None = None, heeds_time: bool = True) -> Routes:
    models = {key: BridgeMeter.model_validate(meter) for key, meter in meters.items()}
    return plan_routes(load_bridge_mapping(mapping, folder=Path()), models, zone=zone, heeds_time=heeds_time)


def hear(found: Routes, topic: str, document: Any, *, is_fresh: bool = True) -> Heard:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return found.read(topic, payload, is_fresh=is_fresh, now_ms=NOW_MS)


def values(heard: Heard) -> dict[str, tuple[float, str]]:
    return {reading.meter: (reading.value, reading.unit) for reading in heard.readings}


def test_shelly_tells_what_changed_with_its_own_clock() -> None:
    found = routes(
        "shelly",
        {
            "oven": {"device": SHELLY, "quantity": "switch-energy", "channel": 1},
            "oven-power": {"device": SHELLY, "quantity": "switch-power", "channel": 1},
            "fan-power": {"device": SHELLY, "quantity": "switch-power"},
        },
    )
    assert found.subscriptions() == {
        f"{SHELLY}/events/rpc": 1,
        f"{SHELLY}/status/switch:0": 0,
        f"{SHELLY}/status/switch:1": 0,
    }
    frame = {
        "src": SHELLY,
        "dst": f"{SHELLY}/events",
        "method": "NotifyStatus",
        "params": {
            "ts": 1795298340.12,
            "switch:1": {
                "id": 1,
                "aenergy": {"by_minute": [410.2, 388.0, 391.5], "minute_ts": 1795298339, "total": 15064.713},
            },
        },
    }
    heard = hear(found, f"{SHELLY}/events/rpc", frame)
    assert values(heard) == {"oven": (15064.713, "Wh")}
    assert [reading.at_ms for reading in heard.readings] == [1_795_298_340_120]
    assert heard.remarks == []
    delta = {**frame, "params": {"ts": 1795298341.5, "switch:0": {"id": 0, "apower": 11.5, "current": 0.071}}}
    assert values(hear(found, f"{SHELLY}/events/rpc", delta)) == {"fan-power": (11.5, "W")}
    other = {**frame, "method": "NotifyEvent", "params": {"ts": 1795298342.0, "events": [{"component": "input:0"}]}}
    assert hear(found, f"{SHELLY}/events/rpc", other).readings == []


def test_shelly_status_messages_have_no_clock() -> None:
    found = routes("shelly", {"oven": {"device": SHELLY, "quantity": "switch-energy"}})
    status = {
        "id": 0,
        "source": "MQTT",
        "output": True,
        "apower": 11.5,
        "voltage": 231.3,
        "aenergy": {"total": 5266.987, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1795298340},
        "temperature": {"tC": 55.0, "tF": 131.0},
    }
    heard = hear(found, f"{SHELLY}/status/switch:0", status)
    assert values(heard) == {"oven": (5266.987, "Wh")}
    assert heard.readings[0].at_ms == NOW_MS
    old = hear(found, f"{SHELLY}/status/switch:0", status, is_fresh=False)
    assert (old.readings, old.undated) == ([], True)


def test_shelly_three_phases() -> None:
    found = routes(
        "shelly",
        {
            "main": {"device": "hall/3em", "quantity": "em-energy"},
            "main-back": {"device": "hall/3em", "quantity": "em-energy-returned"},
            "main-power": {"device": "hall/3em", "quantity": "em-power"},
            "main-power-b": {"device": "hall/3em", "quantity": "em-power-b"},
        },
    )
    params = {
        "ts": 1795298400.01,
        "em:0": {"id": 0, "a_act_power": 951.2, "b_act_power": -951.1, "c_act_power": 3.0, "total_act_power": 3.1},
        "emdata:0": {"id": 0, "a_total_act_energy": 5.1, "total_act": 21321.35, "total_act_ret": 4.5},
    }
    heard = hear(found, "hall/3em/events/rpc", {"method": "NotifyStatus", "params": params})
    assert values(heard) == {
        "main": (21321.35, "Wh"),
        "main-back": (4.5, "Wh"),
        "main-power": (3.1, "W"),
        "main-power-b": (-951.1, "W"),
    }


def test_a_shelly_whose_clock_is_not_set() -> None:
    meters = {"oven": {"device": SHELLY, "quantity": "switch-power"}}
    frame = {"params": {"ts": None, "switch:0": {"apower": 3.0}}}
    heard = hear(routes("shelly", meters), f"{SHELLY}/events/rpc", frame)
    assert heard.readings == []
    assert "is its clock set?" in heard.remarks[0][1].words
    by_our_clock = routes("shelly", meters, heeds_time=False)
    assert hear(by_our_clock, f"{SHELLY}/events/rpc", frame).readings[0].at_ms == NOW_MS
    assert set(by_our_clock.subscriptions().values()) == {0}, "what has no time must not wait at the broker"


def sensor(**energy: Any) -> dict[str, Any]:
    return {"Time": "2026-11-21T12:00:05", "ENERGY": {"TotalStartTime": "2025-03-01T10:00:00", **energy}}


def test_tasmota() -> None:
    meters = {
        "oven": {"device": "plug-3", "quantity": "energy"},
        "oven-power": {"device": "plug-3", "quantity": "power"},
    }
    found = routes("tasmota", meters, zone="Europe/Copenhagen")
    assert found.subscriptions() == {"tele/plug-3/SENSOR": 1}
    heard = hear(found, "tele/plug-3/SENSOR", sensor(Total=3.705, Yesterday=0.028, Today=0.026, Power=5, Voltage=233))
    assert values(heard) == {"oven": (3.705, "kWh"), "oven-power": (5.0, "W")}
    assert {reading.at_ms for reading in heard.readings} == {1_795_258_805_000}, "12:00:05 in Copenhagen"
    with_offset = {**sensor(Total=4, Power=1), "Time": "2026-11-21T12:00:05+00:00"}
    assert hear(found, "tele/plug-3/SENSOR", with_offset).readings[0].at_ms == 1_795_262_405_000


def test_tasmota_without_a_zone() -> None:
    with pytest.raises(EdgePermanentError, match="zone: Europe/Copenhagen"):
        routes("tasmota", {"oven": {"device": "plug-3", "quantity": "energy"}})


def test_tasmota_with_channels() -> None:
    meters = {
        "both": {"device": "p", "quantity": "energy"},
        "second": {"device": "p", "quantity": "energy", "channel": 1},
        "second-power": {"device": "p", "quantity": "power", "channel": 1},
        "power": {"device": "p", "quantity": "power"},
    }
    found = routes("tasmota", meters, zone="UTC")
    heard = hear(found, "tele/p/SENSOR", sensor(Total=436.786, Power=[298, 7, 0]))
    assert values(heard) == {"both": (436.786, "kWh"), "second-power": (7.0, "W")}, "no part is made of a sum"
    words = {remark.about: remark.words for _, remark in heard.remarks}
    assert "is not in the document" in words["second"]
    assert "give the meter its `channel`" in words["power"]
    split = hear(found, "tele/p/SENSOR", sensor(Total=[2.092, 243.196, 191.497], Power=[298, 7, 0]))
    assert values(split)["second"] == (243.196, "kWh")


def test_wmbusmeters_tells_devices_apart_by_what_they_say() -> None:
    found = routes(
        "wmbusmeters",
        {
            "cooling-water": {"device": "33225544", "quantity": "water"},
            "heat": {"device": "Hall heat", "quantity": "heat"},
            "electricity": {"device": "00089907", "quantity": "electricity"},
        },
    )
    assert found.subscriptions() == {"wmbusmeters/#": 1}
    water = {
        "_": "telegram",
        "media": "water",
        "meter": "iperl",
        "name": "MyTapWater",
        "id": "33225544",
        "max_flow_m3h": 0,
        "total_m3": 123.529,
        "timestamp": "2026-11-21T18:37:00Z",
    }
    for topic in ("wmbusmeters/MyTapWater", "wmbusmeters/33225544", "wmbusmeters"):
        heard = hear(found, topic, water)
        assert values(heard) == {"cooling-water": (123.529, "m3")}
        assert [reading.at_ms for reading in heard.readings] == [1_795_286_220_000]
        assert heard.devices == {"33225544"}
    heat = {"media": "heat", "name": "Hall heat", "id": "23340485", "timestamp": "2026-11-21T18:37:00Z"}
    assert values(hear(found, "wmbusmeters/x", heat | {"total_energy_consumption_kwh": 300})) == {
        "heat": (300.0, "kWh")
    }
    assert values(hear(found, "wmbusmeters/x", heat | {"total_kwh": 495})) == {"heat": (495.0, "kWh")}
    assert values(hear(found, "wmbusmeters/x", heat | {"total_energy_consumption_kwh": None})) == {}
    stranger = hear(found, "wmbusmeters/x", {**water, "id": "11111111"})
    assert (stranger.readings, stranger.remarks, stranger.devices) == ([], [], set())


def test_zigbee2mqtt_with_and_without_last_seen() -> None:
    meters = {
        "oven": {"device": "press plug", "quantity": "energy"},
        "p": {"device": "press plug", "quantity": "power"},
    }
    found = routes("zigbee2mqtt", meters)
    assert found.subscriptions() == {"zigbee2mqtt/press plug": 0}
    state = {"energy": 12.04, "power": 38, "state": "ON", "linkquality": 120}
    heard = hear(found, "zigbee2mqtt/press plug", state)
    assert values(heard) == {"oven": (12.04, "kWh"), "p": (38.0, "W")}
    assert heard.readings[0].at_ms == NOW_MS
    seen = hear(found, "zigbee2mqtt/press plug", {**state, "last_seen": "2026-11-21T20:15:30.400Z"}, is_fresh=False)
    assert {reading.at_ms for reading in seen.readings} == {1_795_292_130_400}
    assert hear(found, "zigbee2mqtt/press plug", state, is_fresh=False).undated


def test_plain() -> None:
    found = routes(
        "plain",
        {
            "oven": {"device": "shellies/shellyem-b9e453/emeter/0/total", "quantity": "electricity-wh"},
            "relay": {"device": "shellies/shelly1pm-1/relay/0/energy", "quantity": "electricity-watt-minutes"},
            "good": {"device": "plc/press/good", "quantity": "pieces"},
        },
    )
    assert values(hear(found, "shellies/shellyem-b9e453/emeter/0/total", b"16310.5")) == {"oven": (16310.5, "Wh")}
    assert values(hear(found, "shellies/shelly1pm-1/relay/0/energy", b"60000")) == {"relay": (3.6, "MJ")}
    said = {"value": "1200", "at": "2026-11-21T20:00:00Z"}
    assert values(hear(found, "plc/press/good", said)) == {"good": (1200.0, "pcs")}
    for nonsense in (b"on", b"true", {"count": 5}, b""):
        assert hear(found, "plc/press/good", nonsense).readings == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_quantity_can_be_asked_for(name: str) -> None:
    mapping = load_bridge_mapping(name, folder=Path())
    assert mapping.name == name
    for quantity in mapping.quantities:
        (topic, *_) = routes(name, {"m": {"device": "d", "quantity": quantity}}, zone="UTC").subscriptions()
        assert check_filter(topic) == topic
        assert "{" not in topic


@given(
    payload=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["ENERGY", "Total", "Power", "Time", "params", "ts", "switch:0", "aenergy", "total", "id"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(lambda document: json.dumps(document).encode()),
    name=st.sampled_from(SHIPPED),
    fresh=st.booleans(),
)
@hypothesis_settings(max_examples=40)
def test_no_message_makes_it_raise(payload: bytes, name: str, fresh: bool) -> None:
    mapping = load_bridge_mapping(name, folder=Path())
    found = routes(name, {q: {"device": "d", "quantity": q} for q in mapping.quantities}, zone="UTC")
    for topic in found.subscriptions():
        heard = found.read(topic.replace("#", "x"), payload, is_fresh=fresh, now_ms=NOW_MS)
        assert all(refusal(reading) is None for reading in heard.readings)


def test_what_is_no_message_of_a_meter() -> None:
    found = routes("plain", {"oven": {"device": "a/b", "quantity": "water-m3"}})
    assert hear(found, "a/c", b"5") == Heard()
    assert hear(found, "a/b", b"") == Heard(), "a retained message taken away"
    large = hear(found, "a/b", b" " * (LARGEST_BYTES + 1))
    assert "more than a meter says" in large.remarks[0][1].words


@pytest.mark.parametrize("topic", ["", "a/#/b", "a#", "a/b+", "+a/b", "a\0b"])
def test_what_is_no_topic(topic: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        check_filter(topic)


OWN: dict[str, Any] = {
    "name": "own",
    "description": "d",
    "source": "s",
    "topics": [{"topic": "plc/{device}"}],
    "quantities": {
        "good": {"path": "$.n", "unit": "pcs", "resource": "production", "kind": "counter", "carrier": "good"}
    },
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"topics": [{"topic": "plc/#"}]}, "put {device} in it"),
        ({"topics": [{"topic": "plc/{device}/{part}"}]}, "say which `part` it is"),
        ({"topics": []}, "at least 1"),
        ({"identified_by": ["id"]}, "is not a JSON path"),
        ({"quantities": {}}, "at least 1"),
        ({"topic": "x"}, "Extra inputs"),
    ],
)
def test_what_a_mapping_may_not_say(change: dict[str, Any], words: str) -> None:
    BridgeMapping.model_validate(OWN)
    with pytest.raises(ValueError, match=words):
        BridgeMapping.model_validate(OWN | change)


def settings(**changes: Any) -> dict[str, Any]:
    meters = {"oven": {"device": "d", "quantity": "switch-energy"}}
    return {
        "name": "b",
        "driver": "bridge",
        "broker": "mqtt://127.0.0.1",
        "mapping": "shelly",
        "meters": meters,
    } | changes


def make(folder: Path, **changes: Any) -> BridgeDriver:
    return BridgeDriver(
        BridgeSettings.model_validate(settings(**changes)),
        DriverContext(agent="a", folder=folder, now_ms=lambda: NOW_MS),
    )


def test_offers(tmp_path: Path) -> None:
    (offer,) = make(tmp_path, every="1min").offers()
    assert (offer.meter, offer.unit, offer.driver, offer.cadence_ms) == ("oven", "Wh", "b", 60_000)


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(json.dumps(OWN))
    driver = make(tmp_path, mapping="own.yaml", meters={"press-good": {"device": "press", "quantity": "good"}})
    assert [offer.unit for offer in driver.offers()] == ["pcs"]
    (tmp_path / "own.yaml").write_text("name: own\nsource: s\n")
    with pytest.raises(EdgePermanentError, match=r"own.yaml:\d+: topics: this is missing"):
        make(tmp_path, mapping="own.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"broker": "http://x"}, "not a broker address"),
        ({"password": "geheim"}, "does not stand in a configuration"),
        ({"password": {}}, "name one"),
        ({"meters": {}}, "at least 1"),
        ({"meters": {"oven": {"device": "a/#", "quantity": "q"}}}, "no [+], # or zero byte"),
        ({"meters": {"oven": {"device": 12345678, "quantity": "q"}}}, "put quotes around"),
        ({"zone": "Mars"}, "not a time zone"),
        ({"mqtt": "4"}, "3.1.1"),
        ({"tls": {"key": "k.pem"}}, "needs its key"),
    ],
)
def test_what_a_configuration_may_not_say(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BridgeSettings.model_validate(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mapping": "shelli"}, "no mapping 'shelli'; known: plain, shelly, tasmota"),
        ({"mapping": "own.yaml"}, "cannot be read"),
        ({"meters": {"oven": {"device": "d", "quantity": "q"}}}, "driver b: meter oven: .* known: switch-energy"),
        ({"password": {"file": "nothing.txt"}}, "nothing.txt cannot be read"),
        ({"password": {"variable": "AFKOBLING_TEST_NOTHING"}}, "the environment has no AFKOBLING_TEST_NOTHING"),
        ({"broker": "mqtts://x", "tls": {"authority": "nothing.pem"}}, "a file of `tls` cannot be used"),
    ],
)
def test_what_shows_before_it_starts(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EdgePermanentError, match=words):
        make(tmp_path, **changes)


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    (tmp_path / "password.txt").write_text("\n")
    with pytest.raises(EdgePermanentError, match=r"first line of .* is empty"):
        make(tmp_path, password={"file": "password.txt"})


def test_silence() -> None:
    silence = Silence({"a": ["a1", "a2"], "b": ["b1"]}, after_s=10)
    silence.begin(100)
    assert silence.due_s() == 110
    silence.note("a", ["a1"], 105)
    assert silence.look(109) == []
    b = Silent(device="b", meters=["b1"], speaks=False)
    assert silence.look(110) == [b, Silent(device="a", meters=["a2"], speaks=True)]
    assert silence.look(110) == [], "it was told"
    assert silence.due_s() == 115
    assert silence.look(115) == [Silent(device="a", meters=["a1", "a2"], speaks=False)]
    assert silence.look(120) == [b], "a has not spoken since"
    silence.note("a", ["a2"], 121)
    assert silence.look(130) == [b], "all of a's meters have been heard of by now"
    assert silence.look(131) == [Silent(device="a", meters=["a1", "a2"], speaks=False)]
