"""Options that stand for settings, and settings from options, environment and the local stack, in that order."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    Settings = TypeVar("Settings", bound=BaseSettings)

_HELP = {
    "database_url": "postgresql://… (default: AFKOBLING_DATABASE_URL, else the local stack)",
    "broker_url": "mqtt://host:port (default: AFKOBLING_BROKER_URL, else the local stack)",
}


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


def environment_with_stack() -> dict[str, str]:
    """The environment, with the running local stack's addresses where it names no servers itself."""
    found = _local_stack(("database_url", "broker_url"))
    return {f"AFKOBLING_{name.upper()}": url for name, url in found.items()} | dict(os.environ)


def _local_stack(names: tuple[str, ...]) -> dict[str, str]:
    """Addresses of the running local stack, for those that neither options nor environment give."""
    wanted = [n for n in ("database_url", "broker_url") if n in names and f"AFKOBLING_{n.upper()}" not in os.environ]
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
    return {name: getattr(found, name) for name in wanted}
