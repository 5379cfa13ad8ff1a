"""What befalls a single agent: a full outbox, a full disk, a clock that is wrong."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from deploy.chaos.fault import Kind, Open
from deploy.chaos.journal import LARGEST_BYTES, last_entry
from deploy.chaos.meters import BOILER, CABINET, CLOCK, PRESS, STEP_MS
from deploy.chaos.plant import SMALL_OUTBOX_BYTES, Plant, edge_of, now_ms

_DAY_MS = 86_400_000
_BURST = 36_000
"""Readings: more than the small outboxes hold."""
_NEARLY_FULL = SMALL_OUTBOX_BYTES - 5_000
"""Bytes that wait: no message more fits."""
_NEARLY_EMPTY = SMALL_OUTBOX_BYTES // 2
_LONGEST_S = 25.0
_DISK = "disk"


class AgentFaults:
    """Begins them on one plant; None where there is no way to do it now."""

    def __init__(self, plant: Plant, rng: random.Random) -> None:
        self._plant = plant
        self._rng = rng
        self._skews = 0

    def fill_until_it_stops(self, claimed: Collection[str]) -> Open | None:
        """A burst that is larger than an outbox which stops reading, and nothing leaves it."""
        return self._fill(Kind.FULL_STOP, BOILER, claimed, lambda: self._plant.waiting_bytes(BOILER) > _NEARLY_FULL)

    def fill_until_it_drops(self, claimed: Collection[str]) -> Open | None:
        """The same for an outbox that gives up its oldest messages."""
        before = self._dropped()
        return self._fill(Kind.FULL_DROP, PRESS, claimed, lambda: self._dropped() > before)

    def fill_disk(self, claimed: Collection[str]) -> Open | None:
        """No file of the agent may grow, as on a full disk: all but the small ones of its driver's journal."""
        name = edge_of(CABINET)
        if _DISK in claimed or not self._plant.processes.is_running(name):
            return None
        pid = self._plant.processes.pid(name)
        is_seen = _is_logged(self._plant, name, "outbox.failed", "cannot be used")
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2 * LARGEST_BYTES, most))
        return Open(
            kind=Kind.DISK_FULL,
            place=name,
            claims=frozenset({_DISK}),
            least_s=self._rng.uniform(0.5, 4),
            most_s=_LONGEST_S,
            is_seen=is_seen,
            make_good=partial(_make_room, pid, most),
        )

    def skew(self, claimed: Collection[str]) -> Open | None:
        """Ahead of everybody, back by months, or never set since 1970; never twice to the same instants."""
        if CLOCK in claimed:
            return None
        self._skews += 1
        clock = self._plant.settings.clock
        ahead_ms = now_ms() - clock.at(now_ms()) + 10 * self._skews * _DAY_MS
        skew_ms = self._rng.choice([ahead_ms, -30 * self._skews * _DAY_MS, -clock.begin_ms]) // STEP_MS * STEP_MS
        self._plant.order(CLOCK, skew_ms=skew_ms)
        truth = self._plant.truth(CLOCK)
        return Open(
            kind=Kind.SKEW,
            place=f"{edge_of(CLOCK)} by {skew_ms / _DAY_MS:+,.1f} days",
            claims=frozenset({CLOCK}),
            least_s=self._rng.uniform(0.5, 3),
            most_s=_LONGEST_S,
            is_seen=lambda: (entry := last_entry(truth)).skew_ms == skew_ms and bool(entry.rows),
            make_good=partial(_set_clock, self._plant),
        )

    def _fill(self, kind: Kind, agent: str, claimed: Collection[str], is_seen: Callable[[], bool]) -> Open | None:
        proxy = self._plant.proxies.get(f"{edge_of(agent)}→broker")
        done = last_entry(self._plant.truth(agent))
        orders = self._plant.order(agent)
        is_reading = (done.burst, done.done) != (orders.burst, orders.readings)
        if proxy is None or proxy.name in claimed or is_reading or self._plant.waiting_bytes(agent) > _NEARLY_EMPTY:
            return None
        proxy.cut(refuse=True)
        self._plant.order(agent, burst=orders.burst + 1, readings=_BURST)
        return Open(
            kind=kind,
            place=edge_of(agent),
            claims=frozenset({proxy.name}),
            least_s=1,
            most_s=_LONGEST_S,
            is_seen=is_seen,
            make_good=proxy.heal,
        )

    def _dropped(self) -> int:
        outbox = self._plant.outbox(PRESS)
        return 0 if outbox is None else outbox.dropped_readings


def _is_logged(plant: Plant, name: str, action: str, words: str) -> Callable[[], bool]:
    """Whether the process logs that from now on."""
    log = plant.processes.log(name)
    size = log.stat().st_size if log.exists() else 0

    def is_logged() -> bool:
        with log.open("rb") as file:
            file.seek(size)
            return any(action.encode() in line and words.encode() in line for line in file)

    return is_logged


def _make_room(pid: int, most: int) -> None:
    # One that was killed meanwhile has no limits when it is started again.
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def _set_clock(plant: Plant) -> None:
    plant.order(CLOCK, skew_ms=0)
