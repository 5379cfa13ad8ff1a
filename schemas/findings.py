"""Findings: what stands out in a site's data and somebody should look at."""

from __future__ import annotations

from enum import StrEnum


class FindingKind(StrEnum):
    """What was found. The first eight are meter events [METHODS §1] that nobody has decided about."""

    EXCHANGE = "exchange"
    ROLLOVER = "rollover"
    DIP = "dip"
    RESET = "reset"
    SPIKE = "spike"
    FROZEN = "frozen"
    GAP = "gap"
    EXPORT = "export"
    SILENT = "silent"
    CADENCE = "cadence"
    COVERAGE = "coverage"
    LEAK = "leak"
    NEGATIVE_REST = "negative_rest"
    UNKNOWN_METER = "unknown_meter"
    CLOCK_SKEW = "clock_skew"
    AGENT_OFFLINE = "agent_offline"
    AGENT_SILENT = "agent_silent"
    LEDGER_INCOMPLETE = "ledger_incomplete"
    READINGS_DROPPED = "readings_dropped"
    QUARANTINE = "quarantine"
    RUN_OVERLAP = "run_overlap"
    RUN_MISSING = "run_missing"
    RUN_OPEN_LONG = "run_open_long"
