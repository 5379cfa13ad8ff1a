"""`afkobling edge init`: asks what there is to read, and writes edge.yaml."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    init = words.add_parser(
        "init",
        help="ask what there is to read, and write edge.yaml",
        description="Asks for each meter and writes a commented edge.yaml. What `edge enrol` wrote there stays.",
    )
    init.add_argument("--config", default="edge.yaml", metavar="FILE", help="the file to write (default: here)")
    init.add_argument("--force", action="store_true", help="write it anew although it has drivers; the old one is kept")
    init.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from edge.commissioning.interview import AnswersEndedError, Interview, render
    from edge.errors import EdgePermanentError

    path = Path(arguments.config)
    text = _existing(path, force=arguments.force)
    interview = Interview(ask=_ask, say=_say)
    try:
        identity = interview.identity(_known(text, path))
        drivers = interview.drivers()
    except AnswersEndedError:
        raise EdgePermanentError("the answers ended before the questions; nothing was written") from None
    if not drivers:
        raise EdgePermanentError("nothing is to be read; nothing was written")
    _write(path, render(text, identity, drivers))
    return _check(path)


def _ask(question: str) -> str:
    import sys

    from edge.commissioning.interview import AnswersEndedError

    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise AnswersEndedError
    return line


def _say(words: str) -> None:
    import sys

    print(words, file=sys.stderr)


def _existing(path: Path, *, force: bool) -> str:
    """What stands there and stays: nothing, or what enrolling wrote."""
    from edge.errors import EdgePermanentError

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise EdgePermanentError(f"{path} cannot be read: {error}") from error
    known = _known(text, path)
    if not known.get("drivers"):
        if "drivers" not in known:
            return text
        raise EdgePermanentError(f"{path} has a line `drivers` with nothing in it; remove that line first")
    if force:
        return ""
    raise EdgePermanentError(
        f"{path} has drivers already; change it by hand, see docs/edge.md, or write it anew with --force"
    )


def _known(text: str, path: Path) -> dict[str, Any]:
    import yaml

    from edge.errors import EdgePermanentError

    try:
        found = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise EdgePermanentError(f"{path} is not valid YAML: {error}; mend it, or move it away") from error
    if not isinstance(found, dict):
        raise EdgePermanentError(f"{path} has no `name: value` lines; move it away")
    return found


def _write(path: Path, text: str) -> None:
    """Whole or not at all; what stood there is kept beside it."""
    from edge.durable_files import write_durably
    from edge.errors import EdgePermanentError

    before = path.with_name(f"{path.name}.before-init")
    try:
        if path.exists():
            write_durably(before, path.read_bytes(), like=path)
        write_durably(path, text, like=path if path.exists() else None)
    except OSError as error:
        raise EdgePermanentError(
            f"{path} cannot be written: {error.strerror}; use the account that the agent runs as, or another --config"
        ) from error
    print(f"{path} is written")


def _check(path: Path) -> int:
    import os
    import sys

    from edge.checking import check

    found = check(path, os.environ)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if found.problems:
        return 1
    print(
        f"{len(found.meters)} meters. Next: afkobling edge probe --config {path}, "
        f"then afkobling edge run --config {path}"
    )
    return 0
