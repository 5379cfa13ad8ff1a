"""Intensities, best runs and regressions as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.intensity.answers import IntensityAnswer, IntensityItem
    from api.intensity.best_run import BestRunAnswer, RegressionAnswer, RegressionItem, RunItem

_EFFECTS = {
    "idle": "idle of the line",
    "changeover": "changeover",
    "shared": "shares of utilities",
    "scrap": "scrap",
    "rate": "rate of output",
    "draw": "draw while running",
}


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need to be; the first is flush left, the others right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_intensities(found: IntensityAnswer) -> None:
    """One line for each item, by period and indicator, with the simulator's truth where it is known."""
    if not found.items:
        print("nothing was taken of anything in this period")
    has_truth = any(getattr(item, "truth", None) is not None for item in found.items)
    has_against = any(item.against is not None for item in found.items)
    several = len({(item.start, item.end) for item in found.items}) > 1
    head = [
        "of",
        "indicator",
        "good",
        "marginal",
        "fully loaded",
        "from",
        "to",
        "unit",
        "idle",
        "estimated",
        "primary",
        "covered",
    ]
    if several:
        head.insert(1, "begins")
    if has_against:
        head += ["before", "change"]
    if has_truth:
        head += ["truth", "off"]
    print_table(head, [_row(item, several, has_against, has_truth) for item in found.items])
    for problem in sorted({f"{_name(item)}: {item.problem}" for item in found.items if item.problem}):
        print(problem)
    for finding in found.findings:
        print(f"finding: {finding.kind} at {finding.meter}, {finding.quarters} quarters of an hour")


def _row(item: IntensityItem, several: bool, has_against: bool, has_truth: bool) -> list[str]:
    good = "-" if item.good is None else f"{number(item.good)} {item.good_unit or ''}".rstrip()
    row = [_name(item), f"{item.start:%Y-%m-%d}"] if several else [_name(item)]
    row += [item.indicator, good, number(item.value), number(item.fully_loaded)]
    row += [number(item.fully_loaded_low), number(item.fully_loaded_high), item.unit or item.quantity_unit]
    row += [percent(item.idle_share), percent(item.estimated_share), percent(item.primary_data_share)]
    row.append(percent(item.coverage))
    if has_against:
        change = item.against.fully_loaded if item.against else None
        doubt = "" if change is None or change.clear is not False else " ?"
        row += [number(change.before), percent(change.change, sign=True) + doubt] if change else ["-", "-"]
    if has_truth:
        truth = getattr(item, "truth", None)
        row += [number(truth.fully_loaded), percent(truth.off, sign=True)] if truth else ["-", "-"]
    return row


def _name(item: IntensityItem) -> str:
    told = (item.family, item.order, item.line, item.run, item.product)
    return " ".join(part for part in told if part) or "the rest" * (item.unattributed is None) or "the site"


def print_best_run(found: BestRunAnswer) -> None:
    """The runs from the best on, and what sets the best apart from the one in the middle."""
    if found.best is None or found.median is None:
        print(f"no run of {found.product} made good units in this period")
        return
    print_table(
        ["run", "line", "good", found.best.unit, "rate/h", "idle", "changeover", "utilities", "scrap", "estimated"],
        [_run_row(run) for run in found.items],
    )
    print(
        f"{found.runs} runs; {found.passed_over} with less than {number(found.least_good)} good units are passed over"
    )
    if found.runs == 1:
        print("there is no other run to compare with")
        return
    print(f"\n{_named(found.best)} took {number(found.difference)} {found.best.unit} more than {_named(found.median)},")
    print(f"the run in the middle ({number(found.median.value)}), by:")
    for effect in found.effects:
        print(f"  {_EFFECTS[effect.effect]:22} {number(effect.value, sign=True):>12}")


def _run_row(run: RunItem) -> list[str]:
    shares = (run.idle_share, run.changeover_share, run.shared_share, run.scrap_ratio, run.estimated_share)
    return [
        run.run or "",
        run.line or "",
        f"{number(run.good)} {run.good_unit}",
        number(run.value),
        number(run.rate),
        *map(percent, shares),
    ]


def _named(run: RunItem) -> str:
    return f"{run.run} on {run.line}"


def print_regressions(found: RegressionAnswer) -> None:
    """One line for each place and resource."""
    if not found.items:
        print("no line has meters of these resources")
    print_table(
        ["place", "resource", "base a day", "slope", "unit", "R2", "days", "left out", "base share", "remark"],
        [_regression_row(item) for item in found.items],
    )


def _regression_row(item: RegressionItem) -> list[str]:
    remark = item.problem or ", ".join(unfit.replace("_", " ") for unfit in item.unfit) or "fit"
    with_error = [
        "-" if value is None else f"{number(value)} ± {number(error)}"
        for value, error in ((item.base, item.base_error), (item.slope, item.slope_error))
    ]
    unit = f"{item.unit}, {item.unit}/{item.good_unit or '-'}"
    counts = [number(item.r2), str(item.days), str(item.left_out), percent(item.base_share)]
    return [item.line or "the site", item.resource, *with_error, unit, *counts, remark]


def number(value: Decimal | None, *, sign: bool = False) -> str:
    """Five significant digits, and all of a whole number's; `-` where there is none."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{float(value):.5g}"
    return f"+{text}" if sign and value > 0 else text


def percent(value: Decimal | None, *, sign: bool = False) -> str:
    """One decimal; `-` where there is none."""
    if value is None:
        return "-"
    return f"{float(value):+.1%}" if sign else f"{float(value):.1%}"
