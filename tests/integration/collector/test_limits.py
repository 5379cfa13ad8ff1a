"""What is larger than it may be goes to quarantine whole, and what comes behind it is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from collector.collector import Collector
from schemas.quarantine import Reason
from schemas.wire import ARROW_TYPE, MAX_PAYLOAD_BYTES
from tests.integration.collector.conftest import (
    Publisher,
    query,
    read_ledger,
    read_quarantine,
    readings,
    wait_for,
)

pytestmark = pytest.mark.stack
Start = Callable[..., Collector]


def test_a_small_stream_that_unfolds_to_much_is_kept_whole(
    database_url: str, publisher: Publisher, start_collector: Start
) -> None:
    rows = 5_000_000
    zeros = pa.array(np.zeros(rows, np.int32))
    table = pa.table(
        {
            "meter": pa.DictionaryArray.from_arrays(zeros, ["power"]),
            "unit": pa.DictionaryArray.from_arrays(zeros, ["kWh"]),
            "at": pa.array(np.zeros(rows, "datetime64[ms]"), pa.timestamp("ms", tz="UTC")),
            "value": np.zeros(rows),
            "quality": np.zeros(rows, np.int16),
        }
    ).replace_schema_metadata({"v": "1", "epoch": "A", "seq": "1", "sent_at": "1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    payload = bytes(sink.getvalue())
    assert len(payload) < MAX_PAYLOAD_BYTES
    start_collector()
    publisher.publish(payload, ContentType=ARROW_TYPE)
    publisher.publish(readings(1, [("power", 1, 2.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "the reading behind it")
    [(reason, _, detail)] = read_quarantine(database_url)
    assert reason == Reason.OVERSIZED
    assert f"{rows} rows" in detail
    assert query(database_url, "SELECT payload FROM quarantine") == [(payload,)]


def test_the_largest_message_is_a_setting(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    start_collector(most_message_bytes=2_000)
    large = readings(1, [("power", seconds, 1.0) for seconds in range(1, 200)])
    publisher.publish(large)
    publisher.publish(readings(2, [("power", 500, 2.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 2, "both confirmed")
    assert [row[:2] for row in read_quarantine(database_url)] == [(Reason.OVERSIZED, 199)]
    assert read_ledger(database_url) == [("E1", 2, 200, 1, 0, 199)]


def test_a_transaction_is_bounded_in_bytes(database_url: str, publisher: Publisher, start_collector: Start) -> None:
    """Messages that are refused count as little in readings, and as much as they take in bytes."""
    collector = start_collector(batch_bytes=2_000_000, batch_age_ms=2_000, most_message_bytes=1_000)
    for seq in range(1, 31):
        publisher.publish({**readings(seq, [("power", seq, 1.0)]), "filled": "x" * 500_000})
    publisher.publish(readings(31, [("power", 100, 2.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 31, "all confirmed")
    assert query(database_url, "SELECT count(*), min(length(payload)) > 500000 FROM quarantine") == [(30, True)]
    commits = collector.metrics.registry.get_sample_value("afkobling_collector_commit_seconds_count") or 0
    assert commits >= 30 * 500_000 / 2_500_000
