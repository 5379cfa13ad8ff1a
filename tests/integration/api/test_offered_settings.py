"""What a site model leaves out of a meter is as its agent offers it."""

from __future__ import annotations

import pytest

from api.site_model import apply_site_model
from tests.integration.api.conftest import SITE, site_model
from tests.integration.api.offering import FULL, OVEN, meter_row

pytestmark = pytest.mark.stack

TEXT = SITE + "  - {id: oven, agent: cabinet-1, resource: energy, unit: kWh, kind: counter%s}\n"


def test_what_is_left_out_is_as_offered(connection, offer):
    offer(FULL)
    model = site_model(TEXT % "")
    apply_site_model(connection, model)
    expected = ("kWh", None, 1e6, 60.0, 60_000, 7_200_000, 10_000, 1.0)
    assert meter_row(connection, "oven") == expected
    apply_site_model(connection, model)
    assert meter_row(connection, "oven") == expected


def test_what_is_given_stands(connection, offer):
    offer(FULL)
    given = ", register_width: 100000, cadence: 5s, accuracy_class: null, dip_window: 2h"
    apply_site_model(connection, site_model(TEXT % given))
    assert meter_row(connection, "oven") == ("kWh", None, 1e5, 60.0, 7_200_000, 7_200_000, 5_000, None)


def test_an_offer_in_another_unit_gives_nothing_in_units(connection, offer):
    offer({**FULL, "unit": "MWh"})
    apply_site_model(connection, site_model(TEXT % ""))
    assert meter_row(connection, "oven") == ("kWh", None, None, None, 60_000, 7_200_000, 10_000, 1.0)


def test_what_can_be_no_setting_is_passed_over(connection, offer):
    offer({**OVEN, "cadence_ms": 0, "dip_window_ms": 10**15, "accuracy_class": 2})
    apply_site_model(connection, site_model(TEXT % ""))
    assert meter_row(connection, "oven") == ("kWh", None, None, None, 3_600_000, None, None, 2.0)


async def test_put_answers_with_it(client, offer):
    offer(FULL)
    body = site_model(TEXT % "").model_dump(mode="json", exclude_unset=True)
    answer = (await client.put("/v1/sites/odense/model", json=body)).json()
    assert answer["model"]["meters"][-1]["register_width"] == 1e6
    # The whole model says all of it, so PUT takes it back unchanged.
    whole = (await client.get("/v1/sites/odense/model")).json()
    whole["meters"] = [{**m, "cadence": None} if m["id"] == "oven" else m for m in whole["meters"]]
    again = (await client.put("/v1/sites/odense/model", json=whole)).json()["model"]["meters"]
    assert next(m for m in again if m["id"] == "oven")["cadence"] is None
