"""`make cases`: each case through the running system, as a table. `python -m tests.cases [NAME …]` for some of them."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

import structlog

from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import AfkoblingError
from tests.cases.case import Case, case_names, load_case
from tests.cases.play import Line, play
from tests.cases.system import System, running_system

_WIDTHS = (16, 52, 52)


def main(names: Sequence[str]) -> int:
    """Print the table of these cases (none: all). Returns 0, 1 when a figure differs, 2 when there is no such case."""
    known = case_names()
    if unknown := set(names) - set(known):
        print(f"there is no case {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    cases = {name: load_case(name) for name in names or known}
    with (
        scratch_stack() as servers,
        scratch_database(servers.database_url) as url,
        running_system(database_url=url, broker_url=servers.broker_url) as system,
    ):
        differing = [name for name, case in cases.items() if not _show(name, case, system)]
    print(f"\n{len(cases)} cases, {len(differing)} differ{': ' if differing else ''}{', '.join(differing)}")
    return 1 if differing else 0


def _show(name: str, case: Case, system: System) -> bool:
    """Print one case's table as it comes. Returns whether all is as expected."""
    print(f"\n{name}\n{textwrap.indent(textwrap.fill(case.about, 118), '  ')}")
    is_ok, step = True, None
    for line in play(case, system):
        if line.step != step:
            step = line.step
            print(f"\n  {step}\n{_row('', 'expected', 'got')}")
        is_ok &= line.is_ok
        print("\n".join(_rows(line)), flush=True)
    return is_ok


def _rows(line: Line) -> list[str]:
    told = (
        [part for row in text.split("\n") for part in textwrap.wrap(row, _WIDTHS[1])]
        for text in (line.expected, line.got)
    )
    return [_row(*row) for row in zip_longest([line.figure], *told, ["ok" if line.is_ok else "DIFFERS"], fillvalue="")]


def _row(figure: str, expected: str, got: str, verdict: str = "") -> str:
    columns = zip((figure, expected, got), _WIDTHS, strict=True)
    return f"    {'  '.join(text.ljust(width) for text, width in columns)}  {verdict}".rstrip()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except AfkoblingError as error:
        sys.exit(f"cases: {error}")
