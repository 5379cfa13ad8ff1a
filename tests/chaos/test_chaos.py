"""Everything is killed, cut, filled up and poisoned; in the end every reading is there, once.

Faults come from a seed, `AFKOBLING_CHAOS_SEED`, and `AFKOBLING_CHAOS_FAULTS` says how many there are where there may be
many; what happens between them is up to the machine. They are printed when a test fails.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.broker_client import new_client
from deploy.chaos.clock import clock_for
from deploy.chaos.evidence import gather
from deploy.chaos.fault import OF_SERVERS, Kind
from deploy.chaos.plant import Plant, PlantSettings, now_ms, running_plant
from deploy.chaos.processes import Processes, wait_for
from deploy.chaos.proxy import may_vanish
from deploy.chaos.run import ChaosSettings, possible_kinds, run_on
from deploy.chaos.servers import Servers
from deploy.chaos.settling import settle
from deploy.chaos.verdict import judge
from deploy.stack import Endpoints
from schemas.broker_url import parse_broker_url

SEED = int(os.environ.get("AFKOBLING_CHAOS_SEED", "1"))
FAULTS = int(os.environ.get("AFKOBLING_CHAOS_FAULTS", "12"))
_FEW = 12
"""What `make chaos` has more of is asked of the command itself."""
_SECONDS_A_FAULT = 1.1
_LONG = 100
_DEAD_S = 240
"""Until a silent peer must have been found out: keep-alive times, and some patience."""

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600 + 5 * FAULTS)]


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def servers(database_url: str, broker_url: str) -> Servers:
    """Those that all tests share, so nobody kills them."""
    return Servers(Endpoints(database_url=database_url, broker_url=broker_url), folder=None)


@contextmanager
def forgotten_session(broker_url: str, client_id: str) -> Iterator[None]:
    """The broker keeps nothing for a collector that will not come back."""
    try:
        yield
    finally:
        parts = urlsplit(broker_url)
        client = new_client(parse_broker_url(broker_url), client_id=client_id)
        client.connect(str(parts.hostname), parts.port or 1883, clean_start=True)
        client.loop_start()
        wait_for(client.is_connected, "the broker")
        client.disconnect()
        client.loop_stop()


def test_the_whole_stack_under_fire(tmp_path: Path) -> None:
    """As a user runs it: a stack of its own, servers killed too, a broker that keeps nothing or old things."""
    minutes = str(_FEW * _SECONDS_A_FAULT / 60)
    with Processes(tmp_path, {}, tell=print) as processes:
        processes.start("chaos", "chaos", "--minutes", minutes, "--faults", str(_FEW), "--seed", str(SEED), "--json")
        ended: list[int] = []

        def has_ended() -> bool:
            status = processes.ended("chaos")
            ended.extend([] if status is None else [status])
            return bool(ended)

        wait_for(has_ended, "the run of chaos", 500)
        said = processes.log("chaos").read_text("utf-8")
    assert ended == [0]
    found = json.loads(said[said.index("\n{\n") :].partition("\n}\n")[0] + "}")
    assert found["ok"] is True
    assert found["findings"] == []
    assert (found["lost"], found["doubled"], found["strange"]) == (0, 0, 0)
    assert found["faults"] == sum(found["faults_by_kind"].values()) == _FEW
    assert found["taken"] == found["stored"] + sum(found["quarantined"].values()) + found["missing"] > 0
    assert len(found["faults_by_kind"]) >= 10
    assert found["folder"] is None
    assert found["is_ledger_right"]
    assert found["is_consumption_right"]
    assert found["is_rebuilt_identical"]


def test_one_collector_with_a_session_of_its_own(servers: Servers, tmp_path: Path, organisation: str) -> None:
    # A part of what a broker and a database of its own go through.
    faults = max(FAULTS // 2, 1)
    settings = ChaosSettings(minutes=faults * _SECONDS_A_FAULT / 60, faults=faults, seed=SEED + 1, collectors=1)
    with forgotten_session(servers.broker_url, f"{organisation}-collector-1"):
        outcome = run_on(servers, settings, folder=tmp_path, organisation=organisation, say=print)
    assert outcome.findings == []
    assert outcome.verdict is not None
    assert outcome.verdict.was_late
    assert not {Kind(kind) for kind in outcome.injected} & {*OF_SERVERS, Kind.POISON}


def test_servers_of_others_are_left_alone(servers: Servers) -> None:
    assert servers.kill(broker=True, database=True) is False
    assert not possible_kinds(servers) & {*OF_SERVERS, Kind.POISON}


@pytest.mark.skipif(not may_vanish(), reason="this kernel lets only root filter packets")
@pytest.mark.skipif(FAULTS < _LONG, reason=f"takes minutes: set AFKOBLING_CHAOS_FAULTS to {_LONG} or more")
def test_a_dead_network_is_noticed_by_everybody(servers: Servers, tmp_path: Path, organisation: str) -> None:
    """No reset, no end: packets just don't come any more. Whoever waits must find out and connect anew."""
    settings = PlantSettings(
        folder=tmp_path,
        organisation=organisation,
        seed=SEED,
        clock=clock_for(now_ms(), span_s=4 * _DEAD_S),
        collectors=1,
    )
    with (
        forgotten_session(servers.broker_url, f"{organisation}-collector-1"),
        running_plant(settings, servers, tell=print) as plant,
    ):
        plant.start_all()
        for _ in range(2):
            _wait_until_it_goes_on(plant)
            for proxy in plant.proxies.values():
                proxy.go_dead()
        _wait_until_it_goes_on(plant)
        settle(plant, [], print)
        verdict = judge(gather(plant, []))
    assert verdict.findings == []


def _wait_until_it_goes_on(plant: Plant) -> None:
    stored, computed_to_ms = plant.stored(), plant.computed_to_ms()

    def goes_on() -> bool:
        plant.check()
        return plant.stored() > stored and plant.computed_to_ms() > computed_to_ms

    wait_for(goes_on, "readings and roll-up go on", _DEAD_S)
