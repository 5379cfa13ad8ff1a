"""Which findings are alerts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.quality.finding import Finding
from schemas.alerts import AlertRule
from schemas.findings import FindingKind

RULES: dict[FindingKind, AlertRule] = {
    FindingKind.SILENT: AlertRule.SILENT,
    FindingKind.AGENT_OFFLINE: AlertRule.SILENT,
    FindingKind.AGENT_SILENT: AlertRule.SILENT,
    FindingKind.NEGATIVE_REST: AlertRule.NEGATIVE_REST,
    FindingKind.LEAK: AlertRule.LEAK,
    FindingKind.SPIKE: AlertRule.SPIKE,
}
LOOK_BACK = timedelta(days=8)
"""A week and a night: a meter that rests on Sundays only shows a leak then."""
FRESH = timedelta(days=1)
"""How long ago a spike may be, and how long ago the last day with a negative rest may have ended [O]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that holds now. Of `meter` and `agent` one is there."""

    rule: AlertRule
    meter: str | None
    agent: str | None
    since: datetime
    seen: str
    why: str
    todo: str

    @property
    def key(self) -> tuple[AlertRule, str, str]:
        """What two alerts may not share while both are open."""
        return self.rule, self.meter or "", self.agent or ""


def conditions(findings: Sequence[Finding], *, now: datetime) -> list[Condition]:
    """What holds now, one condition for each rule and meter (or agent), the earliest first."""
    found: dict[tuple[AlertRule, str, str], Condition] = {}
    for finding in sorted(findings, key=lambda finding: finding.start):
        rule = RULES.get(finding.kind)
        if rule is None or (finding.end is not None and now - finding.end > FRESH):
            continue
        # What ended lately holds for a spike and a day's balance; a leak that is over is over.
        if finding.end is not None and rule is AlertRule.LEAK:
            continue
        condition = Condition(
            rule=rule,
            meter=finding.meter,
            agent=None if finding.meter else finding.agent,
            since=finding.start,
            seen=finding.seen,
            why=finding.why,
            todo=finding.todo,
        )
        found.setdefault(condition.key, condition)
    return list(found.values())
