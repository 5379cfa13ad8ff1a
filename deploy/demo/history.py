"""The workshop's past, as the messages that its agents would have sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from collector.decode import Decoded, ReadingsMessage, RunsMessage
from edge.simulation.faults import FaultyWorkshop
from edge.simulation.workshop import Workshop
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from schemas.wire import Runs

CADENCE_MS = 5 * 60_000
_STRETCH_MS = 2 * 86_400_000
"""How much time one message covers."""
_RUNS_A_MESSAGE = 1_000


@dataclass(slots=True, kw_only=True)
class History:
    """`messages()` gives what was sent, oldest first; `sent` counts its readings, apart from whoever stores them."""

    workshop: Workshop | FaultyWorkshop
    model: SiteModel
    epoch: str
    from_ms: int
    to_ms: int
    sent: int = field(default=0, init=False)

    def expected(self) -> int:
        """How many readings there will be."""
        return sum(
            len(self.workshop.reading_times(meter.id, self.from_ms, self.to_ms, CADENCE_MS))
            for meter in self.model.meters
        )

    def messages(self) -> Iterator[Decoded]:
        # One whose meters are all unknown has no past.
        speaking = [agent.id for agent in self.model.agents if any(m.agent == agent.id for m in self.model.meters)]
        seqs = dict.fromkeys(speaking, 0)
        for start in range(self.from_ms, self.to_ms, _STRETCH_MS):
            end = min(start + _STRETCH_MS, self.to_ms)
            for agent in speaking:
                seqs[agent] += 1
                yield self._readings(agent, seqs[agent], start, end)
        first = self.model.agents[0].id
        spans = self.workshop.runs_between(self.from_ms, self.to_ms)
        for i in range(0, len(spans), _RUNS_A_MESSAGE):
            seqs[first] += 1
            part = spans[i : i + _RUNS_A_MESSAGE]
            runs = Runs(epoch=self.epoch, seq=seqs[first], sent_at=self.to_ms, runs=part)
            yield RunsMessage(address=self._address(first), runs=runs)

    def _readings(self, agent: str, seq: int, start: int, end: int) -> ReadingsMessage:
        meters = [meter for meter in self.model.meters if meter.agent == agent]
        times = [self.workshop.reading_times(meter.id, start, end, CADENCE_MS) for meter in meters]
        values = [self.workshop.registers(meter.id, at) for meter, at in zip(meters, times, strict=True)]
        meter = np.repeat(np.arange(len(meters), dtype=np.int32), [len(at) for at in times])
        at = np.concatenate(times)
        # As an agent sends them: all meters of one instant, then the next.
        order = np.lexsort((meter, at))
        self.sent += len(at)
        return ReadingsMessage(
            address=self._address(agent),
            epoch=self.epoch,
            seq=seq,
            sent_at=end,
            meters=[m.id for m in meters],
            units=[m.unit for m in meters],
            meter=meter[order],
            at=at[order],
            value=np.concatenate(values)[order],
            quality=np.zeros(len(at), dtype=np.int16),
        )

    def _address(self, agent: str) -> AgentAddress:
        return AgentAddress(organisation=self.model.organisation.id, site=self.model.site.id, agent=agent)
