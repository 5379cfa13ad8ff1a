"""`afkobling chaos`: the real stack under fire, and whether every reading is there, once, after."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.chaos.run import Outcome

_MOST_MINUTES = 24 * 60
_A_MINUTE = 20


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "chaos",
        help="kill, cut and fill up everything at random, and look for what got lost",
        description="Runs agents, two collectors, roll-up, broker and database in a temporary folder, and kills, cuts, "
        "fills, skews and poisons them at random. Servers in use are left alone. Exit status 1 when a reading is lost, "
        "or stored twice, or anything else does not come out right; the folder stays then.",
    )
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M", help="about how long (default: %(default)s)")
    parser.add_argument(
        "--faults", type=int, metavar="N", help=f"how many, spread over that time (default: {_A_MINUTE} a minute)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which faults in which order (default: 1)")
    parser.add_argument(
        "--collectors",
        type=int,
        choices=[1, 2, 3, 4],
        default=2,
        help="one has a session that the broker keeps, more share a subscription (default: %(default)s)",
    )
    parser.add_argument(
        "--broker-persistence",
        choices=["on", "off", "both"],
        default="both",
        help="whether the broker keeps on disk what it acknowledged; both: now so, now so, from kill to kill (default)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import json
    import signal
    import sys

    from deploy.chaos.errors import ChaosRefusedError
    from deploy.chaos.run import ChaosSettings, run_chaos

    if not 0 < arguments.minutes <= _MOST_MINUTES:
        raise ChaosRefusedError(f"minutes are more than 0 and at most {_MOST_MINUTES}; give another number of them")
    faults = max(1, round(arguments.minutes * _A_MINUTE)) if arguments.faults is None else arguments.faults
    if not 1 <= faults <= 100 * _A_MINUTE * arguments.minutes:
        raise ChaosRefusedError(f"there are 1 to {100 * _A_MINUTE} faults a minute; give fewer, or more minutes")
    settings = ChaosSettings(
        minutes=arguments.minutes,
        faults=faults,
        seed=arguments.seed,
        collectors=arguments.collectors,
        persistence=arguments.broker_persistence,
    )
    # An ordinary kill ends it as Ctrl-C does: with everything taken away.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    outcome = run_chaos(settings, say=lambda line: print(line, file=sys.stderr, flush=True))
    if arguments.json:
        print(json.dumps(outcome.as_json(), indent=2, ensure_ascii=False))
    else:
        _print_words(outcome)
    return 0 if outcome.is_good else 1


def _print_words(outcome: Outcome) -> None:
    verdict = outcome.verdict
    print(f"\n{sum(outcome.injected.values())} faults in {outcome.seconds:.0f} s, seed {outcome.settings.seed}")
    for kind, count in outcome.injected.items():
        print(f"  {count:5}  {kind}")
    if outcome.came_to_nothing:
        print(f"  tried and came to nothing, not counted: {sum(outcome.came_to_nothing.values())}")
    if verdict is not None:
        held = ", ".join(f"{count:,} {reason}" for reason, count in sorted(verdict.quarantined.items()))
        print(f"\nreadings that drivers took {verdict.taken:12,}")
        print(f"  stored once              {verdict.stored:12,}")
        print(f"  in quarantine            {sum(verdict.quarantined.values()):12,}  {held}")
        print(
            f"  dropped and counted      {verdict.missing:12,}  of {verdict.dropped:,} that an outbox gave up when full"
        )
        print(f"  lost                     {verdict.lost:12,}")
        print(f"  stored twice             {verdict.doubled:12,}")
        print(f"came again, stored once    {verdict.repeated:12,}")
        print(f"poison, all in quarantine  {sum(verdict.poison.values()):12,}")
        for what, is_right in (
            ("ledger and outboxes", verdict.is_ledger_right),
            ("consumption", verdict.is_consumption_right),
            ("computed anew", verdict.is_rebuilt_identical),
        ):
            print(f"{what:26} {'agrees' if is_right else 'DOES NOT AGREE':>12}")
    for finding in outcome.findings:
        print(f"FOUND: {finding}")
