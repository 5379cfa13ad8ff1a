"""Connections are cut, stalled and torn, processes and servers are killed; in the end every reading is there, once.

The schedule comes from a seed, `AFKOBLING_CHAOS_SEED`, and has `AFKOBLING_CHAOS_ROUNDS` rounds; what happens between
its steps is up to the machine. It is printed when the test fails.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy import stack
from tests.chaos.plant import Plant, running_plant
from tests.chaos.proxy import may_vanish
from tests.chaos.truth import PART_MS, Truth, make_truth
from tests.e2e.processes import wait_for

SEED = int(os.environ.get("AFKOBLING_CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("AFKOBLING_CHAOS_ROUNDS", "25"))
_LONG_ROUNDS = 100
_DEAD_S = 180
"""Until a silent peer must have been found out: keep-alive times, and some patience."""
_WEIGHTS = {
    "cut": 3,
    "refuse": 2,
    "tear": 4,
    "stall": 2,
    "vanish": 2,
    "kill edge": 3,
    "kill collector": 2,
    "kill rollup": 2,
}

MAY_VANISH = may_vanish()

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300 + 5 * ROUNDS)]


@pytest.fixture
def truth() -> Truth:
    """Ends before now, as the collector refuses what is of the future."""
    parts = max(4, ROUNDS // 4)
    now_ms = time.time_ns() // 1_000_000
    return make_truth(SEED, parts=parts, start_ms=now_ms // 900_000 * 900_000 - (parts + 1) * PART_MS)


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid.uuid4().hex[:12]}"


def forget_session(broker_url: str, client_id: str) -> None:
    """The broker keeps nothing for a collector that will not come back."""
    parts = urlsplit(broker_url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.connect(str(parts.hostname), parts.port or 1883, clean_start=True)
    client.loop_start()
    wait_for(client.is_connected, "the broker")
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("collectors", [1, 2], ids=["one-collector", "two-sharing"])
def test_nothing_is_lost_and_nothing_is_stored_twice(
    database_url: str, broker_url: str, tmp_path: Path, truth: Truth, organisation: str, collectors: int
) -> None:
    rng = random.Random(f"schedule {SEED} {collectors}")
    with running_plant(
        folder=tmp_path,
        truth=truth,
        organisation=organisation,
        database_url=database_url,
        broker_url=broker_url,
        collectors=collectors,
        share_group=organisation if collectors > 1 else None,
        is_proxied=True,
        rng=rng,
    ) as plant:
        try:
            plant.start_all()
            Schedule(plant, rng).play(ROUNDS)
            plant.settle()
            plant.check()
            assert sum(proxy.cuts for proxy in plant.proxies.values()) > 0
        finally:
            for name in plant.collectors:
                forget_session(broker_url, f"{organisation}-{name}")


@pytest.mark.skipif(not MAY_VANISH, reason="this kernel lets only root filter packets")
@pytest.mark.skipif(
    ROUNDS < _LONG_ROUNDS, reason=f"takes minutes: set AFKOBLING_CHAOS_ROUNDS to {_LONG_ROUNDS} or more"
)
def test_a_dead_network_is_noticed_by_everybody(
    database_url: str, broker_url: str, tmp_path: Path, truth: Truth, organisation: str
) -> None:
    """No reset, no end: packets just don't come any more. Whoever waits must find out and connect anew."""
    with running_plant(
        folder=tmp_path,
        truth=truth,
        organisation=organisation,
        database_url=database_url,
        broker_url=broker_url,
        collectors=1,
        share_group=organisation,
        is_proxied=True,
        rng=random.Random(f"dead {SEED}"),
    ) as plant:
        plant.start_all()
        for _ in range(2):
            stored, computed_to_ms = plant.stored(), plant.computed_to_ms()
            wait_for(partial(_goes_on, plant, stored, computed_to_ms), "readings and roll-up go on", _DEAD_S)
            stored, computed_to_ms = plant.stored(), plant.computed_to_ms()
            for proxy in plant.proxies.values():
                proxy.go_dead()
        wait_for(partial(_goes_on, plant, stored, computed_to_ms), "readings and roll-up go on", _DEAD_S)
        plant.settle()
        plant.check()


def _goes_on(plant: Plant, stored: int, computed_to_ms: int) -> bool:
    plant.tick()
    return plant.stored() > stored and plant.computed_to_ms() > computed_to_ms


