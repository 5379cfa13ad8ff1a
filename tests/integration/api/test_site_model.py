"""Applying a site model to the real database."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from api.errors import ModelRefusedError
from api.site_model import apply_site_model
from collector.rollup import roll_up_once
from schemas.locks import ROLLUP_TURN
from schemas.resources import MeterKind
from schemas.site import SiteModel
from tests.integration.api.conftest import utc

pytestmark = pytest.mark.stack


def _changed(site: SiteModel, **meters) -> SiteModel:
    return site.model_copy(
        update={"meters": [m.model_copy(update=meters.get(m.id.replace("-", "_"), {})) for m in site.meters]}
    )


def test_applying_again_changes_nothing(connection, site):
    before = connection.execute("SELECT * FROM meter ORDER BY id").fetchall()
    assert apply_site_model(connection, site) == []
    assert connection.execute("SELECT * FROM meter ORDER BY id").fetchall() == before


def _version(connection) -> int:
    return int(connection.execute("SELECT version FROM model_version").fetchone()[0])


def test_the_version_moves_only_when_something_did(connection, site):
    before = _version(connection)
    apply_site_model(connection, site)
    connection.execute("UPDATE meter SET name = 'x' WHERE false")
    assert _version(connection) == before
    for change in (
        {"organisation": site.organisation.model_copy(update={"name": "Acme"})},
        {"site": site.site.model_copy(update={"time_zone": "Europe/Oslo"})},
        {"lines": [site.lines[0].model_copy(update={"name": "First"}), *site.lines[1:]]},
        {"products": [site.products[0].model_copy(update={"mass_kg": None}), *site.products[1:]]},
        {"agents": [site.agents[0].model_copy(update={"name": "Cabinet"})]},
        {"meters": [site.meters[0].model_copy(update={"carrier": None}), *site.meters[1:]]},
        {"meters": [site.meters[0], site.meters[1].model_copy(update={"parent": None}), *site.meters[2:]]},
    ):
        before = _version(connection)
        apply_site_model(connection, site.model_copy(update=change))
        assert _version(connection) > before
        # What is not named is changed back, so that each change stands alone.
        apply_site_model(connection, site)
    before = _version(connection)
    connection.execute("DELETE FROM meter WHERE key = 'water'")
    assert _version(connection) == before + 1


def test_places_parents_and_factors_are_written(connection, site):
    assert connection.execute(
        """
        SELECT m.key, l.key, p.key, m.canonical_unit, m.to_canonical, m.share -> 'weights'
        FROM meter m LEFT JOIN line l ON l.id = m.line_id LEFT JOIN meter p ON p.id = m.parent_id
        WHERE m.key IN ('power-1', 'air') ORDER BY 1
        """
    ).fetchall() == [
        ("air", None, "main", "kWh", 1.0, {"line-1": 3.0, "line-2": 1.0}),
        ("power-1", "line-1", "main", "kWh", 1.0, None),
    ]
    assert connection.execute("SELECT count(*) FROM meter WHERE share IS NULL").fetchone() == (7,)


def test_what_the_file_no_longer_names_stays_and_is_told(connection, site):
    fewer = site.model_copy(update={"meters": site.meters[:-1], "products": site.products[:1]})
    assert apply_site_model(connection, fewer) == ["meter good-2", "product nut"]


def test_a_parent_that_is_taken_away_goes(connection, site):
    apply_site_model(connection, _changed(site, power_1={"parent": None}))
    assert connection.execute("SELECT parent_id FROM meter WHERE key = 'power-1'").fetchone() == (None,)


def test_the_unit_of_a_meter_without_readings_may_change(connection, site):
    apply_site_model(connection, _changed(site, water={"unit": "l"}))
    assert connection.execute("SELECT to_canonical FROM meter WHERE key = 'water'").fetchone() == (0.001,)


@pytest.mark.parametrize(
    "trace",
    [
        "INSERT INTO reading SELECT id, now(), 1, 0 FROM meter WHERE key = 'water'",
        "INSERT INTO reading SELECT id, now() - interval '3 hours', 1, 0 FROM meter WHERE key = 'water'",
        "INSERT INTO pending (meter_id, from_at, to_at) SELECT id, now(), now() FROM meter WHERE key = 'water'",
        "INSERT INTO rolled_meter SELECT id, now() FROM meter WHERE key = 'water'",
        "INSERT INTO consumption SELECT id, now(), 1, 0, 0 FROM meter WHERE key = 'water'",
    ],
)
def test_the_unit_of_a_meter_with_readings_may_not(connection, site, trace):
    connection.execute(trace)
    with pytest.raises(ModelRefusedError, match="meter water has readings as water, counter, in m3"):
        apply_site_model(connection, _changed(site, water={"unit": "l"}))
    apply_site_model(connection, _changed(site, water={"name": "Town water"}))


def test_readings_are_looked_for_where_the_rollup_has_not_been(connection, site):
    connection.execute(
        "UPDATE rollup_progress SET closed_to = now() - interval '1 hour', computed_to = now() - interval '4 hours'"
    )
    connection.execute("INSERT INTO reading SELECT id, now() - interval '3 hours', 1, 0 FROM meter WHERE key = 'water'")
    with pytest.raises(ModelRefusedError, match="meter water has readings"):
        apply_site_model(connection, _changed(site, water={"unit": "l"}))


class TestInterval:
    @pytest.fixture
    def bins(self, connection, site) -> SiteModel:
        model = _changed(site, water={"kind": MeterKind.INTERVAL, "interval": 900_000})
        apply_site_model(connection, model)
        return model

    def test_may_change_before_there_are_readings(self, connection, bins):
        apply_site_model(connection, _changed(bins, water={"interval": 3_600_000}))

    def test_may_not_change_once_there_are(self, connection, bins):
        connection.execute("INSERT INTO rolled_meter SELECT id, now() FROM meter WHERE key = 'water'")
        with pytest.raises(ModelRefusedError, match="meter water has readings as water, interval of 900 s, in m3"):
            apply_site_model(connection, _changed(bins, water={"interval": 3_600_000}))

    def test_of_a_counter_says_nothing_and_may_change(self, connection, site):
        connection.execute("INSERT INTO rolled_meter SELECT id, now() FROM meter WHERE key = 'water'")
        apply_site_model(connection, _changed(site, water={"interval": 60_000}))


class TestMaxGap:
    """Another `max_gap` makes other consumption of the same readings."""

    START = utc("2026-01-05T00:00:00")
    ALL = "SELECT meter_id, quarter, measured, estimated, covered_ms FROM consumption ORDER BY 1, 2"

    @staticmethod
    def roll_up(connection, hours) -> None:
        due_ms = int((TestMaxGap.START + timedelta(hours=hours)).timestamp() * 1000)
        while roll_up_once(connection, due_ms=due_ms).is_behind:
            pass

    @pytest.fixture
    def flows(self, connection, site) -> SiteModel:
        """A counter and a rate that speak each hour for a month, beside one that speaks on; max_gap is half an hour."""
        model = _changed(site, water={"kind": MeterKind.RATE, "unit": "m3/h"})
        apply_site_model(connection, model)
        for meter, minutes in (("main", 60), ("water", 60), ("power-1", 10)):
            connection.execute(
                """
                INSERT INTO reading SELECT meter.id, %(start)s + n * %(minutes)s * interval '1 minute', n, 0
                FROM meter, generate_series(0, 24 * 30 * 60 / %(minutes)s) AS n WHERE key = %(meter)s
                """,
                {"start": self.START, "minutes": minutes, "meter": meter},
            )
        return model

    def test_the_whole_history_is_rolled_up_again(self, connection, flows):
        self.roll_up(connection, 24 * 35)
        coarse = connection.execute(self.ALL).fetchall()
        changed = _changed(flows, main={"max_gap": 7_200_000}, water={"max_gap": 7_200_000})
        apply_site_model(connection, changed)
        self.roll_up(connection, 24 * 35)
        found = connection.execute(self.ALL).fetchall()
        assert connection.execute("SELECT count(*) FROM pending").fetchone() == (0,)
        connection.execute("TRUNCATE consumption, pending, meter_event, rolled_meter")
        connection.execute("UPDATE rollup_progress SET closed_to = NULL, computed_to = NULL")
        self.roll_up(connection, 24 * 35)
        assert found == connection.execute(self.ALL).fetchall()
        assert len(found) == 3 * 24 * 30 * 4 != len(coarse)
        assert all(estimated == 0 for *_, estimated, _ in found)

    def test_only_meters_whose_gap_changes_are(self, connection, flows):
        self.roll_up(connection, 24 * 35)
        apply_site_model(connection, flows)
        apply_site_model(connection, _changed(flows, main={"name": "All of it"}))
        assert connection.execute("SELECT count(*) FROM pending").fetchone() == (0,)
        apply_site_model(connection, _changed(flows, power_1={"max_gap": 60_000}))
        spans = connection.execute(
            "SELECT key, from_at, to_at FROM pending JOIN meter ON meter.id = meter_id"
        ).fetchall()
        assert {key for key, *_ in spans} == {"power-1"}
        assert min(at for _, at, _ in spans) == self.START
        assert connection.execute("SELECT closed_to FROM rollup_progress").fetchone() == (max(at for *_, at in spans),)
        assert all(to_at - from_at <= timedelta(days=7) for _, from_at, to_at in spans)

    def test_nothing_is_where_nothing_was_rolled_up(self, connection, flows):
        apply_site_model(connection, _changed(flows, main={"max_gap": 60_000}, good_1={"max_gap": 60_000}))
        assert connection.execute("SELECT count(*) FROM pending").fetchone() == (0,)

    def test_it_waits_for_the_rollups_turn(self, connection, flows, database_url):
        self.roll_up(connection, 24 * 35)
        with psycopg.connect(database_url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_TURN])
            connection.execute("SET lock_timeout = 100")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                apply_site_model(connection, _changed(flows, main={"max_gap": 60_000}))
            apply_site_model(connection, _changed(flows, main={"name": "All of it"}))


def test_a_model_that_contradicts_itself_is_refused(connection, site):
    with pytest.raises(ModelRefusedError, match="there is no agent"):
        apply_site_model(connection, _changed(site, water={"agent": "nobody"}))
