"""The `afkobling` command. Each module in `deploy.commands` adds its own words; heavy imports wait until one runs."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from schemas.errors import AfkoblingError

COMMANDS = (
    "demo",
    "stack",
    "db",
    "site",
    "token",
    "agent",
    "edge",
    "collector",
    "rollup",
    "archive",
    "attribute",
    "events",
    "exchange",
    "reading",
    "import_",
    "runs",
    "quality",
    "attribution",
    "intensity",
    "circularity",
    "explain",
    "factors",
    "decompose",
    "alerts",
    "meters",
    "ledger",
    "quarantine",
    "decoupling",
    "drivers",
    "prices",
    "api",
    "schema",
    "bench",
    "chaos",
)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Each command module offers `add(subparsers)` and sets `run` to its handler."""
    parser = argparse.ArgumentParser(
        prog="afkobling",
        description="Measures whether a factory makes more while using less.",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"deploy.commands.{name}").add(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 a stated failure, 2 wrong usage, 130 interrupted."""
    arguments = build_parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
    except AfkoblingError as error:
        print(f"afkobling: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away: nothing is left to tell it.
        sys.stderr.close()
        return 1
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
