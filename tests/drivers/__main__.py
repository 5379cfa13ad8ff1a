"""`make drivers`: every driver, every promise, as a table. `python -m tests.drivers [NAME …]` for some of them."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from edge.drivers.contract import CHECKS, Check, DoesNotApplyError
from edge.drivers.contract.deadlines import COME_ABOUT_S
from tests.drivers.rigs import RIGS, RigMissingError, load_rig

_HUNG_S = 4 * COME_ABOUT_S
"""A check has deadlines of its own; a rig that hangs has none."""


@dataclass(slots=True)
class Table:
    """Driver × check, printed as it comes. What does not apply is explained below, each reason once."""

    width: int
    reasons: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ok: int = 0

    def head(self) -> str:
        """Two lines: a check's name may have several words."""
        names = [check.name.partition(" ")[::2] for check in CHECKS]
        lines = (["driver", *(first for first, _ in names)], ["", *(more for _, more in names)])
        return "\n".join(self._row(cells) for cells in lines)

    def row(self, name: str, folder: Path) -> str:
        """Run the checks on one driver. Its line of the table."""
        return self._row([name, *(self._cell(name, check, folder / check.name) for check in CHECKS)])

    def below(self) -> str:
        """What the marks mean, and the words of what failed."""
        notes = [_hanging(f"—{i}", reason) for i, reason in enumerate(self.reasons, start=1)]
        failures = [_hanging("FAILS", failure) for failure in self.failures]
        return "\n".join([*notes, *([""] if notes and failures else []), *failures])

    def _cell(self, name: str, check: Check, folder: Path) -> str:
        folder.mkdir(parents=True)
        try:
            asyncio.run(_run(name, check, folder))
        except (DoesNotApplyError, RigMissingError) as reason:
            if str(reason) not in self.reasons:
                self.reasons.append(str(reason))
            return f"—{self.reasons.index(str(reason)) + 1}"
        except Exception as error:  # noqa: BLE001 - a driver or a rig may fail in any way; the others are run all the same
            told = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            self.failures.append(f"{name}, {check.name} ({check.about}): {told}")
            return "FAILS"
        self.ok += 1
        return "ok"

    def _row(self, cells: Sequence[str]) -> str:
        widths = [self.width, *(max(5, *map(len, check.name.partition(" ")[::2])) for check in CHECKS)]
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


async def _run(name: str, check: Check, folder: Path) -> None:
    async with asyncio.timeout(_HUNG_S):
        await check.run(load_rig(name)(folder))


def _hanging(mark: str, text: str) -> str:
    return textwrap.fill(text, 118, initial_indent=mark.ljust(7), subsequent_indent=" " * 7)


def main(names: Sequence[str]) -> int:
    """Print the table of these drivers (none: all). Returns 0, 1 when one fails, 2 when there is no such driver."""
    if unknown := set(names) - set(RIGS):
        print(f"there is no driver {', '.join(sorted(unknown))}; there are: {', '.join(RIGS)}", file=sys.stderr)
        return 2
    chosen = [name for name in sorted(RIGS) if name in names or not names]
    table = Table(width=max(map(len, ["driver", *chosen])))
    print(table.head(), flush=True)
    with tempfile.TemporaryDirectory(prefix="afkobling-drivers-") as folder:
        for name in chosen:
            print(table.row(name, Path(folder) / name.replace(" ", "-")), flush=True)
    if notes := table.below():
        print(f"\n{notes}")
    print(f"\n{len(chosen)} drivers, {len(CHECKS)} checks: {table.ok} ok, {len(table.failures)} fail")
    return 1 if table.failures else 0


if __name__ == "__main__":
    # Drivers say what troubles them, as they should, and trouble is what they are given here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    sys.exit(main(sys.argv[1:]))
