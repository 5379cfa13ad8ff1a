"""A run of chaos from an empty folder to a verdict."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import stack
from deploy.chaos.clock import clock_for
from deploy.chaos.errors import ChaosRefusedError, PartEndedError, StuckError
from deploy.chaos.evidence import gather
from deploy.chaos.fault import OF_SERVERS, Kind
from deploy.chaos.plant import PlantSettings, now_ms, running_plant
from deploy.chaos.proxy import may_vanish
from deploy.chaos.schedule import Schedule
from deploy.chaos.servers import Persistence, Servers, keeps_at_first
from deploy.chaos.settling import settle
from deploy.chaos.verdict import Verdict, judge
from deploy.migrate import migrate
from deploy.stack.addresses import BROKER_VARIABLE, DATABASE_VARIABLE

_PATIENCE = 3
"""Times the length that was asked for: so long is waited for all faults to happen."""
_SETTLING_S = 60
_GIVEN = (DATABASE_VARIABLE, BROKER_VARIABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosSettings:
    """`faults` of so many kinds over `minutes`, in an order and at instants that `seed` tells."""

    minutes: float
    faults: int
    seed: int
    collectors: int = 2
    persistence: Persistence = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done and what came of it. `verdict` is None when the run itself broke off; `findings` says why then.

    `came_to_nothing`: faults that were tried and seen to do nothing; they are not in `injected`.
    """

    settings: ChaosSettings
    injected: dict[str, int]
    came_to_nothing: dict[str, int]
    forgetful_broker_kills: int
    seconds: float
    settling_seconds: float
    verdict: Verdict | None
    findings: list[str]
    folder: Path | None

    @property
    def is_good(self) -> bool:
        """Whether nothing was found, in a run with all the faults that were asked for."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """One flat object, of figures and findings."""
        verdict = self.verdict
        figures: dict[str, Any] = {}
        if verdict is not None:
            figures = {name: getattr(verdict, name) for name in verdict.__dataclass_fields__ if name != "findings"}
        return {
            "ok": self.is_good,
            "seed": self.settings.seed,
            "minutes": self.settings.minutes,
            "collectors": self.settings.collectors,
            "broker_persistence": self.settings.persistence,
            "faults": sum(self.injected.values()),
            "faults_by_kind": self.injected,
            "came_to_nothing": self.came_to_nothing,
            "kills_of_a_broker_without_persistence": self.forgetful_broker_kills,
            "seconds": round(self.seconds, 1),
            "settling_seconds": round(self.settling_seconds, 1),
            **figures,
            "findings": self.findings,
            "folder": None if self.folder is None else str(self.folder),
        }


def possible_kinds(servers: Servers) -> frozenset[Kind]:
    """What can be done on this machine and to these servers. Poison is for a broker of our own."""
    impossible = set() if may_vanish() else {Kind.VANISH}
    if not servers.are_ours:
        impossible |= {*OF_SERVERS, Kind.POISON}
    return frozenset(Kind) - impossible


def run_chaos(settings: ChaosSettings, *, say: Callable[[str], None]) -> Outcome:
    """On a stack of its own, which is taken away again; its folder stays when something was found.

    Raises StackError when there can be no stack. Whatever goes wrong from then on is a finding.
    """
    folder = Path(tempfile.mkdtemp(prefix="afkobling-chaos-"))
    # PostgreSQL runs as an unprivileged user when root runs this, and must get through.
    folder.chmod(0o755)
    data, work = folder / "stack", folder / "plant"
    work.mkdir()
    is_kept = False
    try:
        with _no_given_servers():
            endpoints = stack.up(data, persistence=keeps_at_first(settings.persistence), report=say)
            migrate(endpoints.database_url)
            servers = Servers(endpoints, folder=data, persistence=settings.persistence)
            # A defect that ends the run is worth looking at, too.
            is_kept = True
            outcome = run_on(servers, settings, folder=work, organisation="chaos", say=say)
        is_kept = not outcome.is_good
    except KeyboardInterrupt:
        is_kept = False
        raise
    finally:
        try:
            stack.down(data, report=say)
        finally:
            if not is_kept:
                shutil.rmtree(folder, ignore_errors=True)
        if is_kept:
            say(f"Kept for looking: logs, outboxes and the ground truth in {work}; `afkobling stack up --data {data}`")
    return outcome


def run_on(
    servers: Servers,
    settings: ChaosSettings,
    *,
    folder: Path,
    organisation: str,
    kinds: Collection[Kind] | None = None,
    say: Callable[[str], None],
) -> Outcome:
    """On these servers, with a migrated database; all that the parts write is in `folder`."""
    if settings.faults < 1 or settings.minutes <= 0:
        raise ChaosRefusedError("there must be one fault at least, and some time for it")
    longest_s = settings.minutes * 60 * _PATIENCE
    plant_settings = PlantSettings(
        folder=folder,
        organisation=organisation,
        seed=settings.seed,
        clock=clock_for(now_ms(), span_s=longest_s + _SETTLING_S),
        collectors=settings.collectors,
    )
    rng = random.Random(f"schedule {settings.seed} {settings.collectors}")  # noqa: S311 - nothing secret
    began_s = settling_s = time.monotonic()
    findings: list[str] = []
    verdict: Verdict | None = None
    with running_plant(plant_settings, servers) as plant:
        schedule = Schedule(plant, rng, kinds or possible_kinds(servers), say)
        try:
            plant.start_all()
            schedule.play(faults=settings.faults, seconds=settings.minutes * 60, longest_s=longest_s)
            settling_s = time.monotonic()
            settle(plant, schedule.faults.poisons, say)
            say("Everything is at rest; every reading is looked for")
            verdict = judge(gather(plant, schedule.faults.poisons))
            findings += verdict.findings
        except (PartEndedError, StuckError, stack.StackError) as error:
            findings.append(str(error))
    if schedule.injected < settings.faults:
        findings.append(f"only {schedule.injected} of {settings.faults} faults could be injected; give it more minutes")
    return Outcome(
        settings=settings,
        injected=_counted(schedule, is_seen=True),
        came_to_nothing=_counted(schedule, is_seen=False),
        forgetful_broker_kills=servers.kills_of_a_forgetful_broker,
        seconds=time.monotonic() - began_s,
        settling_seconds=time.monotonic() - settling_s,
        verdict=verdict,
        findings=findings,
        folder=folder if findings else None,
    )


def _counted(schedule: Schedule, *, is_seen: bool) -> dict[str, int]:
    counted = Counter(fault.kind for fault in schedule.happened if fault.is_seen is is_seen)
    return {kind.value: counted[kind] for kind in Kind if counted[kind]}


@contextmanager
def _no_given_servers() -> Iterator[None]:
    """Servers that somebody named are theirs: nobody wants those killed."""
    given = {name: url for name in _GIVEN if (url := os.environ.pop(name, None)) is not None}
    try:
        yield
    finally:
        os.environ.update(given)
