"""A finding: something that stands out, with what was seen, why it matters and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.findings import FindingKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`end` None: it goes on. `event` names the meter event behind it, `count` how many it stands for."""

    kind: FindingKind
    start: datetime
    end: datetime | None
    seen: str
    todo: str
    meter: str | None = None
    agent: str | None = None
    line: str | None = None
    event: str | None = None
    count: int = 1

    @property
    def why(self) -> str:
        """Why such a thing matters."""
        return _WHY[self.kind]


_WHY: dict[FindingKind, str] = {
    FindingKind.EXCHANGE: "Consumption goes over from the old register to the new one by the recorded values.",
    FindingKind.ROLLOVER: "A register that passed its end looks like one that was reset; its width tells them apart.",
    FindingKind.DIP: "Counted as it came, the fall or the way back would be consumption that never was.",
    FindingKind.RESET: "What ran through between the last reading before the reset and the reset itself is not known.",
    FindingKind.SPIKE: "Counted as it came, a wrong value would be consumption that never was.",
    FindingKind.FROZEN: "While a line runs, a register that stands still is more likely stuck than right.",
    FindingKind.GAP: "The total of the gap is kept, but when it was used is a guess, marked as estimated.",
    FindingKind.EXPORT: "A negative rate means that energy was given instead of taken, or that a wire is reversed.",
    FindingKind.SILENT: "What a register counts meanwhile comes later as an estimate; an unread rate is lost.",
    FindingKind.CADENCE: "Fewer readings than planned make consumption by the quarter of an hour less exact.",
    FindingKind.COVERAGE: "A month or a base period needs measured readings on at least 90 % of its days.",
    FindingKind.LEAK: "What runs at night, when nothing is made, is paid for and makes nothing.",
    FindingKind.NEGATIVE_REST: "Parts can't use more than the whole: a meter counts wrong, or has the wrong parent.",
    FindingKind.UNKNOWN_METER: "What the meter says goes to quarantine and counts nowhere.",
    FindingKind.CLOCK_SKEW: "Readings carry the agent's time: consumption and runs would not lie side by side.",
    FindingKind.AGENT_OFFLINE: "None of its meters is read, or what is read waits in its outbox.",
    FindingKind.AGENT_SILENT: "Several meters that one agent reads do not fall silent together by chance.",
    FindingKind.LEDGER_INCOMPLETE: "The agent sent messages that are not stored; their readings are missing.",
    FindingKind.READINGS_DROPPED: "The agent's outbox was full, so readings were given up; they are lost.",
    FindingKind.QUARANTINE: "What stands in quarantine counts nowhere.",
    FindingKind.RUN_OVERLAP: "A line makes one product at a time: what both claim is shared between them by time.",
    FindingKind.RUN_MISSING: "What is made or used in no run belongs to no product, and counts as unattributed.",
    FindingKind.RUN_OPEN_LONG: "All that its line uses goes to its product, until it ends or another run begins.",
}
