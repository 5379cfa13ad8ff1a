"""`afkobling decompose`: what drove a change, of a site's indicators or of a plain table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import RefusedError, add_site_options, at_site

if TYPE_CHECKING:
    from api.database import Connection
    from api.decomposition.answers import DecompositionAnswer
    from api.decomposition.table import TableDecomposition
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_INDICATORS = ("energy", "water", "material", "waste", "co2", "co2_location", "co2_market")
_OF_SITE = ("base", "period", "indicator", "by", "chain", "activity", "price_index", "site")
"""Options that a plain table has not."""


def add(subparsers: Subparsers) -> None:
    """Add `decompose`."""
    parser = subparsers.add_parser(
        "decompose",
        help="what drove a change: activity, mix, intensity and factors",
        description="Takes a change apart into effects that sum to it exactly (LMDI-I).",
    )
    parser.add_argument("--base", metavar="PERIOD", help="2024, FY2024, 2024-Q1, 2024-03, or A..B of these")
    parser.add_argument("--period", metavar="PERIOD", help="likewise; what is compared with the base period")
    parser.add_argument("--indicator", choices=_INDICATORS, help="default: energy; co2 is co2_location")
    parser.add_argument("--by", choices=("product", "family", "line"), help="default: product")
    parser.add_argument(
        "--chain", choices=("none", "month"), help="month: move the base period on month by month (default: one step)"
    )
    parser.add_argument(
        "--activity",
        choices=("production_volume", "revenue", "value_added"),
        help="what is made, as output, or as money given for each product, family or line (default: production_volume)",
    )
    parser.add_argument("--price-index", metavar="KEY", help="deflates money at prices of several years")
    parser.add_argument(
        "--from-csv",
        metavar="FILE",
        help="of a table instead: period, category and two or more factors, or period, category, activity, quantity",
    )
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.from_csv is not None:
        _of_table(arguments)
        return
    missing = [name for name in ("base", "period") if getattr(arguments, name) is None]
    if missing:
        raise RefusedError(
            f"--{missing[0]} is missing: say --base 2024 --period 2025, or give a table with --from-csv FILE"
        )
    answer = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    give(arguments, answer, _print_words, period=f"{answer.period.start}/{answer.period.end}")


def _of_table(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from api.decomposition.columns import NUMBERS, TEXTS
    from api.decomposition.table import decompose_table
    from api.tables.plain import read_plain_file

    for name in _OF_SITE:
        if getattr(arguments, name) is not None:
            raise RefusedError(f"--{name.replace('_', '-')} is about a site; leave it out, or leave out --from-csv")
    table = read_plain_file(Path(arguments.from_csv), texts=TEXTS, numbers=NUMBERS)
    give(arguments, decompose_table(table), _print_table)


async def _ask(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> DecompositionAnswer:
    from api.decomposition.answers import answer_decomposition
    from api.decomposition.asked import parse_asked
    from api.decomposition.loader import Chain
    from api.indicators.drivers import Driver

    asked = parse_asked(
        site,
        base=(arguments.base, None, None),
        period=(arguments.period, None, None),
        indicator=arguments.indicator or "energy",
        by=arguments.by or "product",
        chain=Chain(arguments.chain or Chain.NONE),
        activity=Driver(arguments.activity or Driver.PRODUCTION_VOLUME),
        price_index=arguments.price_index,
    )
    return await answer_decomposition(connection, site, asked)


def _print_words(answer: DecompositionAnswer) -> None:
    from api.exact_json import encode

    print(answer.sentence)
    print(answer.sentence_da)
    if not answer.items:
        return
    print()
    for item in answer.items:
        size = "" if item.share_of_base is None else f"{item.share_of_base * 100:+.2f} %"
        multiplier = "" if item.multiplier is None else f"× {item.multiplier:.6f}"
        print(f"{item.effect:14} {encode(item.quantity):>22} {item.unit:8} {size:>10}  {multiplier}")
    print()
    print("by " + answer.by)
    for row in answer.categories:
        name = row.beside or " · ".join(part for part in (row.category, row.carrier) if part)
        print(f"  {name:26} {encode(row.base):>22} → {encode(row.period):>22} {row.unit}")
    for title, window in (("base", answer.base), ("period", answer.period)):
        coverage = "-" if window.coverage is None else f"{window.coverage * 100:.1f} %"
        estimated = "-" if window.estimated_share is None else f"{window.estimated_share * 100:.1f} %"
        made = "" if window.activity is None else f", made {encode(window.activity)} {answer.activity_unit}"
        print(f"{title:6} {window.start} to {window.end}{made}, coverage {coverage}, estimated {estimated}")
        if window.factors:
            print(f"{'':6} factors: {', '.join(f'{used.key} v{used.version}' for used in window.factors)}")


def _print_table(answer: TableDecomposition) -> None:
    for change in answer.changes:
        print(f"{change.base} → {change.period} ({change.method}): {change.sentence}")
        for item in answer.items:
            if (item.method, item.base, item.period) == (change.method, change.base, change.period):
                multiplier = "" if item.multiplier is None else f"× {item.multiplier:.9f}"
                print(f"  {item.effect:20} {item.quantity:>24f}  {multiplier}")
        print(
            f"  {'total':20} {change.change:>24f}  {'' if change.multiplier is None else f'× {change.multiplier:.9f}'}"
        )
