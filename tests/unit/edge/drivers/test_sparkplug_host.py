"""What a host concludes from what it hears. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers.sparkplug.host import Host, Outcome, Wanted
from edge.drivers.sparkplug.metrics import DataType, Metric, Payload
from edge.drivers.sparkplug.topics import MessageType, Node

NOW = 1_795_298_400_000
NODE = Node(group="hall", node="gateway")
ENERGY = Wanted(node=NODE, device="oven", metric="Energy", unit="kWh")
POWER = Wanted(node=NODE, device=None, metric="Power", unit="kW")
WAIT, SILENT = 30_000, 900_000


class Talk:
    """A host, and a node whose messages it hears in the right order unless a test says otherwise."""

    def __init__(self, wanted: dict[str, Wanted] | None = None) -> None:
        self.host = Host(wanted or {"energy": ENERGY, "power": POWER}, rebirth_wait_ms=WAIT, silent_after_ms=SILENT)
        self.now = NOW
        self.seq = 0
        self.host.connected(self.now)

    def hear(self, kind: MessageType, metrics: Iterable[Metric] = (), device: str | None = None) -> Outcome:
        seq = None if kind is MessageType.NODE_DEATH else self.seq % 256
        if seq is not None:
            self.seq += 1
        return self.host.take(
            NODE.topic(kind, device), Payload(at_ms=self.now, seq=seq, metrics=tuple(metrics)), self.now
        )

    def born(self, **more: Any) -> list[Outcome]:
        self.seq = 0
        bd_seq = Metric(name="bdSeq", datatype=DataType.INT64, value=more.pop("bd_seq", 0))
        return [
            self.hear(MessageType.NODE_BIRTH, [bd_seq, metric("Power", 0, 5.0, **more)]),
            self.hear(MessageType.DEVICE_BIRTH, [metric("Energy", 1, 100.0, **more)], "oven"),
        ]

    def data(self, *metrics: Metric) -> Outcome:
        return self.hear(MessageType.DEVICE_DATA, metrics, "oven")

    def asked(self) -> bool:
        return self.host.look(self.now).rebirths == [NODE]


def metric(name: str | None, alias: int | None, value: float | None, **more: Any) -> Metric:
    datatype = DataType.DOUBLE if name is not None else None
    return Metric(**({"name": name, "alias": alias, "value": value, "datatype": datatype, "at_ms": NOW} | more))


def said(outcome: Outcome) -> dict[str, float]:
    return {sample.meter: sample.value for sample in outcome.samples}


def words(outcome: Outcome) -> str:
    return " | ".join(remark.words for remark in outcome.remarks)


def test_births_and_data_by_alias() -> None:
    talk = Talk()

    assert [said(outcome) for outcome in talk.born()] == [{"power": 5.0}, {"energy": 100.0}]
    assert said(talk.data(metric(None, 1, 101.0))) == {"energy": 101.0}
    assert said(talk.data(metric("Energy", None, 102.0))) == {"energy": 102.0}
    assert said(talk.hear(MessageType.NODE_DATA, [metric(None, 0, 6.0)])) == {"power": 6.0}


def test_the_sequence_wraps() -> None:
    talk = Talk()
    talk.born()
    for value in range(600):
        assert said(talk.data(metric(None, 1, float(value)))) == {"energy": float(value)}


def test_a_gap_stops_all_values_until_the_node_is_born_again() -> None:
    talk = Talk()
    talk.born()
    talk.seq += 1

    first = talk.data(metric(None, 1, 666.0))
    assert (said(first), "2 of its sequence is missing, 3 came" in words(first)) == ({}, True)
    assert talk.asked()
    assert said(talk.data(metric(None, 1, 667.0))) == {}
    talk.born()
    assert said(talk.data(metric(None, 1, 103.0))) == {"energy": 103.0}


@pytest.mark.parametrize(
    "metrics",
    [[metric(None, 7, 1.0)], [metric("Other", 1, 1.0)], [metric("Other", None, 1.0)], [metric(None, None, 1.0)]],
    ids=["alias", "alias and name disagree", "name", "neither"],
)
def test_a_metric_that_no_birth_named_makes_the_whole_message_nothing(metrics: list[Metric]) -> None:
    talk = Talk()
    talk.born()

    outcome = talk.data(metric(None, 1, 101.0), *metrics)

    assert (said(outcome), talk.asked()) == ({}, True)


def test_an_alias_that_a_birth_gives_twice_stands_for_nothing() -> None:
    talk = Talk()
    talk.born()
    talk.hear(MessageType.DEVICE_BIRTH, [metric("Energy", 1, 1.0), metric("Other", 1, 2.0)], "oven")

    names = [metric(f"N{i}", 2, 1.0) for i in range(5_000)]
    talk.hear(MessageType.DEVICE_BIRTH, [metric("Energy", 1, 1.0), metric("Other", 1, 2.0), *names], "oven")
    by_alias = talk.data(metric(None, 1, 101.0))
    assert len(words(talk.data(metric(None, 2, 1.0)))) < 200
    by_both = talk.data(metric("Energy", 1, 102.0))

    assert (said(by_alias), "stands for Energy, Other" in words(by_alias)) == ({}, True)
    assert said(by_both) == {"energy": 102.0}
    assert not talk.asked()


def test_an_old_death_that_comes_late_is_not_this_lifes() -> None:
    talk = Talk()
    talk.born(bd_seq=4)
    late = talk.hear(MessageType.NODE_DEATH, [Metric(name="bdSeq", value=3)])
    assert (late.remarks, said(talk.data(metric(None, 1, 101.0)))) == ([], {"energy": 101.0})

    death = talk.hear(MessageType.NODE_DEATH, [Metric(name="bdSeq", value=4)])
    assert "has left the broker" in words(death)
    assert said(talk.data(metric(None, 1, 666.0))) == {}


def test_a_device_that_died_says_nothing_until_it_is_born() -> None:
    talk = Talk()
    talk.born()

    assert "device oven is away" in words(talk.hear(MessageType.DEVICE_DEATH, device="oven"))
    assert said(talk.hear(MessageType.NODE_DATA, [metric(None, 0, 7.0)])) == {"power": 7.0}
    assert said(talk.hear(MessageType.DEVICE_BIRTH, [metric("Energy", 5, 104.0)], "oven")) == {"energy": 104.0}
    assert said(talk.data(metric(None, 5, 105.0))) == {"energy": 105.0}


def test_data_of_a_device_that_died_are_nothing() -> None:
    talk = Talk()
    talk.born()
    talk.hear(MessageType.DEVICE_DEATH, device="oven")

    assert (said(talk.data(metric(None, 1, 666.0))), talk.asked()) == ({}, True)


def test_what_is_not_to_be_stored_is_not() -> None:
    talk = Talk()
    talk.born()
    before = NOW - 3_600_000

    assert said(talk.data(metric(None, 1, 1.0, is_transient=True))) == {}
    assert said(talk.data(metric(None, 1, None, is_null=True))) == {}
    historical = talk.data(metric(None, 1, 99.0, is_historical=True, at_ms=before))
    assert [(s.at_ms, s.value, s.is_historical) for s in historical.samples] == [(before, 99.0, True)]
    undated = talk.data(metric(None, 1, 99.0, is_historical=True, at_ms=None))
    assert (said(undated), "historical value without a time" in words(undated)) == ({}, True)


@pytest.mark.parametrize(("quality", "is_told"), [(None, True), (192, True), (0, False), (500, False), (2**31, False)])
def test_a_value_that_is_bad_or_stale_is_none(quality: int | None, is_told: bool) -> None:
    talk = Talk()
    talk.born()

    outcome = talk.data(metric(None, 1, 666.0, quality=quality))

    assert (bool(said(outcome)), "bad or stale" in words(outcome)) == (is_told, not is_told)
    assert said(talk.data(metric(None, 1, 101.0))) == {"energy": 101.0}


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [(NOW - 5_000, NOW - 5_000), (None, NOW), (0, NOW), (NOW + 7_200_000, NOW), (1_325_376_000_000, NOW)],
    ids=["its own", "none", "1970", "local time", "2012"],
)
def test_the_instant_is_the_metrics_where_it_can_be_right(at_ms: int | None, expected: int) -> None:
    talk = Talk()
    talk.born()

    assert talk.data(metric(None, 1, 1.0, at_ms=at_ms)).samples[0].at_ms == expected


def test_a_value_that_stands_still_is_told_with_the_time_of_each_birth() -> None:
    """Or else a register that stands still for a weekend would look like one that nobody read."""
    talk = Talk()

    def told() -> list[tuple[float, int]]:
        return [(sample.value, sample.at_ms) for outcome in talk.born() for sample in outcome.samples]

    assert told() == [(5.0, NOW), (100.0, NOW)]
    for _ in range(2):
        talk.now += SILENT
        assert told() == [(5.0, talk.now), (100.0, talk.now)]
    talk.data(metric(None, 1, 101.0, at_ms=talk.now - 5))
    assert told()[1] == (100.0, NOW)


def test_what_is_historical_may_be_years_old() -> None:
    talk = Talk()
    talk.born()
    old = metric(None, 1, 1.0, at_ms=1_325_376_000_000, is_historical=True)

    assert talk.data(old).samples[0].at_ms == 1_325_376_000_000


def test_of_an_interval_meter_a_birth_only_repeats() -> None:
    talk = Talk({"energy": Wanted(node=NODE, device="oven", metric="Energy", is_interval=True)})

    assert [said(outcome) for outcome in talk.born()] == [{}, {}]
    assert said(talk.data(metric(None, 1, 3.0))) == {"energy": 3.0}


def test_wrong_settings_are_told_with_what_there_is() -> None:
    talk = Talk({"a": Wanted(node=NODE, device="oven", metric="Enrgy"), "b": ENERGY})
    _, device = talk.born(unit="MWh")

    assert "meter a: device oven of edge node hall/gateway has no metric 'Enrgy'; it has: Energy" in words(device)
    assert "meter b: the node says that Energy is in MWh, the settings say kWh" in words(device)
    not_a_number = talk.data(metric(None, 1, "much", datatype=DataType.STRING))  # type: ignore[arg-type]
    assert "meter b: Energy is not a number" in words(not_a_number)


def test_a_device_that_is_never_born_is_told() -> None:
    talk = Talk()
    talk.hear(MessageType.NODE_BIRTH, [metric("Power", 0, 5.0)])
    assert talk.host.look(talk.now).remarks == []

    talk.now = talk.host.next_ms()

    assert "said nothing of a device oven" in words(talk.host.look(talk.now))


def test_a_node_is_asked_seldom_and_more_seldom_while_it_is_away() -> None:
    talk = Talk()
    asked: list[int] = []
    while talk.now < NOW + 3_600_000:
        if talk.asked():
            asked.append(talk.now - NOW)
        talk.now = max(talk.now + 1, talk.host.next_ms())
    gaps = [later - earlier for earlier, later in pairwise(asked)]

    assert gaps == [30_000, 60_000, 120_000, 240_000, 480_000, 900_000, 900_000]


def test_a_node_that_answers_and_goes_wrong_again_is_not_asked_at_once() -> None:
    talk = Talk()
    requests = 0
    for _ in range(300):
        talk.now += 1_000
        requests += talk.asked()
        talk.born()
        talk.seq += 3
        talk.data(metric(None, 1, 666.0))

    assert requests == 10


def test_a_clock_that_is_set_back_delays_no_request() -> None:
    talk = Talk()
    assert talk.asked()
    talk.born()
    talk.now -= 365 * 86_400_000
    talk.seq += 3
    talk.data(metric(None, 1, 666.0))
    talk.host.look(talk.now)
    talk.now = talk.host.next_ms()

    assert talk.now <= NOW - 365 * 86_400_000 + WAIT
    assert talk.asked()


def test_a_node_that_is_silent_is_asked_and_then_away() -> None:
    talk = Talk()
    talk.born()
    talk.now = NOW + SILENT
    assert talk.asked()
    talk.now += WAIT

    outcome = talk.host.look(talk.now)

    assert "does not answer" in words(outcome)
    assert said(talk.data(metric(None, 1, 666.0))) == {}


def test_others_nodes_and_our_own_words_are_nothing() -> None:
    talk = Talk()
    for topic in ("spBv1.0/hall/NBIRTH/other", NODE.topic(MessageType.NODE_COMMAND), "spBv1.0/STATE/x", "a"):
        outcome = talk.host.take(topic, None, NOW)
        assert (outcome.samples, outcome.remarks) == ([], [])


NAMES = ["A", "B", "C", "D"]
STEPS = ["data", "data", "data", "node data", "rebirth", "device birth", "device death", "reorganised", "restart"]


class World:
    """A node with a device, each with metrics of the same names; every value tells place and name, and is told once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.wanted = {
            f"{device}-{name}".lower(): Wanted(node=NODE, device=device, metric=name)
            for device in ("d", None)
            for name in NAMES
        }
        self.host = Host(self.wanted, rebirth_wait_ms=WAIT, silent_after_ms=SILENT)
        self.host.connected(NOW)
        self.numbers = count()
        self.life = self.seq = self.heard = 0
        self.aliases: dict[str | None, dict[str, int]] = {}
        self.current: dict[tuple[str | None, str], float] = {}

    def metric(self, device: str | None, name: str, *, by_name: bool) -> Metric:
        value = float(next(self.numbers) * 100 + (10 if device is None else 0) + NAMES.index(name))
        self.current[device, name] = value
        return metric(name if by_name else None, self.aliases[device][name], value)

    def number_anew(self, *devices: str | None) -> None:
        for device in devices:
            self.aliases[device] = dict(zip(NAMES, self.rng.sample(range(6), len(NAMES)), strict=True))

    def tell(self, kind: MessageType, device: str | None, metrics: list[Metric], *, is_lost: bool) -> None:
        payload = Payload(at_ms=NOW, seq=self.seq, metrics=tuple(metrics))
        self.seq = (self.seq + 1) % 256
        if not is_lost:
            self.check(self.host.take(NODE.topic(kind, device), payload, NOW))

    def die(self, life: int) -> None:
        death = Payload(at_ms=NOW, metrics=(Metric(name="bdSeq", value=life),))
        self.check(self.host.take(NODE.topic(MessageType.NODE_DEATH), death, NOW))

    def check(self, outcome: Outcome) -> None:
        for sample in outcome.samples:
            self.heard += 1
            said = self.wanted[sample.meter]
            assert NAMES[int(sample.value) % 10] == said.metric
            assert (int(sample.value) // 10 % 10 == 1) == (said.device is None)
            assert self.current[said.device, said.metric] == sample.value

    def bear(self, device: str | None, *, is_lost: bool) -> None:
        metrics = [self.metric(device, name, by_name=True) for name in NAMES]
        if device is None:
            metrics.append(Metric(name="bdSeq", value=self.life))
        kind = MessageType.NODE_BIRTH if device is None else MessageType.DEVICE_BIRTH
        self.tell(kind, device, metrics, is_lost=is_lost)

    def bear_all(self, *, may_be_lost: bool) -> None:
        for device in (None, "d"):
            self.bear(device, is_lost=may_be_lost and self.rng.random() < 0.7)

    def step(self, what: str, *, is_lost: bool) -> None:
        match what:
            case "data" | "node data":
                device = "d" if what == "data" else None
                kind = MessageType.DEVICE_DATA if device else MessageType.NODE_DATA
                said = self.metric(device, self.rng.choice(NAMES), by_name=False)
                self.tell(kind, device, [said], is_lost=is_lost)
            case "rebirth":
                self.bear_all(may_be_lost=is_lost)
            case "reorganised":
                self.number_anew(None, "d")
                self.bear_all(may_be_lost=is_lost)
            case "device birth":
                self.number_anew("d")
                self.bear("d", is_lost=is_lost)
            case "device death":
                self.tell(MessageType.DEVICE_DEATH, "d", [], is_lost=is_lost)
            case "late death":
                self.die(self.life - 1)
            case _:
                # The broker tells the death with QoS 1, before anything of the next life.
                self.die(self.life)
                self.life, self.seq = self.life + 1, 0
                self.number_anew(None, "d")
                self.bear_all(may_be_lost=is_lost)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([*STEPS, "late death"]), st.booleans()), max_size=60),
    seed=st.integers(0, 2**32),
)
def test_never_a_value_under_a_wrong_name(steps: list[tuple[str, bool]], seed: int) -> None:
    """Whatever is told in whatever order, with new numbers at births, and any message lost but the broker's own."""
    world = World(random.Random(seed))
    world.number_anew(None, "d")
    world.bear_all(may_be_lost=False)
    assert world.heard == 2 * len(NAMES)
    for what, is_lost in steps:
        world.step(what, is_lost=is_lost)
    # However it went, births put all right again.
    world.bear_all(may_be_lost=False)
    before = world.heard
    world.step("data", is_lost=False)
    assert world.heard == before + 1
