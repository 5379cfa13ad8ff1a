"""`afkobling agent`: let agents in, see how they are, and send them away."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from deploy.commands.at_site import RefusedError, author, checked, in_database, print_answer
from deploy.commands.organisations import add_organisation_options, find_organisation

if TYPE_CHECKING:
    from api.agents.invitations import AgentAnswer, InvitationAnswer
    from api.agents.store import Invited
    from api.agents.trust import Trust
    from api.database import Connection
    from deploy.commands.db import Subparsers

Result = TypeVar("Result")
Work = Callable[["Connection", int, str, "Trust"], Awaitable[Result]]
"""Connection, number and key of the organisation, and what it takes to let agents in."""

_SETTINGS = ("database_url", "broker_url", "agent_broker_url", "authority_dir")


def add(subparsers: Subparsers) -> None:
    """Add `agent invite`, `list`, `withdraw`, `revoke` and `reconcile`."""
    parser = subparsers.add_parser("agent", help="let agents in, see how they are, and send them away")
    words = parser.add_subparsers(metavar="WORD", required=True)
    invite = words.add_parser(
        "invite",
        help="a code with which one device enrols as an agent",
        description="Prints the line to type at the device. The code is good for one enrolment, and told this once. "
        "A code that is open for the same agent is worth nothing any more.",
    )
    invite.add_argument("--site", metavar="KEY", help="where the agent is (default: the organisation's only site)")
    invite.add_argument("--agent", required=True, metavar="KEY", help="what the agent is called")
    invite.add_argument(
        "--valid", default="24h", metavar="SPAN", help="how long the code is good (default: %(default)s)"
    )
    invite.add_argument(
        "--server", metavar="URL", help="where the device reaches the API (default: AFKOBLING_PUBLIC_URL)"
    )
    _finish(invite, _invite)
    invite.add_argument("--author", metavar="NAME", help="who invites (default: the name of your account here)")
    listed = words.add_parser("list", help="agents, their certificates, and how they say they are")
    listed.add_argument("--site", metavar="KEY", help="of this site only")
    _finish(listed, _list)
    withdraw = words.add_parser("withdraw", help="make an agent's open code worth nothing")
    _add_agent(withdraw)
    _finish(withdraw, _withdraw)
    revoke = words.add_parser(
        "revoke",
        help="end an agent's certificate, at the broker at once",
        description="Ends the agent's certificate, open code and connection. What it has sent stays. `agent invite` "
        "lets it in again.",
    )
    _add_agent(revoke)
    revoke.add_argument("--because", default="", metavar="TEXT", help="why, for whoever looks later")
    revoke.add_argument("--author", metavar="NAME", help="who says so (default: the name of your account here)")
    _finish(revoke, _revoke)
    reconcile = words.add_parser(
        "reconcile",
        help="bring the broker's list of agents to what the database says",
        description="For a broker that was made anew or brought back from a backup. A running API does it by itself, "
        "every 15 minutes. Agents of organisations that this database does not have are left alone.",
    )
    _finish(reconcile, _reconcile)
    importlib.import_module("deploy.commands.agent_configuration").add_words(words)


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="[SITE/]AGENT", help="which agent, as `afkobling agent list` shows it")


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int | None]) -> None:
    parser.add_argument("--json", action="store_true", help="print what the API would answer")
    add_agent_options(parser)
    parser.set_defaults(run=run)


def add_agent_options(parser: argparse.ArgumentParser) -> None:
    """Add `--organisation` and `--database-url`, which `with_trust` reads."""
    add_organisation_options(parser)
    parser.set_defaults(broker_url=None, agent_broker_url=None, authority_dir=None)


def with_trust(arguments: argparse.Namespace, work: Work[Result]) -> Result:
    """Do the work for the organisation that is meant. Raises as `at_organisation` does, and ProblemError."""
    from api.agents.settings import AgentSettings
    from api.agents.trust import make_trust
    from deploy.commands.settings import read_settings

    own = argparse.Namespace(**{**vars(arguments), "settings": _SETTINGS[1:]})
    trust = make_trust(read_settings(AgentSettings, own))

    async def find_and_work(connection: Connection) -> Result:
        number, key = await find_organisation(connection, arguments.organisation)
        return await work(connection, number, key, trust)

    return in_database(arguments, find_and_work)


def _invite(arguments: argparse.Namespace) -> None:
    from api.agents import invitations

    server = _server(arguments.server)
    by = author(arguments)

    async def work(connection: Connection, number: int, organisation: str, trust: Trust) -> InvitationAnswer:
        site = arguments.site or await _only_site(connection, number)
        asked = checked(invitations.InvitationAsked, site=site, agent=arguments.agent, valid=arguments.valid)
        who = invitations.invited(number, organisation, asked.site, asked.agent)
        valid = timedelta(milliseconds=asked.valid)
        return await invitations.invite(connection, who, trust, server=server, author=by, valid=valid)

    made = with_trust(arguments, work)
    if arguments.json:
        print_answer(made)
        return
    print(
        f"At the device of {made.organisation}/{made.site}/{made.agent}, before {made.expires_at:%Y-%m-%d %H:%M} UTC:"
    )
    print(f"\n    {made.command}\n")
    for remark in made.remarks:
        print(f"Note: {remark}.")


def _server(given: str | None) -> str:
    import os

    from pydantic import TypeAdapter, ValidationError

    from api.agents.settings import ServerUrl

    text = given or os.environ.get("AFKOBLING_PUBLIC_URL")
    if not text:
        raise RefusedError(
            "say where the device reaches this server's API: --server http://192.168.1.5:8080, with this machine's own "
            "address, or set AFKOBLING_PUBLIC_URL once (the demo prints its address at its start)"
        )
    try:
        return TypeAdapter[str](ServerUrl).validate_python(text)
    except ValidationError as error:
        raise RefusedError(f"{text!r} is not the address of a server; write it like http://192.168.1.5:8080") from error


async def _only_site(connection: Connection, organisation_id: int) -> str:
    from api.site_store import sites

    rows = await sites(connection, organisation_id=organisation_id, after="", limit=2)
    if len(rows) != 1:
        raise RefusedError("say at which site the agent is: --site KEY")
    return str(rows[0]["id"])


def _list(arguments: argparse.Namespace) -> None:
    from api.agents import invitations
    from api.cursor import Page

    async def work(connection: Connection, number: int, _organisation: str, _trust: Trust) -> list[AgentAnswer]:
        return await invitations.agents(connection, number, site=arguments.site)

    found = with_trust(arguments, work)
    if arguments.json:
        print_answer(Page(items=found, next=None))
        return
    for agent in found:
        print(f"{agent.site}/{agent.agent}  {_certificate(agent)}  {_seen(agent)}")
        for line in _remarks(agent):
            print(f"    {line}")
    if not found:
        print("no agents; `afkobling agent invite` lets one in")


def _certificate(agent: AgentAnswer) -> str:
    from datetime import UTC, datetime

    match agent.state:
        case "valid" if agent.until is not None:
            days = (agent.until - datetime.now(UTC)).days
            return f"certificate until {agent.until:%Y-%m-%d} ({days} days)"
        case "expired" if agent.until is not None:
            return f"certificate expired on {agent.until:%Y-%m-%d}"
        case "revoked" if agent.revoked_at is not None:
            because = f": {agent.because}" if agent.because else ""
            return f"revoked on {agent.revoked_at:%Y-%m-%d %H:%M} UTC by {agent.revoked_by}{because}"
        case _:
            return "no certificate"


def _seen(agent: AgentAnswer) -> str:
    if agent.seen_at is None:
        return "not heard yet"
    return f"{'online' if agent.is_online else 'offline'}, heard {agent.seen_at:%Y-%m-%d %H:%M} UTC"


def _remarks(agent: AgentAnswer) -> list[str]:
    found = [agent.alarm] if agent.alarm else []
    if agent.broker_untold:
        found.append("the broker has not been told of the end yet; see that it runs, or `afkobling agent reconcile`")
    if agent.invited_until is not None:
        found.append(f"a code is open until {agent.invited_until:%Y-%m-%d %H:%M} UTC")
    found += agent.problems or []
    if agent.silent_meters:
        found.append(f"silent meters: {', '.join(agent.silent_meters)}")
    return found


def _withdraw(arguments: argparse.Namespace) -> None:
    from api.agents import invitations

    async def work(connection: Connection, number: int, organisation: str, _trust: Trust) -> tuple[Invited, bool]:
        who = await find_agent(connection, number, organisation, arguments.agent)
        return who, (await invitations.withdraw(connection, who)).was_open

    who, was_open = with_trust(arguments, work)
    if arguments.json:
        print_answer(invitations.WithdrawnAnswer(was_open=was_open))
    elif was_open:
        print(f"the code for {who.address} is worth nothing now")
    else:
        print(f"there was no open code for {who.address}")


def _revoke(arguments: argparse.Namespace) -> int:
    from api.agents import certificates, invitations

    by = author(arguments)

    async def work(
        connection: Connection, number: int, organisation: str, trust: Trust
    ) -> tuple[Invited, certificates.Revoked]:
        who = await find_agent(connection, number, organisation, arguments.agent)
        return who, await certificates.revoke(connection, who, trust, author=by, because=arguments.because)

    who, done = with_trust(arguments, work)
    if arguments.json:
        print_answer(invitations.RevokedAnswer(was_valid=done.was_valid, broker_untold=done.broker_untold))
        return 1 if done.broker_untold else 0
    print(f"{who.address} is revoked" if done.was_valid else f"{who.address} had no valid certificate")
    if done.broker_untold:
        print(
            f"The broker does not know of it yet: {done.broker_untold}. A running API tells it within a minute of its "
            "return; `afkobling agent reconcile` does it now."
        )
        return 1
    return 0


async def find_agent(connection: Connection, number: int, organisation: str, named: str) -> Invited:
    """The agent that is meant. Raises RefusedError where none or more than one could be."""
    from api.agents import invitations

    site, _, agent = named.rpartition("/")
    found = await invitations.agents(connection, number, site=site or None, agent=agent)
    if len(found) == 1:
        return invitations.invited(number, organisation, found[0].site, found[0].agent)
    if not found:
        raise RefusedError(f"there is no agent {named!r}; `afkobling agent list` shows those that there are")
    listed = ", ".join(f"{one.site}/{one.agent}" for one in found)
    raise RefusedError(f"more than one agent could be meant; name the site, too: {listed}")


def _reconcile(arguments: argparse.Namespace) -> None:
    import json

    from api.agents import certificates
    from api.agents.broker_access import Reconciled

    async def work(connection: Connection, _number: int, _organisation: str, trust: Trust) -> Reconciled:
        return await certificates.reconcile(connection, trust)

    done = with_trust(arguments, work)
    if arguments.json:
        print(json.dumps({"admitted": done.admitted, "expelled": done.expelled}))
    else:
        print(f"the broker's list is as the database says: {done.admitted} let in, {done.expelled} sent away")
