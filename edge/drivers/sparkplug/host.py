"""What a host knows of edge nodes, and what it concludes from each of their messages. Pure: no clock, no broker.

A value counts only under the name that its number had in a birth which is certainly the last one: after a gap in the
sequence, an unknown number, a death or a new connection nothing counts until the node was born again, for which it is
asked. What no host can see is the loss of exactly 256 messages, or of births that begin the sequence anew and all after
them up to the number that it waits for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from edge.drivers.sparkplug.births import AmbiguousMetricError, Birth, UnknownMetricError, read_birth
from edge.drivers.sparkplug.metrics import Metric, Payload, number
from edge.drivers.sparkplug.topics import MessageType, Node, parse_topic

_EARLIEST_MS = 946_684_800_000
_BEHIND_MS = 366 * 86_400_000
"""A live value that is dated so long ago comes from a clock that lost its time. (A historical one may be as old.)"""
_AHEAD_MS = 300_000
_SEQUENCE = 256
BD_SEQ = "bdSeq"
_TOLD = 20
"""So many names of a birth are shown to who looks for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where a meter's metric is. `unit`: the one it is to say, where that can be told.

    Of an interval meter, a birth only repeats what was said.
    """

    node: Node
    device: str | None
    metric: str
    unit: str | None = None
    is_interval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value of a meter, not scaled, at its instant (Unix milliseconds UTC)."""

    meter: str
    at_ms: int
    value: int | float
    is_historical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something is wrong, in plain words; `about` stays the same as long as the trouble does."""

    about: tuple[str, ...]
    words: str


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a message or of time passing. `born`: nodes that were away and are back."""

    samples: list[Sample] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    rebirths: list[Node] = field(default_factory=list)
    born: list[Node] = field(default_factory=list)


class _Standing(Enum):
    UNKNOWN = auto()
    BORN = auto()
    DEAD = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    node: Node
    kind: MessageType
    device: str | None
    payload: Payload
    now_ms: int

    def place(self) -> str:
        return f"edge node {self.node}" if self.device is None else f"device {self.device} of edge node {self.node}"


@dataclass(slots=True, kw_only=True)
class _Known:
    standing: _Standing = _Standing.UNKNOWN
    births: dict[str | None, Birth] = field(default_factory=dict)
    bd_seq: int | None = None
    expected: int = 0
    heard_ms: int = 0
    asked_ms: int | None = None
    """When it was asked for a rebirth, while it hasn't answered."""
    requested_ms: int | None = None
    """When it was last asked, answered or not."""
    unanswered: int = 0
    missing_ms: int = 0
    """When to say of devices that they were not born."""

    def heard(self, now_ms: int) -> None:
        self.heard_ms, self.asked_ms, self.unanswered = now_ms, None, 0

    def set_back(self, now_ms: int, *, at_most_ms: int) -> None:
        """Nothing lies further ahead than it can, however far the clock was set back meanwhile."""
        self.heard_ms = min(self.heard_ms, now_ms)
        self.asked_ms = None if self.asked_ms is None else min(self.asked_ms, now_ms)
        self.requested_ms = None if self.requested_ms is None else min(self.requested_ms, now_ms)
        self.missing_ms = min(self.missing_ms, now_ms + at_most_ms)

    def forget(self, standing: _Standing) -> None:
        self.standing = standing
        self.births.clear()


