"""Options that stand for settings, and settings from options, environment and the local stack, in that order."""

from __future__ import annotations

import argparse
import os
from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    Settings = TypeVar("Settings", bound=BaseSettings)

_HELP = {
    "database_url": "postgresql://… (default: AFKOBLING_DATABASE_URL, else the local stack)",
    "broker_url": "mqtt://user:password@host:port (default: AFKOBLING_BROKER_URL, else the local stack)",
}
_OF_THE_STACK = ("database_url", "broker_url", "agent_broker_url", "authority_dir")


def add_server_options(parser: argparse.ArgumentParser, *names: str, metrics: str | None = None) -> None:
    """Add `--database-url` and the like; each is named after the setting that it overrides."""
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="URL", help=_HELP[name])
    if metrics:
        parser.add_argument(
            "--metrics-port", dest=metrics, metavar="PORT", type=int, help="serve metrics and health on 127.0.0.1:PORT"
        )
    parser.set_defaults(settings=(*names, *((metrics,) if metrics else ())))


def read_settings(model: type[Settings], arguments: argparse.Namespace) -> Settings:
    """The validated settings of a process. Raises PermanentError that names each bad setting and its variable."""
    from pydantic import ValidationError

    from schemas.errors import PermanentError

    given = {name: getattr(arguments, name) for name in arguments.settings if getattr(arguments, name) is not None}
    given = _local_stack(arguments.settings) | given
    try:
        return model(**given)
    except ValidationError as error:
        lines = [
            f"setting AFKOBLING_{'_'.join(str(step) for step in e['loc']).upper()}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise PermanentError("\n".join(lines)) from error


def future_tolerance_ms() -> int:
    """How far ahead of this clock readings are taken, as the collector takes them. Raises PermanentError."""
    from collector.settings import CheckSettings

    return read_settings(CheckSettings, argparse.Namespace(settings=())).future_tolerance_ms


def environment_with_stack() -> Mapping[str, str]:
    """The environment, with the running local stack's addresses where it names no servers itself.

    The stack is asked when one of them is looked up: an agent that knows its broker starts without its libraries.
    """
    return ChainMap(dict(os.environ), _StackAddresses())


class _StackAddresses(dict[str, str]):
    """Empty until a variable of the stack's is looked up."""

    def __missing__(self, variable: str) -> str:
        name = variable.removeprefix("AFKOBLING_").lower()
        return _local_stack((name,))[name]

    def __contains__(self, variable: object) -> bool:
        name = str(variable).removeprefix("AFKOBLING_").lower()
        return name in _OF_THE_STACK and name in _local_stack((name,))


def _local_stack(names: tuple[str, ...]) -> dict[str, str]:
    """What the running local stack has of that which neither options nor environment give."""
    wanted = [n for n in _OF_THE_STACK if n in names and f"AFKOBLING_{n.upper()}" not in os.environ]
    if not wanted:
        return {}
    try:
        from deploy.stack import StackError, endpoints
    except ImportError:
        return {}  # an agent alone: the stack's libraries come with the server extra

    try:
        found = endpoints()
    except StackError:
        return {}
    return {name: str(value) for name in wanted if (value := getattr(found, name)) is not None}
