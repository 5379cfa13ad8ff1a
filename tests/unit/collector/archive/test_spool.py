"""From the order of instants into that of sites and meters, whatever fits into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.archive import spool
from collector.archive.contents import Contents
from collector.archive.rows import Rows
from collector.archive.spool import by_site, group_meters


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 60))
def test_groups_fit_unless_one_meter_does_not(readings, most):
    groups = group_meters(np.array(readings, dtype=np.int64), most=most)
    assert np.all(np.diff(groups) >= 0)
    for group in np.unique(groups):
        own = np.array(readings)[groups == group]
        assert own.sum() <= most or len(own) == 1


def pages(rows: Rows, size: int) -> Iterator[Rows]:
    for begin in range(0, len(rows), size):
        yield rows.select(slice(begin, begin + size))


@pytest.mark.parametrize("most", [1, 7, 100, 10_000])
def test_pieces_are_the_readings_of_their_site_in_order(tmp_path, monkeypatch, most):
    monkeypatch.setattr(spool, "GROUP_READINGS", most)
    rng = np.random.default_rng(5)
    meter_id = rng.choice([3, 4, 9, 11, 40], size=900, p=[0.6, 0.1, 0.1, 0.1, 0.1]).astype(np.int32)
    rows = Rows(
        meter_id=meter_id,
        at_us=np.sort(rng.integers(0, 10**15, 900)),
        value=rng.normal(size=900),
        quality=rng.integers(0, 3, 900).astype(np.int16),
    )
    # Meters of site 2 have smaller numbers than one of site 1; the model does not know meter 40 yet.
    known = np.array([9, 11, 3, 4])
    contents = Contents(
        site_id=np.array([1, 1, 2, 2], dtype=np.int32),
        meter_id=known.astype(np.int32),
        readings=np.array([np.count_nonzero(meter_id == meter) for meter in known]),
        checksum=np.zeros(4, dtype=np.uint64),
    )
    pieces = list(by_site(pages(rows, 64), contents, folder=tmp_path, most=most))
    assert [site for site, _ in pieces] == sorted(site for site, _ in pieces)
    for site, own in ((1, [9, 11]), (2, [3, 4])):
        expected = rows.select(np.isin(meter_id, own)).by_meter()
        parts = [part for number, part in pieces if number == site]
        for name in ("meter_id", "at_us", "value", "quality"):
            found = np.concatenate([getattr(part, name) for part in parts])
            assert found.tolist() == getattr(expected, name).tolist()
    assert list(tmp_path.iterdir()) == []


def test_nothing_comes_of_nothing(tmp_path):
    empty = np.empty(0, dtype=np.int64)
    contents = Contents(
        site_id=empty.astype(np.int32),
        meter_id=empty.astype(np.int32),
        readings=empty,
        checksum=empty.astype(np.uint64),
    )
    assert list(by_site(iter(()), contents, folder=tmp_path)) == []
