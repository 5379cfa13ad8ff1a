"""`afkobling alerts`: tell somebody when something needs a person, and hear who knows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import (
    add_page_options,
    add_said_options,
    add_site_options,
    at_site,
    checked,
    print_answer,
    said,
)
from deploy.commands.settings import add_server_options

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.routes.alerts import AlertAnswer, DeliveryAnswer
    from api.said import Said
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add `alerts run`, `list` and `ack`."""
    parser = subparsers.add_parser("alerts", help="tell somebody when something needs a person")
    words = parser.add_subparsers(metavar="WORD", required=True)
    run = words.add_parser(
        "run",
        help="look at every site now and then, and send what is new, until stopped",
        description="Sends to AFKOBLING_ALERT_WEBHOOK_URL and, with AFKOBLING_ALERT_MQTT=true, to the broker. All "
        "settings: docs/alerts.md.",
    )
    add_server_options(run, "database_url", "broker_url", metrics="alert_metrics_port")
    run.set_defaults(run=_run)
    listed = words.add_parser("list", help="the newest first, and whether messages arrive")
    listed.add_argument("--open", action="store_true", help="only those that are open")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=_list)
    ack = words.add_parser("ack", help="say that somebody knows: nothing more is sent about it")
    ack.add_argument("alert", type=_number, help="its number, as the list shows it")
    ack.add_argument("--json", action="store_true", help="print what the API would answer")
    add_said_options(ack)
    add_site_options(ack)
    ack.set_defaults(run=_ack)


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError("give the alert's number, as `afkobling alerts list` shows it")
    return int(text)


def _run(arguments: argparse.Namespace) -> None:
    from api.alerts.service import AlertService
    from api.alerts.settings import AlertSettings
    from deploy.commands.settings import read_settings
    from deploy.service import serve

    settings = read_settings(AlertSettings, arguments)
    service = AlertService(settings)
    serve(service, registry=service.metrics.registry, port=settings.alert_metrics_port, part="alerts")


def _list(arguments: argparse.Namespace) -> None:
    page, delivery = at_site(arguments, lambda connection, site: _alerts(arguments, connection, site))
    if arguments.json:
        print_answer(page)
        return
    for alert in page.items:
        print(f"{alert.id}  {alert.rule}  {_state(alert)}\n    {alert.seen}\n    {alert.todo}")
    if not page.items:
        print("no open alerts" if arguments.open else "no alerts")
    for channel in delivery:
        if channel.waiting or channel.given_up:
            print(
                f"{channel.channel}: {channel.waiting} messages wait, {channel.given_up} were given up; "
                f"last error: {channel.last_error or 'none'}"
            )
    if page.next:
        print(f"these are the newest {arguments.limit}; there are more: raise --limit")


async def _alerts(
    arguments: argparse.Namespace, connection: Connection, site: SiteRow
) -> tuple[Page[AlertAnswer], list[DeliveryAnswer]]:
    from api.alerts import store
    from api.cursor import page_of
    from api.routes.alerts import DeliveryAnswer, told_alert

    rows = await store.page(connection, site, only_open=arguments.open, limit=arguments.limit + 1)
    found = page_of([told_alert(row) for row in rows], arguments.limit, lambda alert: (alert.id,))
    return found, [DeliveryAnswer(**row) for row in await store.delivery(connection, site)]


def _ack(arguments: argparse.Namespace) -> None:
    from api.said import Said

    words = checked(Said, **said(arguments))
    alert = at_site(arguments, lambda connection, site: _acknowledge(arguments.alert, words, connection, site))
    if arguments.json:
        print_answer(alert)
    else:
        print(f"alert {alert.id} is acknowledged by {alert.acknowledged_by}: nothing more is sent about it")


async def _acknowledge(number: int, words: Said, connection: Connection, site: SiteRow) -> AlertAnswer:
    from api.alerts import store
    from api.problems import not_found
    from api.routes.alerts import told_alert

    row = await store.acknowledge(connection, site, number, words)
    if row is None:
        raise not_found(f"there is no alert {number} at {site.key}; `afkobling alerts list` shows them")
    return told_alert(row)


def _state(alert: AlertAnswer) -> str:
    state = "open" if alert.closed_at is None else f"closed {alert.closed_at:%Y-%m-%d %H:%M} UTC"
    return state + (f", acknowledged by {alert.acknowledged_by}" if alert.acknowledged_by else "")
