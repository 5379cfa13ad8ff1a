"""What a configuration that is sent may not change or name: so it cuts no branch that it sits on, and reads no foreign
file.

Pure but for following links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge.configuration import Configured, EdgeConfiguration
from schemas.configuration import Location, Problem

_FILE_NAMES = {"profile", "mapping"}
"""Settings that are a name of ours or a file of the user's."""
_PRIVATE = (".", "former-", "identity.json", "key.pem")
"""What stands beside edge.yaml or below, by how its name begins, and is the agent's own."""
_DEVICE_NAMES = {"port", "chip"}
"""Settings that are a number or a device of the machine."""
_DEVICE = re.compile(r"/dev/(tty[A-Za-z]+\d*|serial\d+|serial/by-(id|path)/[^/]+|gpiochip\d+)")
_HARMLESS = {"name", "meters", "every", "repeat", "timeout", "longest_wait", "silent_after"}
"""Settings that say nothing of where a password goes."""
_PARENT = re.compile(r"(^|[/\\])\.\.([/\\]|$)")
_TO_DO = "change it on the spot, with `afkobling edge enrol` or by hand"


def changed_branch(present: EdgeConfiguration, sent: EdgeConfiguration) -> Iterator[Problem]:
    """What the agent reaches the server by, and keeps its readings in, is not changed from afar."""
    for name in ("organisation", "site", "agent"):
        if getattr(sent.address, name) != getattr(present.address, name):
            yield Problem(location=(name,), message=f"this agent is {present.address}; it stays what it is")
    if sent.broker != present.broker:
        yield Problem(location=("broker",), message=f"the broker is not changed from afar; {_TO_DO}")
    for name, file in sent.tls:
        if file != getattr(present.tls, name):
            yield Problem(location=("tls", name), message=f"certificates are not changed from afar; {_TO_DO}")
    if sent.outbox.path != present.outbox.path:
        yield Problem(location=("outbox", "path"), message="readings wait in the outbox: its file stays what it is")
    for name in ("metrics_port", "metrics_address"):
        if getattr(sent, name) != getattr(present, name):
            yield Problem(location=(name,), message=f"where the agent shows itself is not changed from afar; {_TO_DO}")


def foreign_places(present: EdgeConfiguration, sent: EdgeConfiguration, config: Path) -> Iterator[Problem]:
    """Files that are not below the configuration's folder or are the agent's own, and variables of the environment.

    What a driver of that kind has as the same setting already, somebody put there on the spot, and so may stay.
    """
    own = {file.resolve() for _, file in present.tls if file is not None}
    private = (*_PRIVATE, config.name, present.outbox.path.name)
    known = {
        (driver.settings.driver, place[-1], str(value))
        for driver in present.drivers
        for place, value in _leaves(driver.settings)
    }
    for i, driver in enumerate(sent.drivers):
        if _has_secret(driver.settings) and not any(_same_but_for_meters(driver, one) for one in present.drivers):
            yield Problem(
                location=("drivers", i),
                message="a password that lies on this machine goes only where the configuration in use sends it: leave "
                f"all of this driver but its meters and times as it is; {_TO_DO}",
            )
        for place, value in _leaves(driver.settings):
            if (driver.settings.driver, place[-1], str(value)) in known:
                continue
            path = _path_in(str(place[-1]), value)
            problem = None
            if path is not None:
                problem = _why_foreign(path, sent.folder, own, private)
            elif isinstance(value, str) and _PARENT.search(value):
                problem = "`..` leads out of the configuration's folder"
            elif isinstance(value, str) and place[-1] == "variable":
                problem = f"the variable {value} of the environment is not read so far; {_TO_DO}"
            if problem is not None:
                yield Problem(location=("drivers", i, *place), message=problem)


def _why_foreign(path: Path, folder: Path, own: set[Path], private: tuple[str, ...]) -> str | None:
    if _DEVICE.fullmatch(str(path)):
        return None
    home = folder.resolve()
    file = (home / path).resolve()
    if file == home or not file.is_relative_to(home):
        return f"{path} is not below the configuration's folder; what is sent from afar may name files there only"
    # The outbox may lie deeper.
    if file in own or any(part.startswith(private) for part in file.relative_to(home).parts):
        return f"{path} is a file of the agent itself, which no driver reads"
    return None


def _has_secret(value: Any) -> bool:
    """Whether a setting tells where a password stands: in a `file`, or in a `variable` of the environment."""
    match value:
        case BaseModel():
            names = set(type(value).model_fields)
            return names == {"file", "variable"} or any(_has_secret(inner) for _, inner in value)
        case Mapping():
            return any(_has_secret(inner) for inner in value.values())
        case list() | tuple():
            return any(_has_secret(inner) for inner in value)
        case _:
            return False


def _same_but_for_meters(sent: Configured, present: Configured) -> bool:
    return sent.settings.model_dump(exclude=_HARMLESS) == present.settings.model_dump(exclude=_HARMLESS)


def _path_in(name: str, value: Any) -> Path | None:
    """The file that a setting names; None where it names none."""
    match value:
        case Path():
            return value
        case str() if name in _FILE_NAMES and re.search(r"[/\\.]", value):
            return Path(value)
        case str() if name in _DEVICE_NAMES and value.startswith("/"):
            return Path(value)
        case _:
            return None


def _leaves(value: Any, place: Location = ()) -> Iterator[tuple[Location, Any]]:
    match value:
        case BaseModel():
            for name, inner in value:
                yield from _leaves(inner, (*place, name))
        case Mapping():
            for name, inner in value.items():
                yield from _leaves(inner, (*place, str(name)))
        case list() | tuple() | set() | frozenset():
            for i, inner in enumerate(value):
                yield from _leaves(inner, (*place, i))
        case _:
            yield place, value