class Schedule:
    """Rounds of one to three events; each lasts for one to three rounds before it is made good."""

    def __init__(self, plant: Plant, rng: random.Random) -> None:
        self._plant = plant
        self._rng = rng
        self._open: list[tuple[int, str, Callable[[], None]]] = []
        self._began_s = time.monotonic()

    def play(self, rounds: int) -> None:
        print(f"AFKOBLING_CHAOS_SEED={SEED} AFKOBLING_CHAOS_ROUNDS={ROUNDS}")
        for number in range(1, rounds + 1):
            self._make_good(number)
            for _ in range(self._rng.choice((1, 1, 2, 3))):
                self._happen(number)
            self._wait(self._rng.uniform(0.2, 0.9))
        self._make_good(rounds + 1000)

    def _wait(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.05))
            self._plant.tick()

    def _make_good(self, number: int) -> None:
        due = [entry for entry in self._open if entry[0] <= number]
        self._open = [entry for entry in self._open if entry[0] > number]
        for _, words, act in due:
            self._say(number, words)
            act()

    def _happen(self, number: int) -> None:
        kind = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        if kind == "vanish" and not MAY_VANISH:
            kind = "stall"
        until = number + self._rng.randint(1, 3)
        size = int(2 ** self._rng.uniform(0, 13))
        place = self._rng.random()
        if kind.startswith("kill"):
            self._kill(number, kind.removeprefix("kill "), place, until)
            return
        proxies = [
            proxy for name, proxy in sorted(self._plant.proxies.items()) if kind != "vanish" or "database" in name
        ]
        proxy = proxies[int(place * len(proxies))]
        self._say(number, f"{kind} {proxy.name}" + (f" after {size} bytes" if kind == "tear" else ""))
        match kind:
            case "cut":
                proxy.cut()
                return
            case "refuse":
                proxy.cut(refuse=True)
            case "tear":
                proxy.cut_after(size)
                return
            case "stall":
                proxy.stall()
            case "vanish":
                proxy.vanish()
        self._open.append((until, f"heal {proxy.name}", proxy.heal))

    def _kill(self, number: int, what: str, place: float, until: int) -> None:
        plant = self._plant
        names = {"edge": plant.edges, "collector": plant.collectors, "rollup": ["rollup"]}[what]
        name = names[int(place * len(names))]
        if plant.processes.is_running(name):
            self._say(number, f"kill {name}")
            plant.kill(name)
            self._open.append((until, f"start {name}", lambda: plant.start(name)))

    def _say(self, number: int, words: str) -> None:
        print(f"  {time.monotonic() - self._began_s:6.2f} s  round {number:3}: {words}")


@pytest.fixture
def private_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a stack whose servers may be killed."""
    monkeypatch.delenv("AFKOBLING_DATABASE_URL", raising=False)
    monkeypatch.delenv("AFKOBLING_BROKER_URL", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="afkobling-chaos-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        try:
            stack.up(folder)
        except stack.StackError as error:
            if os.environ.get("CI"):
                pytest.fail(f"the local stack can't be had: {error}")
            pytest.skip(f"the local stack can't be had: {error}")
        yield folder
    finally:
        stack.reset(folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_servers_are_killed(private_stack: Path, tmp_path: Path, truth: Truth, organisation: str) -> None:
    from deploy.migrate import migrate

    servers = stack.endpoints(private_stack)
    migrate(servers.database_url)
    rng = random.Random(f"servers {SEED}")
    print(f"AFKOBLING_CHAOS_SEED={SEED} AFKOBLING_CHAOS_ROUNDS={ROUNDS}")
    with running_plant(
        folder=tmp_path,
        truth=truth,
        organisation=organisation,
        database_url=servers.database_url,
        broker_url=servers.broker_url,
        collectors=1,
        share_group=None,
        is_proxied=False,
        rng=rng,
    ) as plant:
        plant.start_all()
        for server in ("broker", "database", "both"):
            wait_for(partial(_has_more, plant, plant.stored()), "readings arrive")
            _linger(plant, rng)
            pids = stack.pids(private_stack)
            killed = {"broker": [pids.broker], "database": [pids.database], "both": [pids.broker, pids.database]}
            for pid in killed[server]:
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            print(f"killed {server}")
            _linger(plant, rng)
            if server != "database":
                stack.restart_broker(private_stack)
            if server != "broker":
                stack.restart_database(private_stack)
        plant.settle()
        plant.check()


def _has_more(plant: Plant, before: int) -> bool:
    plant.tick()
    return plant.stored() > before


def _linger(plant: Plant, rng: random.Random) -> None:
    until_s = time.monotonic() + rng.uniform(0.3, 2)
    while time.monotonic() < until_s:
        plant.tick()
        time.sleep(0.05)
