"""`afkobling decoupling`: whether more is made while less is used."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import RefusedError, add_site_options, at_site, in_database

if TYPE_CHECKING:
    from decimal import Decimal

    from api.calendar.buckets import Calendar
    from api.database import Connection
    from api.decoupling.answers import DecouplingAnswer, IndicatorAnswer
    from api.decoupling.places import Level
    from api.decoupling.plain import TableAnswer
    from api.decoupling.questions import Question
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers
    from deploy.decoupling_truth import TrueAnswer, TrueProduct

_PERIOD = "2025, FY2025, 2025-Q1, 2025-03, 2024-07..2025-06"
_LEVELS = ("organisation", "site", "line", "family", "product")
_DRIVERS = ("revenue", "value_added", "production_volume")
_INDICATORS = ("energy", "water", "material", "waste", "co2", "co2_location", "co2_market")


def add(subparsers: Subparsers) -> None:
    """Add `decoupling`."""
    parser = subparsers.add_parser(
        "decoupling",
        help="whether more is made while less is used: absolute, relative or no decoupling",
        description="Judges a period against a base period, by indicator: state, elasticity, factor, how sure it is "
        "and what would settle it. With --from-csv, the rows of a plain table, each against the one before.",
    )
    parser.add_argument("--base", metavar="PERIOD", help=f"the base period: {_PERIOD}")
    parser.add_argument("--period", metavar="PERIOD", help="the period that is judged, as for --base")
    parser.add_argument("--driver", choices=_DRIVERS, help="against what (default: revenue)")
    parser.add_argument("--level", choices=_LEVELS, help="of what (default: site)")
    parser.add_argument(
        "--key", action="append", metavar="KEY", help="only this line, family or product; repeat it for more"
    )
    parser.add_argument(
        "--indicator", action="append", choices=_INDICATORS, help="only this; repeat it for more (default: all)"
    )
    parser.add_argument("--price-index", metavar="KEY", help="what deflates money, where there are several")
    parser.add_argument(
        "--rolling", type=int, metavar="MONTHS", help="also judge the trailing months at each end of a month"
    )
    parser.add_argument("--series", action="store_true", help="also tell indices by month")
    parser.add_argument("--organisation", metavar="KEY", help="with --level organisation (default: the only one)")
    parser.add_argument(
        "--columns",
        metavar="NAME=HEADER,…",
        help="with --from-csv: which header is which, as in pressure=CO2 kt,driver=GDP",
    )
    parser.add_argument(
        "--from-csv",
        metavar="FILE",
        help="a table with columns period, pressure and driver instead; --base compares all rows with one",
    )
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.from_csv is not None:
        _run_table(arguments)
        return
    if arguments.columns is not None:
        raise RefusedError("--columns names the columns of a table; give the table with --from-csv")
    for name in ("base", "period"):
        if getattr(arguments, name) is None:
            raise RefusedError(f"say which --{name}: {_PERIOD}; or give a table with --from-csv")
    if arguments.organisation is not None and arguments.level != "organisation":
        raise RefusedError("--organisation goes with --level organisation; name a site with --site ORGANISATION/SITE")
    answer: DecouplingAnswer
    if arguments.level != "organisation":
        answer = _at_site(arguments)
    elif arguments.site is not None:
        raise RefusedError("an organisation is all of its sites; leave out --site, or choose another --level")
    else:
        answer = in_database(arguments, lambda connection: _of_organisation(arguments, connection))
    give(arguments, answer, _print_words, period=f"{arguments.period} against {arguments.base}")


def _at_site(arguments: argparse.Namespace) -> TrueAnswer:
    from deploy.commands.db import site_database_url
    from deploy.decoupling_truth import with_truth
    from deploy.demo.truth_file import read_truth

    found, site, products = at_site(arguments, lambda connection, site: _of_site(arguments, connection, site))
    truth = read_truth(site.organisation, site.key, database_url=site_database_url(arguments))
    return with_truth(found, truth, site.zone, products)


async def _of_site(
    arguments: argparse.Namespace, connection: Connection, site: SiteRow
) -> tuple[DecouplingAnswer, SiteRow, dict[str, TrueProduct]]:
    from api.decoupling.places import Level
    from api.routes.decoupling import decoupling_answer
    from api.site_store import products
    from deploy.decoupling_truth import TrueProduct

    question = _question(arguments, site.calendar, Level(arguments.level or "site"))
    known = {
        row["id"]: TrueProduct(unit=row["unit"], mass_kg=row["mass_kg"], family=row["family"])
        for row in await products(connection, site)
    }
    return await decoupling_answer(connection, site, question), site, known


async def _of_organisation(arguments: argparse.Namespace, connection: Connection) -> DecouplingAnswer:
    from api.decoupling.places import Level
    from api.routes.decoupling import calendar_of, organisation_answer, sites_of
    from deploy.commands.organisations import find_organisation

    number, key = await find_organisation(connection, arguments.organisation)
    sites = await sites_of(connection, organisation_id=number, organisation=key)
    question = _question(arguments, calendar_of(sites, (arguments.base, arguments.period)), Level.ORGANISATION)
    return await organisation_answer(connection, sites, question, organisation_id=number)


def _question(arguments: argparse.Namespace, calendar: Calendar, level: Level) -> Question:
    """As the API takes it. Raises what the API raises."""
    from datetime import UTC, datetime

    from api.decoupling.questions import Question, parse_indicators, parse_periods, parse_rolling
    from api.indicators.drivers import Driver

    base, period = parse_periods(
        calendar, base=arguments.base, base_span=(None, None), period=arguments.period, span=(None, None)
    )
    return Question(
        base=base,
        period=period,
        driver=Driver(arguments.driver or "revenue"),
        indicators=parse_indicators(arguments.indicator),
        level=level,
        keys=arguments.key,
        price_index=arguments.price_index,
        with_series=arguments.series,
        windows=parse_rolling(arguments.rolling, period, today=datetime.now(UTC).date()),
    )


def _print_words(answer: DecouplingAnswer) -> None:
    if answer.items:
        base, period = answer.items[0].driver.base, answer.items[0].driver.period
        print(f"{period.start} – {period.end} against {base.start} – {base.end} (last days not counted)\n")
    for item in answer.items:
        _print_item(item)
    for note in answer.notes:
        print(note)
    if not answer.items and not answer.notes:
        print("no meter counts what was asked for; `afkobling site apply site.yaml` sets meters up")


def _print_item(item: IndicatorAnswer) -> None:
    from deploy.decoupling_truth import TrueItem

    of = f"{item.level} {item.key}, " if item.key else ""
    verdict = f", {item.verdict}" if item.verdict else ""
    print(f"{of}{item.indicator}: {item.state.value.replace('_', ' ')}{verdict}")
    print(f"    {item.sentence}")
    if item.growth.pressure is not None:
        print(f"    {_figures(item)}")
    if item.output is not None and item.output.growth is not None:
        print(f"    physical output ({item.output.unit}): {_percent(item.output.growth)}")
    for remark in item.remarks:
        print(f"    {remark.text}")
    if isinstance(item, TrueItem) and item.truth is not None:
        truth = item.truth
        state = "state not known" if truth.state is None else truth.state.replace("_", " ")
        growths = f"pressure {_percent(truth.pressure_growth)}, driver {_percent(truth.driver_growth)}"
        print(f"    truth: {state}, {growths}")
    for month in item.series:
        print(f"    {month.start:%Y-%m}  pressure {_index(month.pressure)}  driver {_index(month.driver)}")
    for window in item.rolling:
        told = f", {window.verdict}" if window.verdict else ""
        growth = _percent(window.growth.pressure)
        print(f"    {window.start} – {window.end}  {window.state.value.replace('_', ' ')}{told}  pressure {growth}")
    print()


def _figures(item: IndicatorAnswer) -> str:
    low, high = item.growth.low, item.growth.high
    told = [
        f"pressure {_percent(item.growth.pressure)} ({_percent(low, '−∞')} to {_percent(high, '∞')})",
        f"driver {_percent(item.growth.driver)}",
    ]
    if item.elasticity is not None:
        told.append(f"elasticity {item.elasticity:.4f} ({item.elasticity_state})")
    if item.oecd_factor is not None:
        told.append(f"factor {item.oecd_factor:.4f}")
    return ", ".join(told)


def _percent(value: Decimal | None, nothing: str = "–") -> str:
    return nothing if value is None else f"{value * 100:+.2f} %"


def _index(value: Decimal | None) -> str:
    return "    –" if value is None else f"{value:7.2f}"


def _run_table(arguments: argparse.Namespace) -> None:
    from api.decoupling.plain import NUMBERS, TEXTS, compare_rows, parse_columns
    from api.tables.plain import read_plain_file

    given = ("period", "driver", "level", "key", "indicator", "price_index", "rolling", "organisation", "site")
    unused = [name for name in given if getattr(arguments, name) is not None] + ["series"] * arguments.series
    if unused:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise RefusedError(f"{options} can't go with --from-csv: the table says it all; leave it out")
    chosen = parse_columns(arguments.columns)
    table = read_plain_file(Path(arguments.from_csv), texts=TEXTS, numbers=NUMBERS, chosen=chosen)
    give(arguments, compare_rows(table, base=arguments.base), _print_table)


def _print_table(answer: TableAnswer) -> None:
    width = max(len(f"{item.base} → {item.period}") for item in answer.items)
    print(f"{'':{width}}  pressure     driver  elasticity  factor   state           elasticity state")
    for item in answer.items:
        elasticity = "–" if item.elasticity is None else f"{item.elasticity:.4f}"
        factor = "–" if item.oecd_factor is None else f"{item.oecd_factor:.4f}"
        print(
            f"{f'{item.base} → {item.period}':{width}}  {_percent(item.pressure_growth):>9}  "
            f"{_percent(item.driver_growth):>9}  {elasticity:>10}  {factor:>7}  "
            f"{item.state.value.replace('_', ' '):14}  {item.elasticity_state or '–'}"
        )
    for item in answer.items:
        if item.reason:
            print(f"\n{item.base} → {item.period}: {item.sentence}")
        for remark in item.remarks:
            print(f"\n{item.base} → {item.period}: {remark.text}")
    if answer.unused:
        print(f"\nnot used: {', '.join(answer.unused)}; --columns says which column is which")
