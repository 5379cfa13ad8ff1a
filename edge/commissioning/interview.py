"""What `edge init` asks a technician, and the edge.yaml that comes of the answers. Knows no terminal and no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from edge.commissioning.catalogue import Entry, catalogue
from edge.drivers.mbus.line import BAUDS as MBUS_BAUDS
from edge.drivers.modbus.line import BAUDS as MODBUS_BAUDS
from edge.drivers.profile import Protocol
from schemas.broker_url import parse_broker_url
from schemas.topics import KEY_PATTERN

_NOT_A_KEY = re.compile(r"[^a-z0-9._-]+")
_PARITIES = ("even", "none", "odd")
_AFTERWARDS = """\
# Further drivers are described in docs/edge.md: pulses (S0), bridge (Shelly, Tasmota, wmbusmeters and others that
# publish over MQTT), http_json, opcua, sparkplug, csv, manual. They stand in the same list.
"""


class AnswersEndedError(Exception):
    """There are no more answers, although something is still to be asked."""


Ask = Callable[[str], str]
"""Puts a question and gives the answer; raises AnswersEndedError."""
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Interview:
    """Asks until an answer will do, saying each time what is wrong with it."""

    ask: Ask
    say: Say
    entries: Sequence[Entry] = field(default_factory=catalogue)
    _meters: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def identity(self, known: Mapping[str, Any]) -> dict[str, str]:
        """Organisation, site, agent and broker, as far as they are not known."""
        questions = {
            "organisation": "Key of the organisation, as in the site model (acme)",
            "site": "Key of the site (hall)",
            "agent": "Key of this agent, one for each device (cabinet-1)",
        }
        found = {name: self._key(question) for name, question in questions.items() if name not in known}
        if "broker" not in known:
            found["broker"] = self._until(
                "Address of the broker (mqtt://192.168.1.5:1883); an agent that enrols is told it", _broker
            )
        return found

    def drivers(self) -> list[dict[str, Any]]:
        """One after the other, until there are no more."""
        found: list[dict[str, Any]] = []
        while True:
            kind = self._choice(
                "What is to be read next?" if found else "What is to be read first?",
                [
                    "a Modbus meter on the network, or behind a gateway",
                    "a Modbus meter on RS-485, at a serial port of this device",
                    "an M-Bus meter behind a gateway on the network",
                    "an M-Bus meter at a level converter on a serial port of this device",
                    "nothing more",
                ],
            )
            if kind == 4:
                return found
            found.append(self._metered(Protocol.MODBUS if kind < 2 else Protocol.MBUS, is_serial=kind in {1, 3}))

    def _metered(self, protocol: Protocol, *, is_serial: bool) -> dict[str, Any]:
        name = self._until("A name for this meter (oven)", self._new_name)
        self._names.add(name)
        settings: dict[str, Any] = {"name": name, "driver": str(protocol)}
        settings |= self._serial(protocol) if is_serial else self._network(protocol)
        if protocol is Protocol.MODBUS:
            settings["device_id"] = self._number(
                "Its Modbus id, 1 to 247 (`afkobling edge scan modbus` finds it)", 1, 247
            )
        else:
            settings["address"] = self._number(
                "Its primary address, 0 to 250 (`afkobling edge scan mbus` finds it)", 0, 250
            )
        entries = [entry for entry in self.entries if entry.protocol is protocol]
        nth = self._choice("Which meter is it?", [f"{entry.name}: {entry.description}" for entry in entries])
        settings["profile"] = entries[nth].name
        settings["meters"] = self._quantities(name, entries[nth])
        return settings

    def _network(self, protocol: Protocol) -> dict[str, Any]:
        host = self._until("Its address on the network, or its gateway's (192.168.1.20)", _host)
        if protocol is Protocol.MODBUS:
            settings: dict[str, Any] = {"host": host, "port": self._number("Port [502]", 1, 65_535, otherwise=502)}
            passed_on = self._number(
                "Does it speak Modbus TCP (1), or pass on RTU as it is, as plain serial servers do (2)? [1]",
                1,
                2,
                otherwise=1,
            )
            return settings | ({"framing": "rtu"} if passed_on == 2 else {})
        return {"host": host, "port": self._number("Port of the gateway, see its set-up (10001)", 1, 65_535)}

    def _serial(self, protocol: Protocol) -> dict[str, Any]:
        usual = 9_600 if protocol is Protocol.MODBUS else 2_400
        port = self._until("Serial port (/dev/ttyUSB0)", _serial_port)
        baud = self._until(f"Baud [{usual}]", lambda answer: _baud(answer or str(usual), protocol))
        parity = _PARITIES[self._choice("Parity?", _PARITIES)]
        return {"serial": {"port": port, "baud": baud, "parity": parity}}

    def _quantities(self, name: str, entry: Entry) -> dict[str, str]:
        self.say("For each value that is to be read, the key of its meter in the site model; Enter for the one in")
        self.say("brackets, - to leave the value out.")
        while True:
            chosen: dict[str, str] = {}
            for quantity, what in entry.quantities.items():
                default = _NOT_A_KEY.sub("-", f"{name}-{quantity}")[:63]

                def key(answer: str, default: str = default, chosen: dict[str, str] = chosen) -> str | None:
                    if answer == "-":
                        return None
                    said = _key(answer or default)
                    if said in chosen or said in self._meters:
                        raise ValueError(f"{said} is the key of another meter; give each its own")
                    return said

                meter = self._until(f"{quantity}, {what.kind} in {what.unit} [{default}]", key)
                if meter is not None:
                    chosen[meter] = quantity
            if chosen:
                self._meters |= chosen.keys()
                return chosen
            self.say("At least one value is to be read.")

    def _new_name(self, answer: str) -> str:
        if answer in self._names:
            raise ValueError(f"there is a driver {answer} already; give each its own name")
        return _key(answer)

    def _key(self, question: str) -> str:
        return self._until(question, _key)

    def _number(self, question: str, least: int, most: int, *, otherwise: int | None = None) -> int:
        def number(answer: str) -> int:
            if not answer and otherwise is not None:
                return otherwise
            if not answer.isdecimal() or not least <= int(answer) <= most:
                raise ValueError(f"a whole number from {least} to {most}, please")
            return int(answer)

        return self._until(question, number)

    def _choice(self, question: str, choices: Sequence[str]) -> int:
        self.say(question)
        for nth, choice in enumerate(choices, 1):
            self.say(f"  {nth:>2}  {choice}")
        return self._number("Number", 1, len(choices)) - 1

    def _until(self, question: str, read: Callable[[str], T]) -> T:
        while True:
            try:
                return read(self.ask(question).strip())
            except ValueError as error:
                self.say(f"  {error}")


def render(known_text: str, identity: Mapping[str, str], drivers: Sequence[Mapping[str, Any]]) -> str:
    """The file: what stood there, then what was missing, with a word on each setting that one may want to change."""
    return "\n".join(
        [
            *([known_text.rstrip("\n")] if known_text.strip() else list(_head())),
            *(f"{name}: {_plain(value)}" for name, value in identity.items()),
            *(list(_settings()) if not known_text.strip() else []),
            "",
            "drivers:",
            *(line for driver in drivers for line in _driver(driver)),
            _AFTERWARDS,
        ]
    )


def _head() -> Iterator[str]:
    yield "# The agent's configuration; docs/edge.md says all that may stand here. After a change:"
    yield "#   afkobling edge check --config edge.yaml     what is wrong, with line and remedy"
    yield "#   afkobling edge probe --config edge.yaml     live values of each meter, and whether they are plausible"


def _settings() -> Iterator[str]:
    yield "# What is not confirmed yet is kept in this file; at this size the oldest is given up, or reading stops."
    yield "outbox: {path: outbox.sqlite, max_size: 1GB, when_full: drop_oldest}"
    yield "# A poll is on disk after this time; 10s writes less often, which spares a memory card."
    yield "batch: {age: 100ms}"
    yield "# Status page, metrics and health on this port of this device; remove it for none."
    yield "metrics_port: 9101"


def _driver(driver: Mapping[str, Any]) -> Iterator[str]:
    for nth, (name, value) in enumerate(driver.items()):
        start = "  - " if nth == 0 else "    "
        if name == "meters":
            yield f"{start}meters:                # our meter: the value of the profile"
            yield from (f"      {meter}: {quantity}" for meter, quantity in value.items())
        else:
            yield f"{start}{name}: {_plain(value)}"


def _plain(value: object) -> str:
    """As YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _key(answer: str) -> str:
    if not re.fullmatch(KEY_PATTERN, answer):
        raise ValueError("a key has lower-case letters, digits, dot, dash and underscore only, as in cabinet-1")
    return answer


def _host(answer: str) -> str:
    if not answer or any(c.isspace() or c in "/:,;" for c in answer):
        raise ValueError("an address such as 192.168.1.20, or a name; without port and without http://")
    return answer


def _broker(answer: str) -> str:
    parse_broker_url(answer)
    return answer


def _baud(answer: str, protocol: Protocol) -> int:
    known = MODBUS_BAUDS if protocol is Protocol.MODBUS else MBUS_BAUDS
    if not answer.isdecimal() or int(answer) not in known:
        raise ValueError(f"one of {', '.join(map(str, known))}, please")
    return int(answer)


def _serial_port(answer: str) -> str:
    if not answer.startswith("/dev/"):
        raise ValueError(
            "a serial port's name begins with /dev/, as in /dev/ttyUSB0; `ls /dev/serial/by-id` lists them"
        )
    return answer