class Host:
    """Of the nodes that meters are wanted of; the others are nothing to it."""

    def __init__(self, wanted: Mapping[str, Wanted], *, rebirth_wait_ms: int, silent_after_ms: int) -> None:
        self._wanted = dict(wanted)
        self._meters: dict[tuple[Node, str | None, str], list[str]] = {}
        for meter, said in wanted.items():
            self._meters.setdefault((said.node, said.device, said.metric), []).append(meter)
        self._rebirth_wait_ms = rebirth_wait_ms
        self._silent_after_ms = silent_after_ms
        self._told: dict[str, tuple[int, int | float]] = {}
        """By meter, the last value and the instant that the node gave it."""
        self._nodes: dict[Node, _Known] = {said.node: _Known() for said in wanted.values()}

    def connected(self, now_ms: int) -> None:
        """A new connection: nobody knows what was missed."""
        for known in self._nodes.values():
            known.forget(_Standing.UNKNOWN)
            known.heard(now_ms)
            known.requested_ms = None

    def take(self, topic: str, payload: Payload | None, now_ms: int) -> Outcome:
        """A message came; without a payload where it makes no sense."""
        outcome = Outcome()
        place = parse_topic(topic)
        if place is None or place[0] not in self._nodes or place[1] is MessageType.NODE_COMMAND:
            return outcome
        node, kind, device = place
        known = self._nodes[node]
        if payload is None:
            self._lose(node, "a message that makes no sense", outcome)
        elif kind is MessageType.NODE_BIRTH:
            self._bear_node(node, payload, now_ms, outcome)
        elif kind is MessageType.NODE_DEATH:
            self._bury_node(node, payload, outcome)
        elif known.standing is not _Standing.BORN:
            # Its birth was missed, which is no fault of its own: it is asked.
            known.forget(_Standing.UNKNOWN)
        elif payload.seq != known.expected:
            self._lose(node, f"message {known.expected} of its sequence is missing, {payload.seq} came", outcome)
        else:
            known.expected = (known.expected + 1) % _SEQUENCE
            known.heard(now_ms)
            message = _Message(node=node, kind=kind, device=device, payload=payload, now_ms=now_ms)
            self._take_of_living(message, outcome)
        return outcome

    def look(self, now_ms: int) -> Outcome:
        """Time passes: who is to be asked for a rebirth now, and what is missing. Asks no node too often."""
        outcome = Outcome()
        for node, known in self._nodes.items():
            known.set_back(now_ms, at_most_ms=max(self._rebirth_wait_ms, self._silent_after_ms))
            if known.standing is _Standing.BORN and now_ms >= known.missing_ms:
                self._tell_missing(node, known, now_ms, outcome)
            if now_ms < self._ask_ms(known):
                continue
            if known.asked_ms is not None:
                known.unanswered += 1
                known.forget(_Standing.UNKNOWN if known.standing is _Standing.BORN else known.standing)
                words = (
                    f"edge node {node} does not answer; check that it runs, is connected to this broker, and its name"
                )
                outcome.remarks.append(Remark(about=("away", str(node)), words=words))
            known.asked_ms = known.requested_ms = now_ms
            outcome.rebirths.append(node)
        return outcome

    def next_ms(self) -> int:
        """When to look again at the latest."""
        due = [self._ask_ms(known) for known in self._nodes.values()]
        due += [known.missing_ms for known in self._nodes.values() if known.standing is _Standing.BORN]
        return min(due)

    def _ask_ms(self, known: _Known) -> int:
        if known.asked_ms is not None:
            # A node that is away is asked more and more seldom.
            wait_ms = self._rebirth_wait_ms << min(known.unanswered, 20)
            return known.asked_ms + min(wait_ms, max(self._silent_after_ms, self._rebirth_wait_ms))
        due_ms = known.heard_ms + (0 if known.standing is _Standing.UNKNOWN else self._silent_after_ms)
        return due_ms if known.requested_ms is None else max(due_ms, known.requested_ms + self._rebirth_wait_ms)

    def _bear_node(self, node: Node, payload: Payload, now_ms: int, outcome: Outcome) -> None:
        known = self._nodes[node]
        if payload.seq is None or payload.seq >= _SEQUENCE:
            self._lose(node, "a birth without a number in its sequence", outcome)
            return
        outcome.born.append(node)
        known.forget(_Standing.BORN)
        known.bd_seq = _bd_seq(payload)
        known.expected = (payload.seq + 1) % _SEQUENCE
        known.heard(now_ms)
        known.missing_ms = now_ms + self._rebirth_wait_ms
        birth = _Message(node=node, kind=MessageType.NODE_BIRTH, device=None, payload=payload, now_ms=now_ms)
        self._bear(birth, outcome)

    def _bury_node(self, node: Node, payload: Payload, outcome: Outcome) -> None:
        known = self._nodes[node]
        bd_seq = _bd_seq(payload)
        if known.standing is _Standing.BORN and None not in {bd_seq, known.bd_seq} and bd_seq != known.bd_seq:
            return  # The death of an earlier life, which comes late.
        known.forget(_Standing.DEAD)
        words = f"edge node {node} has left the broker; check its power and network"
        outcome.remarks.append(Remark(about=("away", str(node)), words=words))

    def _take_of_living(self, message: _Message, outcome: Outcome) -> None:
        node, device = message.node, message.device
        known = self._nodes[node]
        if message.kind is MessageType.DEVICE_BIRTH:
            self._bear(message, outcome)
            return
        if message.kind is MessageType.DEVICE_DEATH:
            known.births.pop(device, None)
            if any((said.node, said.device) == (node, device) for said in self._wanted.values()):
                words = f"edge node {node} says that its device {device} is away; check that device"
                outcome.remarks.append(Remark(about=("device", str(node), str(device)), words=words))
            return
        birth = known.births.get(device)
        if birth is None:
            self._lose(node, f"data of its device {device}, whose birth was missed", outcome)
            return
        named: list[tuple[str, Metric]] = []
        for metric in message.payload.metrics:
            try:
                named.append((birth.name_of(metric), metric))
            except UnknownMetricError:
                self._lose(node, f"a metric that its birth did not name ({_called(metric)})", outcome)
                return
            except AmbiguousMetricError as error:
                words = f"edge node {node}: {error} in its birth; the values are not taken: its set-up needs mending"
                outcome.remarks.append(Remark(about=("alias", str(node)), words=words))
        for name, metric in named:
            self._sample(message, birth, name, metric, outcome)

    def _bear(self, message: _Message, outcome: Outcome) -> None:
        birth = read_birth(message.payload.metrics)
        self._nodes[message.node].births[message.device] = birth
        for meter, said in self._wanted.items():
            if (said.node, said.device) == (message.node, message.device) and said.metric not in birth.datatypes:
                there = ", ".join(sorted(birth.datatypes)[:_TOLD]) or "none"
                words = f"meter {meter}: {message.place()} has no metric {said.metric!r}; it has: {there}"
                outcome.remarks.append(Remark(about=("metric", meter), words=words))
        for metric in message.payload.metrics:
            if metric.name is not None:
                self._sample(message, birth, metric.name, metric, outcome)

    def _sample(self, message: _Message, birth: Birth, name: str, metric: Metric, outcome: Outcome) -> None:
        is_birth = message.kind in {MessageType.NODE_BIRTH, MessageType.DEVICE_BIRTH}
        if metric.is_transient:
            return
        for meter in self._meters.get((message.node, message.device, name), ()):
            said = self._wanted[meter]
            if is_birth and metric.unit and said.unit and metric.unit.casefold() != said.unit.casefold():
                words = f"meter {meter}: the node says that {name} is in {metric.unit}, the settings say {said.unit}"
                outcome.remarks.append(Remark(about=("unit", meter), words=words))
            if metric.is_null or (is_birth and said.is_interval):
                continue
            if not metric.is_good():
                words = f"meter {meter}: the node says that {name} is bad or stale (quality {metric.quality})"
                outcome.remarks.append(Remark(about=("quality", meter), words=f"{words}; check the device behind it"))
                continue
            datatype = metric.datatype if metric.datatype is not None else birth.datatypes.get(name)
            value = number(metric.value, datatype)
            at_ms = _instant(metric, message)
            if value is None:
                words = f"meter {meter}: {name} is not a number (type {datatype}); give a metric that is one"
                outcome.remarks.append(Remark(about=("value", meter), words=words))
            elif at_ms is None:
                words = f"meter {meter}: a historical value without a time that can be right was not taken"
                outcome.remarks.append(Remark(about=("time", meter), words=words))
            else:
                if not metric.is_historical:
                    before, self._told[meter] = self._told.get(meter), (at_ms, value)
                    if is_birth and before == (at_ms, value):
                        # It stands still: the node has just said that this is its value, not only what it was.
                        at_ms = max(at_ms, _sent(message))
                sample = Sample(meter=meter, at_ms=at_ms, value=value, is_historical=metric.is_historical)
                outcome.samples.append(sample)

    def _tell_missing(self, node: Node, known: _Known, now_ms: int, outcome: Outcome) -> None:
        known.missing_ms = now_ms + self._silent_after_ms
        wanted = {said.device for said in self._wanted.values() if said.node == node}
        for device in sorted(str(device) for device in wanted - set(known.births)):
            words = f"edge node {node} has said nothing of a device {device}; check its name, and that it is connected"
            outcome.remarks.append(Remark(about=("device", str(node), device), words=words))

    def _lose(self, node: Node, what: str, outcome: Outcome) -> None:
        self._nodes[node].forget(_Standing.UNKNOWN)
        words = f"edge node {node}: {what}; its values wait until it has said anew what they are"
        outcome.remarks.append(Remark(about=("lost", str(node)), words=words))


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == BD_SEQ and isinstance(metric.value, int) and not isinstance(metric.value, bool):
            return metric.value
    return None


def _instant(metric: Metric, message: _Message) -> int | None:
    now_ms = message.now_ms
    if metric.is_historical:
        return _sane(metric.at_ms, now_ms, earliest_ms=_EARLIEST_MS)
    earliest_ms = max(_EARLIEST_MS, now_ms - _BEHIND_MS)
    return _sane(metric.at_ms, now_ms, earliest_ms=earliest_ms) or _sent(message)


def _sent(message: _Message) -> int:
    now_ms = message.now_ms
    return _sane(message.payload.at_ms, now_ms, earliest_ms=max(_EARLIEST_MS, now_ms - _BEHIND_MS)) or now_ms


def _sane(at_ms: int | None, now_ms: int, *, earliest_ms: int) -> int | None:
    return at_ms if at_ms is not None and earliest_ms <= at_ms <= now_ms + _AHEAD_MS else None


def _called(metric: Metric) -> str:
    return f"alias {metric.alias}" if metric.name is None else repr(metric.name)
