"""`afkobling schema write`: the JSON Schemas in `schemas/json/`, from the models."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.commands.db import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add `schema write`."""
    parser = subparsers.add_parser("schema", help="JSON Schemas of the messages and the site model")
    words = parser.add_subparsers(metavar="WORD", required=True)
    write = words.add_parser("write", help="write schemas/json/*.schema.json")
    write.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    write.set_defaults(run=_write)


def _write(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    import schemas.json
    from schemas.json_schema import render

    folder = Path(schemas.json.__file__).parent
    rendered = render()
    stale = [name for name, text in rendered.items() if _text(folder / name) != text]
    strangers = sorted(path.name for path in folder.glob("*.schema.json") if path.name not in rendered)
    for name in stale:
        if not arguments.check:
            (folder / name).write_text(rendered[name], encoding="utf-8")
        print(f"{'not current' if arguments.check else 'wrote'}: {folder / name}")
    for name in strangers:
        print(f"no model stands behind it, remove it: {folder / name}")
    if arguments.check and (stale or strangers):
        print("run: afkobling schema write")
        return 1
    return 0


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
