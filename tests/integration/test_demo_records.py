"""What the demo leaves in its database beside readings: which workshop it was, and the factors that it made up."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from api.site_model import apply_site_model
from deploy.demo.factors import load_factors
from deploy.demo.truth_file import read_truth, write_truth
from edge.simulation.workshop import Workshop, build_workshop

pytestmark = pytest.mark.stack
ZONE = ZoneInfo("Europe/Copenhagen")
START, END = datetime(2025, 2, 1, tzinfo=ZONE), datetime(2025, 4, 10, tzinfo=ZONE)


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return build_workshop(seed=2**63, start=START, end=END)


def test_the_truth_lies_where_commands_find_it(database_url: str, workshop: Workshop) -> None:
    model = workshop.site_model()
    assert read_truth("nordvang", "odense", database_url=database_url) is None
    write_truth(database_url, model, build_workshop(seed=3, start=START, end=END))
    write_truth(database_url, model, workshop)
    assert read_truth("nordvang", "aarhus", database_url=database_url) is None
    source = read_truth("nordvang", "odense", database_url=database_url)
    assert source is not None
    assert source.between(START, END) == workshop.truth(workshop.start_ms, workshop.end_ms)
    march = datetime(2025, 3, 1, tzinfo=ZONE), datetime(2025, 4, 1, tzinfo=ZONE)
    assert source.between(*march) == workshop.truth(*(round(edge.timestamp() * 1000) for edge in march))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2024, 1, 1, tzinfo=ZONE), END),
        (START, datetime(2026, 1, 1, tzinfo=ZONE)),
        (START, datetime(2025, 3, 1, 0, 1, tzinfo=UTC)),
        (END, START),
    ],
)
def test_of_other_periods_no_truth_is_told(
    database_url: str, workshop: Workshop, start: datetime, end: datetime
) -> None:
    write_truth(database_url, workshop.site_model(), workshop)
    source = read_truth("nordvang", "odense", database_url=database_url)
    assert source is not None
    assert source.between(start, end) is None


def test_factors_are_those_of_the_truth_and_named_as_simulated(database_url: str, workshop: Workshop) -> None:
    model = workshop.site_model()
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
    until = datetime(2025, 4, 2, 12, 30, tzinfo=UTC)
    load_factors(database_url, model, workshop, until_ms=round(until.timestamp() * 1000))
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT key, source, area, from_date, value FROM factor ORDER BY key").fetchall()
        hours = connection.execute(
            "SELECT extract(epoch FROM hour)::int8 * 1000, kg_per_unit FROM factor_hour ORDER BY hour"
        ).fetchall()
    keys = ["simulated-dk1-2025-01", "simulated-dk1-2025-02", "simulated-dk1-2025-03", "simulated-dk1-2025-04"]
    assert [row[0] for row in rows] == [*keys, "simulated-gas", "simulated-residual-mix"]
    assert all(row[1].startswith("simulated") for row in rows)
    assert [(row[2], row[3], row[4] is None) for row in rows[-2:]] == [(None, date(2025, 2, 1), False)] * 2
    # The hour that is not over has none yet.
    assert hours[-1][0] == round(datetime(2025, 4, 2, 11, tzinfo=UTC).timestamp() * 1000)
    expected = [(factor.at_ms, factor.kg_per_kwh) for factor in workshop.grid_factors()]
    assert hours == expected[: len(hours)]
