"""`afkobling edge run` as a process of its own: signals, kills, and a whole file of measurements."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from schemas.topics import Kind
from schemas.wire import Runs

from .conftest import ADDRESS, DEADLINE_S, Broker, Collector, until, watermark

pytestmark = pytest.mark.stack

STEEL = Path(__file__).parents[4] / "shared" / "data" / "steel_industry_2018.csv"
# The command itself; the other words of `afkobling` are of no concern here.
COMMAND = "import sys, deploy.cli as cli; cli.COMMANDS = ('edge',); sys.exit(cli.main(sys.argv[1:]))"


class Agent:
    """Starts the same agent again and again, on the same outbox."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.config = folder / "edge.yaml"
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._broker = broker

    def configure(self, *lines: str) -> None:
        head = f"organisation: {ADDRESS.organisation}\nsite: {ADDRESS.site}\nagent: {ADDRESS.agent}\n"
        self.config.write_text(head + "\n".join(lines) + "\n")

    def start(self, *options: str) -> None:
        arguments = [
            sys.executable,
            "-W",
            "error",
            "-c",
            COMMAND,
            "edge",
            "run",
            "--config",
            str(self.config),
            *options,
        ]
        with self.log.open("ab") as log:
            environment = {**os.environ, "AFKOBLING_BROKER_URL": self._broker.url}
            self.process = subprocess.Popen(arguments, stderr=log, stdout=log, env=environment)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, DEADLINE_S)


@pytest.fixture
def agent(tmp_path: Path, broker: Broker) -> Iterator[Agent]:
    agent = Agent(tmp_path, broker)
    yield agent
    if agent.process is not None and agent.process.poll() is None:
        agent.process.kill()
        agent.process.wait()
    print(agent.log.read_text() if agent.log.exists() else "")


SIMULATED = ("batch: {readings: 50, age: 100ms}", "drivers:", "  - {name: workshop, driver: simulated, every: 20ms}")


async def test_sigterm_ends_cleanly(agent: Agent, collector: Collector) -> None:
    agent.configure(*SIMULATED)
    agent.start()
    await until(lambda: len(collector.seqs()) >= 5, "readings arrive")
    agent.send(signal.SIGTERM)
    assert await agent.ended() == 0
    await until(lambda: (s := collector.last_status()) is not None and s.state == "offline", "offline said")
    status = collector.last_status()
    assert status is not None
    assert status.outbox is not None
    # Said by the agent itself: a will knows nothing of the outbox.
    assert status.outbox.waiting == 0
    assert sorted(set(collector.seqs())) == sorted(
        set(range(1, status.outbox.last_seq + 1))
        - {Runs.model_validate_json(arrival.payload).seq for arrival in collector.of(Kind.RUNS)}
    )
    assert collector.of(Kind.RUNS)


async def test_a_kill_is_told_by_the_will_and_the_seq_goes_on(agent: Agent, collector: Collector) -> None:
    agent.configure(*SIMULATED)
    for _ in range(3):
        agent.start()
        await more_arrive(collector)
        agent.send(signal.SIGKILL)
        await agent.ended()
        await until(lambda: (s := collector.last_status()) is not None and s.state == "offline", "the will")
        assert (status := collector.last_status()) is not None
        assert status.outbox is None
    agent.start()
    await until(lambda: (s := collector.last_status()) is not None and s.state == "online", "online again")
    agent.send(signal.SIGINT)
    assert await agent.ended() == 0
    epochs = {batch.epoch for batch in collector.batches()}
    assert len(epochs) == 1
    seqs = set(collector.seqs()) | {Runs.model_validate_json(a.payload).seq for a in collector.of(Kind.RUNS)}
    assert watermark(seqs) == max(seqs)


async def more_arrive(collector: Collector) -> None:
    enough = len(collector.seqs()) + 5
    await until(lambda: len(collector.seqs()) >= enough, "readings arrive")


@pytest.mark.skipif(not STEEL.exists(), reason=f"the measured data is not here: {STEEL}")
async def test_a_year_of_measurements_arrives_whole(agent: Agent, collector: Collector) -> None:
    agent.configure("drivers:", f"  - {{name: steel, driver: replay, path: {STEEL}, speed: max}}")
    agent.start("--until-stored")
    assert await agent.ended() == 0
    values = collector.values()
    assert len(values) == 35_040
    assert round(sum(values), 2) == 959_636.71
    at = [instant for _, batch in sorted({b.seq: b for b in collector.batches()}.items()) for instant in batch.at]
    assert {later - earlier for earlier, later in pairwise(at)} == {900_000}


async def test_two_agents_do_not_share_an_outbox(agent: Agent, collector: Collector) -> None:
    agent.configure(*SIMULATED)
    agent.start()
    first = agent.process
    assert first is not None
    await until(collector.seqs, "the first runs")
    agent.start()
    assert await agent.ended() == 1
    assert "another agent uses the outbox" in agent.log.read_text()
    first.terminate()
    assert await asyncio.to_thread(first.wait, DEADLINE_S) == 0
