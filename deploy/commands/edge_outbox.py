"""`afkobling edge outbox`: how full an agent's outbox is, and its file for another version of Afkobling."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    outbox = words.add_parser(
        "outbox",
        help="bring the outbox to the format of an older version, before that is installed",
        description="Before an older version of Afkobling is installed, bring the outbox to the format that it knows: "
        "everything in it stays. A newer version does so by itself when it opens the file. The agent must be stopped.",
    )
    outbox.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )
    outbox.add_argument("--to-format", required=True, type=int, metavar="N", help="the format to bring it to")
    outbox.set_defaults(run=_to_format)


def _to_format(arguments: argparse.Namespace) -> int:
    import os

    from edge.configuration import load_configuration
    from edge.outbox_file import to_format

    configuration = load_configuration(Path(arguments.config), os.environ)
    path = configuration.outbox.path
    to_format(path, arguments.to_format)
    print(f"{path} has format {arguments.to_format} now; everything in it is still there")
    return 0
