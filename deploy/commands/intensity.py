"""`afkobling intensity`: what a good unit takes, the best run of a product and why, and regressions beside ratios."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import add_site_options, at_site
from deploy.commands.db import site_database_url
from deploy.commands.intensity_words import print_best_run, print_intensities, print_regressions
from deploy.commands.periods import add_period_options, asked_period

if TYPE_CHECKING:
    from fractions import Fraction

    from api.database import Connection
    from api.intensity.answers import IntensityAnswer
    from api.intensity.best_run import BestRunAnswer, RegressionAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_BY = ("product", "family", "run", "order", "line", "site")
_INDICATORS = ("energy", "water", "material", "waste", "co2_location", "co2_market")
_BUCKETS = ("day", "week", "month", "quarter", "year", "fiscal_year")


def add(subparsers: Subparsers) -> None:
    """Add `intensity`, `intensity best` and `intensity regression`."""
    parser = subparsers.add_parser(
        "intensity",
        help="what a good unit takes of each resource, and of CO2e",
        description="Marginal (processing, changeover, shares of utilities) and fully loaded (that and idle by "
        "occupied hours), by good units or kilograms, with the interval in which the true figure lies.",
    )
    words = parser.add_subparsers(metavar="[WORD]")
    _add_options(parser)
    parser.add_argument("--by", choices=_BY, default="product", help="what figures are told of (default: %(default)s)")
    parser.add_argument("--bucket", choices=_BUCKETS, help="a series of these (default: the whole period)")
    parser.add_argument("--against", metavar="PERIOD", help="compare with this period")
    parser.add_argument(
        "--resource",
        "--indicator",
        dest="indicators",
        action="append",
        choices=_INDICATORS,
        help="repeat it for more (default: all)",
    )
    parser.set_defaults(run=_run)
    best = words.add_parser("best", help="the best runs of a product, and why")
    _add_options(best)
    best.add_argument("--product", required=True, metavar="KEY")
    best.add_argument("--resource", "--indicator", dest="indicator", choices=_INDICATORS, default="energy")
    best.add_argument("--rank", choices=("fully_loaded", "marginal"), default="fully_loaded", help="by which intensity")
    best.add_argument(
        "--least-good",
        type=_amount,
        metavar="N",
        help="runs with fewer good units don't count (default: half the median's)",
    )
    best.add_argument("--limit", type=_count, default=10, help="list at most so many (default: %(default)s)")
    best.set_defaults(run=_run_best)
    fitted = words.add_parser("regression", help="E = a + b*Q by the day, of each line and the site")
    _add_options(fitted, per=False)
    fitted.add_argument("--resource", dest="resource", choices=_INDICATORS[:4], help="(default: all)")
    fitted.set_defaults(run=_run_regression)


def _add_options(parser: argparse.ArgumentParser, *, per: bool = True) -> None:
    add_period_options(parser)
    if per:
        parser.add_argument("--per", choices=("unit", "kg"), default="unit", help="by good units or kilograms of them")
    add_format_options(parser)
    add_site_options(parser)


def _amount(text: str) -> Fraction:
    from fractions import Fraction

    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= 10**12:
        raise argparse.ArgumentTypeError("give a number of good units, 0 or more")
    return Fraction(amount)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("give a number from 1 to 1000")
    return int(text)


def _run(arguments: argparse.Namespace) -> None:
    found, site = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    give(
        arguments,
        _with_truth(arguments, found, site),
        print_intensities,
        period=_period_text(arguments),
        zone=site.zone,
    )


async def _ask(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> tuple[IntensityAnswer, SiteRow]:
    from api.indicators.outputs import Per
    from api.indicators.pressures import Indicator
    from api.indicators.takings import Whose
    from api.intensity.answers import AskedIntensity, intensity_answer
    from api.intensity.loader import Every
    from api.periods import parse_named

    against = arguments.against
    asked = AskedIntensity(
        period=asked_period(arguments, site),
        by=Whose(arguments.by),
        per=Per(arguments.per),
        every=Every(arguments.bucket) if arguments.bucket else None,
        against=None if against is None else parse_named(against, site.calendar, place="--against").within(site.zone),
        indicators=tuple(Indicator(name) for name in arguments.indicators or _INDICATORS),
    )
    return await intensity_answer(connection, site, asked), site


def _with_truth(arguments: argparse.Namespace, found: IntensityAnswer, site: SiteRow) -> IntensityAnswer:
    """On a simulated site with the simulator's truth beside."""
    from deploy.demo.truth_file import read_truth
    from deploy.intensity_truth import with_truth

    source = read_truth(site.organisation, site.key, database_url=site_database_url(arguments))
    return found if source is None else with_truth(found, source)


def _run_best(arguments: argparse.Namespace) -> None:
    answer = at_site(arguments, lambda connection, site: _ask_best(arguments, connection, site))
    give(arguments, answer, print_best_run, period=_period_text(arguments))


async def _ask_best(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> BestRunAnswer:
    from api.indicators.best_run import Rank
    from api.indicators.outputs import Per
    from api.indicators.pressures import Indicator
    from api.intensity.best_run import AskedRuns, best_run_answer

    asked = AskedRuns(
        product=arguments.product,
        period=asked_period(arguments, site),
        indicator=Indicator(arguments.indicator),
        rank=Rank(arguments.rank),
        per=Per(arguments.per),
        least_good=arguments.least_good,
        limit=arguments.limit,
    )
    return await best_run_answer(connection, site, asked)


def _run_regression(arguments: argparse.Namespace) -> None:
    answer = at_site(arguments, lambda connection, site: _ask_regression(arguments, connection, site))
    give(arguments, answer, print_regressions, period=_period_text(arguments))


async def _ask_regression(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> RegressionAnswer:
    from api.intensity.best_run import regression_answer
    from schemas.resources import Resource

    resource = Resource(arguments.resource) if arguments.resource else None
    return await regression_answer(connection, site, asked_period(arguments, site), resource)


def _period_text(arguments: argparse.Namespace) -> str:
    return str(arguments.period or f"{arguments.start}..{arguments.end}")
