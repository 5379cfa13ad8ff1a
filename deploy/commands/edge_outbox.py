"""`afkobling edge outbox`: its file for another version of Afkobling, and what a damaged one still holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.configuration import OutboxSettings


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    outbox = words.add_parser(
        "outbox",
        help="bring the outbox to an older version's format, or take back what a damaged one still holds",
        description="While the agent is stopped: before an older version of Afkobling is installed, bring the outbox "
        "to the format that it knows (a newer version does so by itself); or take back the readings of an outbox file "
        "that was damaged and moved aside.",
    )
    outbox.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )
    which = outbox.add_mutually_exclusive_group(required=True)
    which.add_argument("--to-format", type=int, metavar="N", help="the format to bring it to")
    which.add_argument(
        "--take-back", metavar="FILE", help="a file …damaged-DATE: what can be read of it goes into the outbox again"
    )
    outbox.set_defaults(run=_outbox)


def _outbox(arguments: argparse.Namespace) -> int:
    import os

    from edge.configuration import load_configuration

    settings = load_configuration(Path(arguments.config), os.environ).outbox
    if arguments.take_back is not None:
        return _take_back(Path(arguments.take_back), settings)
    from edge.outbox_file import to_format

    to_format(settings.path, arguments.to_format)
    print(f"{settings.path} has format {arguments.to_format} now; everything in it is still there")
    return 0


def _take_back(damaged: Path, settings: OutboxSettings) -> int:
    from contextlib import closing

    from edge.drivers import now_ms
    from edge.outbox import Outbox, WhenFull
    from edge.outbox_rescue import take_back

    # Nothing is given up for what comes back: where there is no room, it says so, and the rest can come later.
    opened = Outbox(settings.path, max_bytes=settings.max_size, when_full=WhenFull.STOP_READING, now_ms=now_ms)
    with closing(opened) as outbox:
        found = take_back(damaged, outbox, now_ms=now_ms)
    print(f"{found.readings} readings of {found.messages} messages are in {settings.path} again and go out with it")
    if found.gone:
        print(f"{found.gone} messages are gone: damaged, or given up at the size limit before; keep {damaged}")
    return 0
