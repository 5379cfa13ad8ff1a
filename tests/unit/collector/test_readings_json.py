"""What the fast way to read readings keeps from message to message is bounded."""

from __future__ import annotations

import msgspec
import pytest

from collector import readings_json


def test_many_short_entries_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_json, "_MOST_KEPT", 10_000)
    read: list[bytes] = []

    def note(raw: bytes) -> int:
        read.append(raw)
        return len(read)

    repeated = readings_json._Repeated(note)
    for nth in range(1_000):
        repeated.read(msgspec.Raw(b"[%d]" % nth))
    assert 1 < len(repeated._kept) < 10_000 / 300
    assert repeated.read(msgspec.Raw(b"[999]")) == 1_000
    assert len(read) == 1_000, "the newest is known again"
