"""How a command gives its answer: in words, or as the API would give it, as JSON, CSV, Parquet or Arrow."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deploy.commands.at_site import RefusedError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from pydantic import BaseModel

    Given = TypeVar("Given", bound=BaseModel)

WORDS = "table"
FORMATS = (WORDS, "json", "csv", "parquet", "arrow")
_SUFFIXES = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".arrows": "arrow"}


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add `--format`, `--output`, `--table` and `--json`, which `give` reads."""
    parser.add_argument(
        "--format", choices=FORMATS, help="default: what the name of --output says, else a table to read"
    )
    parser.add_argument("--json", action="store_true", help="the same as --format json: what the API would answer")
    parser.add_argument("--output", metavar="FILE", help="write it there (default: to the terminal)")
    parser.add_argument(
        "--table",
        metavar="LIST",
        help="which list of the answer csv, parquet and arrow hold (default: the first, items)",
    )


def give(
    arguments: argparse.Namespace,
    answer: Given,
    words: Callable[[Given], None],
    *,
    model: type[BaseModel] | None = None,
    period: str | None = None,
    zone: ZoneInfo | None = None,
) -> None:
    """Give the answer as it was asked for; `words` prints it for people, in the time of `zone` (None: in UTC).

    `model` is what the API answers with where that is not the answer's own class, as `Page[RunAnswer]` of a `Page`.
    `period` stands in the metadata of Parquet and Arrow. Raises RefusedError.
    """
    chosen = chosen_format(arguments)
    if chosen == WORDS:
        if arguments.table is not None:
            raise RefusedError("--table is for csv, parquet and arrow; choose one of them with --format")
        content = _printed(words, answer if zone is None else in_zone(answer, zone))
    else:
        content = _written(arguments, answer, model or type(answer), chosen, period)
    _put(arguments.output, content)
    following = getattr(answer, "next", None)
    if following and chosen != "json":
        print("this is not all: there is another page; ask for more with --limit, or a shorter period", file=sys.stderr)


def chosen_format(arguments: argparse.Namespace) -> str:
    """One of FORMATS. Raises RefusedError for options that contradict each other, and for a binary terminal."""
    if arguments.json and arguments.format not in {None, "json"}:
        raise RefusedError(f"--json and --format {arguments.format} contradict each other; leave one out")
    by_name = _SUFFIXES.get(Path(arguments.output).suffix.lower()) if arguments.output else None
    chosen: str = "json" if arguments.json else arguments.format or by_name or WORDS
    if chosen in {"parquet", "arrow"} and not arguments.output and sys.stdout.isatty():
        raise RefusedError(f"{chosen} is not for a terminal; name a file with --output, or pipe it on")
    return chosen


def _printed(words: Callable[[Given], None], answer: Given) -> bytes:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        words(answer)
    return printed.getvalue().encode()


def _written(
    arguments: argparse.Namespace, answer: BaseModel, model: type[BaseModel], chosen: str, period: str | None
) -> bytes:
    from api.tables.columns import layouts
    from api.tables.formats import Format, told_about, write_table

    if chosen == "json":
        from api.exact_json import encode

        return f"{encode(answer.model_dump(by_alias=True))}\n".encode()
    tables = layouts(model)
    if not tables:
        raise RefusedError(f"this answer has no rows, so there is no {chosen} of it; take --format json")
    name = arguments.table or next(iter(tables))
    if name not in tables:
        raise RefusedError(f"this answer has no list {name!r}; it has {', '.join(tables)}")
    about = told_about(_request(arguments), period=period, layout=tables[name], answer=answer)
    return write_table(Format(chosen), tables[name], answer, about)


def _request(arguments: argparse.Namespace) -> str:
    """What was asked for, without where it was asked: an address of a database has a password in it."""
    own = {"format", "json", "output", "table", "run", "database_url"}
    asked = {name: value for name, value in sorted(vars(arguments).items()) if name not in own}
    return " ".join(f"{name}={value}" for name, value in asked.items() if isinstance(value, str | int | list) and value)


def _put(output: str | None, content: bytes) -> None:
    if output is None:
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            sys.stdout.write(content.decode())
        return
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        raise RefusedError(f"{output} can't be written: {error.strerror}; choose another --output") from error


def in_zone(found: Given, zone: ZoneInfo) -> Given:
    """The same answer with its instants in the site's time, for words: a day that begins in the evening before, in UTC,
    would be told as that evening's.
    """
    return found.model_copy(update={name: _in_zone(getattr(found, name), zone) for name in type(found).model_fields})


def _in_zone(value: Any, zone: ZoneInfo) -> Any:
    from datetime import datetime

    from pydantic import BaseModel

    match value:
        case datetime():
            return value.astimezone(zone)
        case BaseModel():
            return in_zone(value, zone)
        case list() | tuple():
            return type(value)(_in_zone(item, zone) for item in value)
        case _:
            return value
