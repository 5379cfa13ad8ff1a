"""`afkobling drivers`: revenue, value added and production volume, as people give them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.commands.at_site import RefusedError, add_page_options, add_site_options, at_site, print_answer

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.drivers.answers import DriverValueAnswer, Saved
    from api.drivers.store import Whose
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_DRIVERS = ("revenue", "value_added", "production_volume")
_COLUMNS = "driver, period (or from and to), value, unit, price_year, source, and line, family or product"


def add(subparsers: Subparsers) -> None:
    """Add `drivers import`, `list` and `remove`."""
    parser = subparsers.add_parser("drivers", help="revenue, value added and production volume of a site and its parts")
    words = parser.add_subparsers(metavar="WORD", required=True)
    importing = words.add_parser(
        "import",
        help="take values from a table",
        description=f"A CSV with columns {_COLUMNS}. A period is 2025, FY2025, 2025-Q1 or 2025-03. All of it is taken, "
        "or nothing; a value of the same driver, place and span is replaced.",
    )
    importing.add_argument("file", metavar="FILE", help="CSV; comma, semicolon or tab, decimal point or comma")
    importing.add_argument("--driver", choices=_DRIVERS, help="where the table has no such column")
    importing.add_argument("--unit", help="the same: DKK (default for money), pcs or kg")
    importing.add_argument("--price-year", type=int, metavar="YEAR", help="the same: the year whose prices money is at")
    importing.add_argument("--source", metavar="TEXT", help="the same (default: the name of the file)")
    importing.add_argument(
        "--whole-organisation", action="store_true", help="values of the whole organisation that the site belongs to"
    )
    importing.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(importing)
    importing.set_defaults(run=_import)
    listed = words.add_parser("list", help="what is known, by driver and span")
    listed.add_argument("--driver", choices=_DRIVERS, help="only this")
    listed.add_argument("--whole-organisation", action="store_true", help="those of the whole organisation instead")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=_list)
    remove = words.add_parser("remove", help="take out the values of a driver whose spans lie inside a period")
    remove.add_argument("--driver", choices=_DRIVERS, required=True)
    remove.add_argument("--period", required=True, metavar="PERIOD", help="2025, FY2025, 2025-Q1, 2024-07..2025-06")
    for part in ("line", "family", "product"):
        remove.add_argument(f"--{part}", metavar="KEY", help=f"those of this {part} (default: of the whole site)")
    remove.add_argument("--whole-organisation", action="store_true", help="those of the whole organisation instead")
    add_site_options(remove)
    remove.set_defaults(run=_remove)


def _whose(arguments: argparse.Namespace, site: SiteRow) -> Whose:
    from api.drivers.store import Whose
    from api.routes.drivers import whose_of

    parts = {part: getattr(arguments, part, None) for part in ("line", "family", "product")}
    if not arguments.whole_organisation:
        return whose_of(site, **parts)
    if any(parts.values()):
        raise RefusedError("a line, family or product is a part of a site; leave out --whole-organisation")
    return Whose(organisation_id=site.organisation_id)


def _import(arguments: argparse.Namespace) -> None:
    saved = at_site(arguments, lambda connection, site: _import_at(arguments, connection, site))
    if arguments.json:
        print_answer(saved)
    else:
        print(f"{saved.saved} values stored")


async def _import_at(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> Saved:
    from api.drivers.answers import save_driver_values
    from api.drivers.files import read_driver_file

    defaults = {name: getattr(arguments, name) for name in ("driver", "unit", "price_year", "source")}
    values = read_driver_file(Path(arguments.file), site.calendar, defaults)
    if arguments.whole_organisation and any(item.line or item.family or item.product for item in values):
        raise RefusedError("a line, family or product is a part of a site; leave out --whole-organisation")
    return await save_driver_values(connection, _whose(arguments, site), values)


def _list(arguments: argparse.Namespace) -> None:
    page = at_site(arguments, lambda connection, site: _page(arguments, connection, site))
    if arguments.json:
        print_answer(page)
        return
    for item in page.items:
        part = next((f"  {name} {key}" for name in ("line", "family", "product") if (key := getattr(item, name))), "")
        prices = f" at prices of {item.price_year}" if item.price_year else ""
        print(
            f"{item.driver.value}{part}  {item.start} – {item.end}  {item.value:f} {item.unit}{prices}  {item.source}"
        )
    if not page.items:
        print("no such values; `afkobling drivers import FILE.csv` takes them from a table")
    if page.next:
        print(f"these are the first {arguments.limit}; there are more: raise --limit")


async def _page(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> Page[DriverValueAnswer]:
    from api.drivers.answers import driver_page
    from api.indicators.drivers import Driver

    driver = Driver(arguments.driver) if arguments.driver else None
    return await driver_page(connection, _whose(arguments, site), driver=driver, after=None, limit=arguments.limit)


def _remove(arguments: argparse.Namespace) -> None:
    removed = at_site(arguments, lambda connection, site: _remove_at(arguments, connection, site))
    if not removed:
        raise RefusedError("no such values lie inside that period; `afkobling drivers list` shows what there is")
    print(f"{removed} values removed")


async def _remove_at(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> int:
    from api.drivers import store as driver_store
    from api.indicators.drivers import Driver
    from api.periods import parse_named

    days = parse_named(arguments.period, site.calendar)
    return await driver_store.remove(connection, _whose(arguments, site), Driver(arguments.driver), days)
