"""Each reading counts once: as stored, repeated or quarantined."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.batch import Checked, Origin, Place
from collector.counting import Came, count_message
from collector.quarantine import QuarantineEntry
from schemas.quarantine import Reason
from schemas.topics import AgentAddress

ADDRESS = AgentAddress(organisation="acme", site="odense", agent="cabinet")
PLACE = Place(address=ADDRESS, epoch="E1", seq=1)


def entry(readings: int, payload: bytes = b"x", reason: Reason = Reason.UNKNOWN_METER) -> QuarantineEntry:
    return QuarantineEntry(
        reason=reason,
        detail="",
        topic="t",
        address=ADDRESS,
        epoch="E1",
        seq=1,
        readings=readings,
        content_type="",
        payload=payload,
    )


def message(readings: int, counted: int | None = None, origin: QuarantineEntry | None = None) -> Checked:
    found = None if counted is None else Origin(id=7, digest=(origin or entry(1, b"old")).digest, counted=counted)
    return Checked(place=PLACE, readings=readings, message=None, origin=found)


def came(stored: int, repeated: int, *refused: QuarantineEntry, is_new: bool = False) -> Came:
    return Came(is_new=is_new, stored=stored, repeated=repeated, refused=refused)


@pytest.mark.parametrize(
    ("readings", "counted", "outcome", "moves", "counts"),
    [
        # new, then replayed: all of it, a part, none, for another reason
        (6, None, came(3, 1, entry(2), is_new=True), (3, 1, 2), [2]),
        (5, 5, came(4, 1), (4, 1, -5), []),
        (5, 5, came(2, 1, entry(2)), (2, 1, -3), [2]),
        (5, 5, came(0, 0, entry(2), entry(3, b"y")), (0, 0, 0), [2, 3]),
        # some of it came again in between, and is counted as stored since
        (5, 3, came(3, 2), (3, 0, -3), []),
        (5, 3, came(0, 2, entry(3)), (0, 0, 0), [3]),
        # a plain reading that came three times
        (1, 3, came(1, 0), (1, 2, -3), []),
        (1, 3, came(0, 0, entry(1)), (0, 0, 0), [3]),
        # redelivered: a no-op, unless the number was used twice
        (2, None, came(0, 2), (0, 0, 0), []),
        (2, None, came(0, 1, entry(1, reason=Reason.CONFLICT)), (0, 0, 0), [0]),
        (2, None, came(1, 0, entry(1, reason=Reason.CONFLICT)), (1, 0, 1), [1]),
    ],
)
def test_what_moves(
    readings: int, counted: int | None, outcome: Came, moves: tuple[int, int, int], counts: list[int]
) -> None:
    found = count_message(message(readings, counted), outcome)
    assert (found.stored, found.repeated, found.quarantined) == moves
    assert [refusal.counted for refusal in found.refusals] == counts
    assert (found.settlement is None) == (counted is None)


def test_the_same_entry_again_is_kept_and_not_written_twice() -> None:
    same = entry(1)
    found = count_message(message(1, 1, same), came(0, 0, same))
    assert found.refusals == ()
    assert found.settlement is not None
    assert (found.settlement.kept, found.settlement.is_partial) == (same, False)
    other = count_message(message(1, 1, same), came(0, 0, replace(same, payload=b"less")))
    assert other.settlement is not None
    assert (other.settlement.kept, other.settlement.is_partial) == (None, True)
    assert [refusal.left_of for refusal in other.refusals] == [7]


def test_without_a_place_nothing_counts() -> None:
    found = count_message(replace(message(3, 0), place=None), came(0, 0, entry(3), is_new=True))
    assert (found.stored, found.repeated, found.quarantined) == (0, 0, 0)
    assert [refusal.counted for refusal in found.refusals] == [0]
