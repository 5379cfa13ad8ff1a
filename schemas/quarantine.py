"""The words for why something is in quarantine; a technician meets them on the page."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something went to quarantine."""

    FOREIGN_TOPIC = "foreign topic"
    OVERSIZED = "oversized message"
    MALFORMED = "malformed message"
    WRONG_VERSION = "wrong schema version"
    UNKNOWN_AGENT = "unknown agent"
    UNKNOWN_METER = "unknown meter"
    WRONG_UNIT = "wrong unit"
    NOT_A_NUMBER = "value is not a finite number"
    OUT_OF_RANGE = "value beyond what can be stored"
    FUTURE = "time in the future"
    TOO_OLD = "time before 2000"
    CONFLICT = "another value for the same instant"
    UNKNOWN_LINE = "unknown line or product"
    UNSTORABLE = "refused by the database"
    ARCHIVE_AWAY = "archive away"
