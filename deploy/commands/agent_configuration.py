"""`afkobling agent configure`, `agent configuration`: what an agent runs with, sent from here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.commands import agent as agents
from deploy.commands.at_site import RefusedError, author, print_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.agents.configurations import ConfigurationAnswer
    from api.agents.store import Invited
    from api.agents.trust import Trust
    from api.database import Connection
    from schemas.wire import Configuration

_MOST = 100


def add_words(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `configure` and `configuration`."""
    configure = words.add_parser(
        "configure",
        help="send an agent what it is to run with",
        description="Checks the file, signs it with the organisation's authority and sends it. The agent takes it as a "
        "whole on trial, or refuses it and says why; when meters stop reading with it, it goes back to what it had. "
        "organisation, site, agent, broker, tls, outbox.path and metrics_port stay what they are there, and may be "
        "left out. Passwords do not belong into it.",
    )
    configure.add_argument("agent", metavar="[SITE/]AGENT", help="which agent, as `afkobling agent list` shows it")
    configure.add_argument("file", metavar="FILE", help="the whole of its edge.yaml")
    configure.add_argument("--because", default="", metavar="TEXT", help="why, for whoever looks later")
    configure.add_argument("--author", metavar="NAME", help="who says so (default: the name of your account here)")
    _finish(configure)
    configure.set_defaults(run=_configure)
    configuration = words.add_parser(
        "configuration",
        help="what an agent was sent, and what became of it",
        description="Exit status 1 when the latest was refused or taken back.",
    )
    configuration.add_argument("agent", metavar="[SITE/]AGENT", help="which agent, as `afkobling agent list` shows it")
    configuration.add_argument("--history", action="store_true", help=f"all versions, the last {_MOST} at most")
    configuration.add_argument("--body", action="store_true", help="print the text of the latest, to edit it")
    configuration.add_argument(
        "--publish", action="store_true", help="send the latest again, as when the broker lost what it kept"
    )
    _finish(configuration)
    configuration.set_defaults(run=_configuration)


def _finish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON")
    agents.add_agent_options(parser)


def _configure(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from api.agents import configurations
    from edge.care.checking import SentRefusedError, check_settings

    body = _read(Path(arguments.file))
    by = author(arguments)

    async def work(
        connection: Connection, number: int, organisation: str, trust: Trust
    ) -> tuple[Invited, Configuration]:
        who = await agents.find_agent(connection, number, organisation, arguments.agent)
        try:
            check_settings(body, who.address, name=arguments.file)
        except SentRefusedError as error:
            raise RefusedError(f"{error}\nnothing was sent") from error
        authority = await trust.authority_of(organisation)
        message = await configurations.send(
            connection, who, authority, body=body, author=by, because=arguments.because, now=datetime.now(UTC)
        )
        return who, message

    who, message = agents.with_trust(arguments, work)
    _publish(arguments, who, message)
    if arguments.json:
        import json

        print(json.dumps({"agent": str(who.address), "version": message.version}))
    else:
        print(
            f"version {message.version} is sent to {who.address}; what becomes of it: `afkobling agent configuration "
            f"{who.address.site}/{who.address.agent}`"
        )
    return 0


def _configuration(arguments: argparse.Namespace) -> int:
    from api.agents import configurations
    from api.agents.configurations import Fate
    from api.cursor import Page

    async def work(
        connection: Connection, number: int, organisation: str, _trust: Trust
    ) -> tuple[Invited, list[ConfigurationAnswer], Configuration | None]:
        who = await agents.find_agent(connection, number, organisation, arguments.agent)
        found = await configurations.history(connection, who, limit=_MOST if arguments.history else 1)
        return who, found, await configurations.latest(connection, who)

    who, found, latest = agents.with_trust(arguments, work)
    if latest is None:
        raise RefusedError(
            f"{who.address} was sent no configuration: it runs with the file on its machine; `afkobling agent "
            "configure` sends one"
        )
    if arguments.publish:
        _publish(arguments, who, latest)
    if arguments.body:
        print(latest.body, end="")
    elif arguments.json:
        print_answer(Page(items=found, next=None))
    else:
        _tell(who, found)
        if arguments.publish:
            print(f"version {latest.version} is sent again")
    return 1 if found[0].fate in {Fate.REFUSED, Fate.ROLLED_BACK} else 0


def _tell(who: Invited, found: Sequence[ConfigurationAnswer]) -> None:
    words = {
        "unheard": "the agent has not said that it got it; is it online? (`afkobling agent list`; --publish sends it "
        "again)",
        "on_trial": "on trial: the agent waits for its meters to read again",
        "applied": "in use",
        "refused": "refused; the agent runs with what it had",
        "rolled_back": "taken back; the agent runs with what it had before",
        "replaced": "replaced by a later one",
        "changed_there": "the file was changed on the agent's machine since",
    }
    print(who.address)
    for one in found:
        because = f", because {one.because}" if one.because else ""
        print(f"  version {one.version}, {one.sent_at:%Y-%m-%d %H:%M} UTC by {one.author}{because}")
        print(f"    {words[one.fate]}" + (" (it runs with it)" if one.running and one.fate == "replaced" else ""))
        for line in (one.reason or "").splitlines():
            print(f"    {line}")


def _publish(arguments: argparse.Namespace, who: Invited, message: Configuration) -> None:
    from api.agents.configurations import payload_of
    from api.agents.settings import AgentSettings
    from api.agents.telling import UntoldError, tell
    from deploy.commands.settings import read_settings
    from schemas.broker_url import parse_broker_url
    from schemas.topics import Kind

    settings = read_settings(AgentSettings, argparse.Namespace(**{**vars(arguments), "settings": ("broker_url",)}))
    again = f"`afkobling agent configuration {who.address.site}/{who.address.agent} --publish` sends it"
    if settings.broker_url is None:
        raise RefusedError(
            f"version {message.version} is signed and kept, and not sent, as no broker is named: set "
            f"AFKOBLING_BROKER_URL; then {again}"
        )
    try:
        tell(
            parse_broker_url(settings.broker_url),
            settings.broker_tls,
            who.address.topic(Kind.CONFIGURATION),
            payload_of(message),
        )
    except UntoldError as error:
        raise RefusedError(f"version {message.version} is signed and kept, and not sent: {error}; {again}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RefusedError(f"{file} is not UTF-8 text: {error}; save it as UTF-8") from error
