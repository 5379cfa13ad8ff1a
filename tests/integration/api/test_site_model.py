"""Applying a site model to the real database."""

from __future__ import annotations

import pytest

from api.errors import ModelRefusedError
from api.site_model import apply_site_model
from schemas.site import SiteModel

pytestmark = pytest.mark.stack


def _changed(site: SiteModel, **meters) -> SiteModel:
    return site.model_copy(
        update={"meters": [m.model_copy(update=meters.get(m.id.replace("-", "_"), {})) for m in site.meters]}
    )


def test_applying_again_changes_nothing(connection, site):
    before = connection.execute("SELECT * FROM meter ORDER BY id").fetchall()
    assert apply_site_model(connection, site) == []
    assert connection.execute("SELECT * FROM meter ORDER BY id").fetchall() == before


def test_places_parents_and_factors_are_written(connection, site):
    assert connection.execute(
        """
        SELECT m.key, l.key, p.key, m.canonical_unit, m.canonical_factor, m.share -> 'weights'
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
    assert connection.execute("SELECT canonical_factor FROM meter WHERE key = 'water'").fetchone() == (0.001,)


@pytest.mark.parametrize(
    "trace",
    [
        "INSERT INTO reading SELECT id, now(), 1, 0 FROM meter WHERE key = 'water'",
        "INSERT INTO open_end SELECT id, now() FROM meter WHERE key = 'water'",
        "INSERT INTO consumption SELECT id, now(), 1, 0, 0 FROM meter WHERE key = 'water'",
    ],
)
def test_the_unit_of_a_meter_with_readings_may_not(connection, site, trace):
    connection.execute(trace)
    with pytest.raises(ModelRefusedError, match="meter water has readings as water, counter, in m3"):
        apply_site_model(connection, _changed(site, water={"unit": "l"}))
    apply_site_model(connection, _changed(site, water={"name": "Town water"}))


def test_a_model_that_contradicts_itself_is_refused(connection, site):
    with pytest.raises(ModelRefusedError, match="there is no agent"):
        apply_site_model(connection, _changed(site, water={"agent": "nobody"}))
