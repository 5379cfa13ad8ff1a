"""`afkobling stack`: a real TimescaleDB and a real Mosquitto on this machine, without Docker and without root."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.stack import ServerStatus, StackStatus


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `stack` and its words to the command line."""
    parser = subparsers.add_parser(
        "stack",
        help="start and stop a local database and broker",
        description="A local TimescaleDB and Mosquitto, downloaded on first use and offline from then on. Servers"
        " named in AFKOBLING_DATABASE_URL and AFKOBLING_BROKER_URL are checked and used instead.",
    )
    words = parser.add_subparsers(title="words", metavar="WORD", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the stack's data folder (else AFKOBLING_DATA_DIR, else this user's default)",
    )
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    for name, run, text in (
        ("up", run_up, "start both servers and print their addresses"),
        ("down", run_down, "stop both servers"),
        ("status", run_status, "show what runs, where, and in which version"),
        ("reset", run_reset, "stop both servers and delete all their data"),
    ):
        word = words.add_parser(name, help=text, description=text, parents=[common])
        word.set_defaults(run=run)
        if name == "reset":
            word.add_argument("--yes", action="store_true", help="delete without asking")


def run_up(arguments: argparse.Namespace) -> int:
    """Start what is not running; print the addresses, those of database and broker with their passwords."""
    from deploy import stack

    endpoints = stack.up(arguments.data)
    if arguments.json:
        _print_json(
            {
                "database_url": endpoints.database_url,
                "broker_url": endpoints.broker_url,
                "agent_broker_url": endpoints.agent_broker_url,
                "authority_dir": None if endpoints.authority_dir is None else str(endpoints.authority_dir),
            }
        )
    else:
        print(f"database  {endpoints.database_url}")
        print(f"broker    {endpoints.broker_url}")
        if endpoints.agent_broker_url:
            print(f"agents    {endpoints.agent_broker_url} (with certificates: afkobling agent invite)")
    return 0


def run_down(arguments: argparse.Namespace) -> int:
    """Stop what is running."""
    from deploy import stack

    stack.down(arguments.data)
    if arguments.json:
        _print_json(stack.status(arguments.data).as_json())
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    """Show the stack, running or not."""
    from deploy import stack

    status = stack.status(arguments.data)
    if arguments.json:
        _print_json(status.as_json())
    else:
        print(_describe(status))
    return 0


def run_reset(arguments: argparse.Namespace) -> int:
    """Delete the data folder, after --yes or a yes from the terminal."""
    from deploy import stack

    folder = stack.status(arguments.data).data_dir
    if not arguments.yes:
        if not sys.stdin.isatty():
            print(
                f"afkobling: reset deletes {folder} with all that is stored. Say so with --yes.",
                file=sys.stderr,
            )
            return 2
        answer = input(f"Delete {folder} with all that is stored? Type yes: ")
        if answer.strip().lower() != "yes":
            print("Nothing was deleted.", file=sys.stderr)
            return 1
    deleted = stack.reset(arguments.data)
    if arguments.json:
        _print_json({"data_dir": str(folder), "deleted": deleted})
    return 0


def _describe(status: StackStatus) -> str:
    timescaledb = f"TimescaleDB {status.timescaledb or 'unknown'}"
    if status.timescaledb_license:
        timescaledb += f" ({status.timescaledb_license} license)"
    return "\n".join(
        [
            f"data      {status.data_dir}",
            f"programs  {status.runtime_dir or 'not downloaded yet: afkobling stack up'}",
            *_describe_server("database", "PostgreSQL", status.database),
            f"          {timescaledb}",
            *_describe_server("broker", "Mosquitto", status.broker),
            *_describe_agents(status),
        ]
    )


def _describe_agents(status: StackStatus) -> list[str]:
    if status.agent_broker_url is None:
        return []
    return [f"agents    {status.agent_broker_url}", f"          authority {status.authority_dir or 'not named'}"]


def _describe_server(label: str, name: str, server: ServerStatus) -> list[str]:
    if server.given:
        where = "given by the environment, answers" if server.running else "given by the environment"
    elif server.running:
        where = f"running, process {server.pid}, port {server.port}"
    else:
        where = "not running"
    product = "" if server.given and label == "broker" and not server.version else f"{name} "
    lines = [f"{label:<9} {product}{server.version or '(version unknown)'}, {where}"]
    if server.url and (server.running or server.given):
        lines.append(f"          {server.url}")
    if server.trouble:
        lines.append(f"          {server.trouble}")
    return lines


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
