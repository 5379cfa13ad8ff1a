"""`afkobling demo`: a living factory on the local stack, from its meters to a verdict."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.demo.demo import Living
    from deploy.demo.scenario import Scenario


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="a living factory on the local stack, from its meters to a verdict",
        description="Starts the local stack, loads two years and more of a simulated metal workshop, and runs edge, "
        "collector, roll-up and API live. Ctrl-C stops everything. The demo's database is made anew each time.",
    )
    parser.add_argument("--once", action="store_true", help="end after the verdicts")
    parser.add_argument("--json", action="store_true", help="print the verdicts and their figures as one JSON object")
    parser.add_argument(
        "--faults", action="store_true", help="plant every kind of fault, for `afkobling quality` to find, and alerts"
    )
    parser.add_argument("--replay", metavar="FILE", help="real measurements (CSV or Parquet) instead of the workshop")
    parser.add_argument("--mapping", metavar="NAME", help="how to read FILE; default: recognised by its header")
    parser.add_argument("--seed", type=int, default=1, help="which workshop (default: %(default)s)")
    parser.add_argument("--data", metavar="DIR", help="the stack's data folder (default: that of `afkobling stack`)")
    parser.add_argument("--port", type=int, default=0, help="port of API and page (default: any free one)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import signal
    import sys
    from pathlib import Path

    from deploy.demo.demo import Options, run_demo
    from schemas.errors import PermanentError

    if arguments.mapping and not arguments.replay:
        raise PermanentError("--mapping says how to read the file of --replay; give that too")
    if arguments.faults and arguments.replay:
        raise PermanentError("--faults are planted into the simulated workshop; leave out --replay, or --faults")
    options = Options(
        data_dir=Path(arguments.data) if arguments.data else None, port=arguments.port, is_once=arguments.once
    )
    # An ordinary kill ends the demo as Ctrl-C does, and so does Ctrl-C where a shell had it ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with run_demo(_scenario(arguments), options, say=lambda line: print(line, file=sys.stderr)) as living:
        if arguments.json:
            _print_json(living.outcome)
        else:
            _print_words(living)
        if not arguments.once:
            living.keep()
    return 0


def _scenario(arguments: argparse.Namespace) -> Scenario:
    from datetime import UTC, datetime
    from pathlib import Path

    from deploy.demo.scenario import replay, simulated

    if arguments.replay:
        return replay(Path(arguments.replay), mapping=arguments.mapping)
    return simulated(seed=arguments.seed, now=datetime.now(UTC), with_faults=arguments.faults)


def _print_json(outcome: dict[str, Any]) -> None:
    import json

    print(json.dumps(outcome, indent=2, ensure_ascii=False, default=float), flush=True)


def _print_words(living: Living) -> None:
    from urllib.parse import urlencode

    outcome = living.outcome
    base, period = outcome["base"], outcome["period"]
    print(f"\n{outcome['organisation']} / {outcome['site']}: {period['from']} to {period['to']} against {base['from']}")
    for sentence in outcome["sentences"].values():
        print(f"  {sentence}")
    for note in outcome["notes"]:
        print(f"  file: {note}")
    if outcome["intensity"]:
        print("\nresource use per good unit (the simulator's truth in brackets)")
        for item in outcome["intensity"]:
            true = "" if item["truth"] is None else f"  ({item['truth']:.5g})"
            value = "unknown" if item["value"] is None else f"{item['value']:.5g}"
            print(f"  {item['product']:10} {item['indicator']:12} {value:>10} {item['unit']}{true}")
    if not any(item["truth"] is not None for item in outcome["consumption"]):
        for item in outcome["consumption"]:
            print(f"  {item['meter']}: {item['total']} {item['unit']}")
    ledger = outcome["ledger"]
    print(
        f"\nledger: {ledger['sent']:,} readings sent, {ledger['stored']:,} stored, "
        f"{ledger['quarantined']:,} in quarantine, {ledger['on_their_way']:,} on their way"
    )
    _print_faults(outcome)
    periods = {"base_from": base["from"], "base_to": base["to"], **period}
    print(f"\nlook:   {living.url}/#{urlencode({'token': living.token, **periods})}")
    print(f"token:  {living.token}")
    print(f"broker: {living.broker_url}")
    if living.agent_broker_url:
        print(f"agents: {living.agent_broker_url}, with certificates")
    print(f"data:   {living.database_url}", flush=True)


def _print_faults(outcome: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    if outcome["planted"]:
        print("\nplanted faults")
    for fault in outcome["planted"]:
        at = datetime.fromtimestamp(fault["from_ms"] / 1000, UTC)
        print(f"  {fault['kind']:14} {fault['meter'] or fault['agent']:24} {at:%Y-%m-%d %H:%M} UTC")
    print(f"\nfindings (afkobling quality --database-url …): {len(outcome['findings'])}")
    for finding in outcome["findings"]:
        print(f"  {finding['kind']:14} {finding['meter'] or finding['agent']:24} {finding['seen']}")
