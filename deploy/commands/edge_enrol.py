"""`afkobling edge enrol`: this device becomes an agent, with a code."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.commands.db import Subparsers
    from edge.enrolment.enrolling import Enrolment


def add(words: Subparsers) -> None:
    """Add `edge enrol`."""
    enrol = words.add_parser(
        "enrol",
        help="become an agent, with a code from `afkobling agent invite`",
        description="Makes a key on this device, which never leaves it, and exchanges the code for a certificate. "
        "Writes key.pem, certificate.pem, authority.pem and identity.json, and into edge.yaml who the agent is.",
    )
    enrol.add_argument("code", metavar="CODE", help="as it was given, whole and in quotes")
    enrol.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )
    enrol.add_argument("--folder", metavar="FOLDER", help="where the files go (default: beside the configuration)")
    enrol.add_argument("--json", action="store_true", help="print as JSON")
    enrol.set_defaults(run=_enrol)


def _enrol(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime
    from pathlib import Path

    config = Path(arguments.config)
    folder = Path(arguments.folder) if arguments.folder else config.absolute().parent
    _require_library()
    from edge.enrolment.enrolling import enrol

    done = enrol(arguments.code, folder, now=datetime.now(UTC))
    return _write(arguments, done, config)


def _require_library() -> None:
    from edge.errors import EdgePermanentError

    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError as error:
        raise EdgePermanentError("enrolling needs the `edge` extra: pip install 'afkobling[edge]'") from error


def _write(arguments: argparse.Namespace, done: Enrolment, config: Path) -> int:
    import json
    from datetime import UTC, datetime

    from edge.enrolment.writing import Written, wanted, write_configuration

    values = wanted(done.identity, done.folder, config)
    trouble = None
    try:
        written = write_configuration(config, values)
    except (OSError, UnicodeDecodeError) as error:
        trouble = f"{config} could not be written ({error}); it must say:"
        written = Written(changed=(), to_write=tuple(f"{name}: {json.dumps(value)}" for name, value in values.items()))
    identity = done.identity
    until = datetime.fromtimestamp(identity.not_after / 1000, UTC)
    if arguments.json:
        told = identity.model_dump() | {
            "folder": str(done.folder),
            "former": done.aside and str(done.aside),
            "config": str(config),
            "changed": written.changed,
            "to_write": written.to_write,
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 1 if written.to_write else 0
    print(
        f"This device is the agent {identity.address}, with a certificate until {until:%Y-%m-%d}; it renews it itself."
    )
    print(f"  key, certificate and authority   {done.folder}")
    if done.aside:
        print(f"  those of before                  {done.aside}")
    if written.to_write:
        print(trouble or f"{config} could not be changed without disturbing more; write into it:")
        for line in written.to_write:
            print(f"    {line}")
    elif written.changed:
        print(f"  {config} says now                {', '.join(written.changed)}")
    print(f"Next: afkobling edge check --config {config}, then afkobling edge run --config {config}")
    print("(an agent that runs already takes the new certificate by itself, within a minute)")
    return 1 if written.to_write else 0
