"""Which topics to hear, and what a message under one of them says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paho.mqtt.client import topic_matches_sub

from edge.drivers.bridge.mapping import DEVICE, BridgeMapping
from edge.drivers.documents.mapping import DocumentMeter, fill_in
from edge.drivers.documents.paths import DocumentPath
from edge.drivers.documents.reading import (
    Clock,
    Remark,
    Wanted,
    channel_of,
    clock_of,
    parse_document,
    read_document,
    want,
)
from edge.drivers.documents.values import DecimalSign
from edge.readings import Reading

LARGEST_BYTES = 1_000_000
"""A larger message is of no meter."""


class MeterOfDevice(DocumentMeter):
    """A meter, and what its device is called in topics or documents."""

    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What to take of one device under one topic filter. `identity`: one of these says the device's name, if any."""

    topic: str
    device: str
    wanted: Sequence[Wanted]
    clock: Clock | None
    is_partial: bool
    identity: Sequence[DocumentPath]

    @property
    def is_dated(self) -> bool:
        """Whether all that it brings says when it was measured, so that it may wait at the broker."""
        return self.clock is not None and self.clock.required

    def is_about(self, document: object) -> bool:
        """Whether the document is of this route's device."""
        return not self.identity or any(_is_name(path, document, self.device) for path in self.identity)


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a message said. `devices`: who spoke. `undated`: values of unknown age were left."""

    readings: list[Reading] = field(default_factory=list)
    remarks: list[tuple[str, Remark]] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    undated: bool = False


class Routes:
    """All that a driver wants to hear."""

    def __init__(self, routes: Sequence[Route], decimal: DecimalSign) -> None:
        self._routes: dict[str, list[Route]] = {}
        for route in routes:
            self._routes.setdefault(route.topic, []).append(route)
        self._shared = [topic for topic in self._routes if {"+", "#"} & set(topic)]
        self._decimal = decimal

    def subscriptions(self) -> Mapping[str, int]:
        """Each topic filter, and the quality of service to ask for.

        What has no time of its own must not wait at the broker while we are away: it would come as if of now.
        """
        return {topic: int(all(route.is_dated for route in routes)) for topic, routes in self._routes.items()}

    def read(self, topic: str, payload: bytes, *, is_fresh: bool, now_ms: int) -> Heard:
        """What the message says. `is_fresh`: it was published just now. Never raises."""
        heard = Heard()
        routes = self._of(topic)
        if not routes or not payload:
            # An empty message is how a retained one is taken away.
            return heard
        try:
            document = parse_document(payload, largest_bytes=LARGEST_BYTES)
        except ValueError as error:
            heard.remarks.append((routes[0].device, Remark(about=topic, words=str(error))))
            return heard
        for route in routes:
            if route.is_about(document):
                self._read(route, document, heard, is_fresh=is_fresh, now_ms=now_ms)
        return heard

    def _read(self, route: Route, document: object, heard: Heard, *, is_fresh: bool, now_ms: int) -> None:
        found = read_document(
            document,
            route.wanted,
            clock=route.clock,
            now_ms=now_ms,
            is_fresh=is_fresh,
            is_partial=route.is_partial,
            decimal=self._decimal,
        )
        heard.devices.add(route.device)
        heard.readings += found.readings
        heard.remarks += [(route.device, remark) for remark in found.remarks]
        heard.undated |= found.undated

    def _of(self, topic: str) -> list[Route]:
        found = [*self._routes.get(topic, ())]
        for shared in self._shared:
            if topic_matches_sub(shared, topic):
                found += self._routes[shared]
        return found


def plan_routes(
    mapping: BridgeMapping, meters: Mapping[str, MeterOfDevice], *, zone: str | None, heeds_time: bool
) -> Routes:
    """The routes for these meters. `heeds_time`: whether the documents' own times count.

    Raises EdgePermanentError for what does not go with the mapping.
    """
    routes: list[Route] = []
    for topic in mapping.topics:
        clock = clock_of(topic.at if heeds_time else None, zone=zone)
        groups: dict[tuple[str, str], dict[str, MeterOfDevice]] = {}
        for key, meter in meters.items():
            quantity = mapping.quantities.get(meter.quantity)
            part = quantity.part if quantity else None
            name = fill_in(topic.topic, part=part, channel=channel_of(mapping, meter)).replace(DEVICE, meter.device)
            groups.setdefault((name, meter.device), {})[key] = meter
        routes += [
            Route(
                topic=name,
                device=device,
                wanted=want(mapping, group, root=topic.root, around=topic.topic),
                clock=clock,
                is_partial=topic.partial,
                identity=[DocumentPath(path) for path in mapping.identified_by],
            )
            for (name, device), group in groups.items()
        ]
    return Routes(routes, mapping.decimal)


def _is_name(path: DocumentPath, document: object, device: str) -> bool:
    try:
        said = path.find(document)
    except ValueError:
        return False
    return isinstance(said, str | int) and not isinstance(said, bool) and str(said) == device
