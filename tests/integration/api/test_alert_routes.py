"""Alerts listed and acknowledged, by the API and the command line, and the settings of who sends them."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from api.alerts.settings import AlertSettings
from deploy.cli import main
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_alerts import ALERTS, ANNA
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack


async def test_alerts_come_in_pages_and_only_one_s_own(client, connection, site, other_site):
    for place in ("odense", "aarhus"):
        for i in range(3):
            connection.execute(
                "INSERT INTO alert (site_id, rule, meter, since, seen, why, todo, opened_at, seen_at)"
                " SELECT id, 'leak', %s, now(), 's', 'w', 't', now(), now() FROM site WHERE key = %s",
                [f"m{i}", place],
            )
    items, count = await pages(client, ALERTS, limit=2)
    assert ([item["meter"] for item in items], count) == (["m2", "m1", "m0"], 2)
    (theirs,) = connection.execute(
        "SELECT max(alert.id) FROM alert JOIN site ON site.id = site_id WHERE key = 'aarhus'"
    ).fetchone()
    assert_problem(await client.post(f"{ALERTS}/{theirs}/acknowledge", json=ANNA), 404, "lists them")
    assert_problem(await client.post(f"/v1/sites/aarhus/alerts/{theirs}/acknowledge", json=ANNA), 404)
    assert_problem(await client.post(f"{ALERTS}/{items[0]['id']}/acknowledge", json={"author": "Anna"}), 422, "reason")
    assert_problem(await client.post(f"{ALERTS}/0/acknowledge", json=ANNA), 422)


async def test_the_first_who_knows_stays_written_down(client, connection, site):
    connection.execute(
        "INSERT INTO alert (site_id, rule, agent, since, seen, why, todo, opened_at, seen_at)"
        " SELECT id, 'silent', 'cabinet-1', now(), 's', 'w', 't', now(), now() FROM site"
    )
    (alert,) = (await ask(client, ALERTS))["items"]
    for author in ("Anna", "Bo"):
        response = await client.post(f"{ALERTS}/{alert['id']}/acknowledge", json={**ANNA, "author": author})
        assert response.json()["acknowledged_by"] == "Anna"


def test_the_command_lists_and_acknowledges(database_url, site, connection, capsys):
    (number,) = connection.execute(
        "INSERT INTO alert (site_id, rule, meter, since, seen, why, todo, opened_at, seen_at)"
        " SELECT id, 'leak', 'water', now(), 'It runs at night.', 'w', 'Listen.', now(), now() FROM site RETURNING id"
    ).fetchone()
    url = ["--database-url", database_url]
    assert main(["alerts", "list", *url]) == 0
    out = capsys.readouterr().out
    assert f"{number}  leak  open" in out
    assert "It runs at night." in out
    assert main(["alerts", "ack", str(number), "--author", "Anna", "--reason", "known", *url]) == 0
    assert "acknowledged by Anna" in capsys.readouterr().out
    assert main(["alerts", "list", "--json", "--open", *url]) == 0
    (alert,) = json.loads(capsys.readouterr().out)["items"]
    assert alert["acknowledged_why"] == "known"
    assert main(["alerts", "ack", "999", "--author", "Anna", "--reason", "known", *url]) == 1
    assert "there is no alert 999" in capsys.readouterr().err


def test_settings_that_can_not_work_are_refused_before_anything_starts():
    for wrong, words in (
        ({"alert_mqtt": True}, "AFKOBLING_BROKER_URL"),
        ({"alert_webhook_url": "not a url"}, "URL"),
        ({"alert_per_hour": 0}, "greater than or equal to 1"),
        ({"alert_remind_h": 1}, "greater than or equal to 24"),
        ({"broker_url": "http://broker"}, "not a broker address"),
    ):
        with pytest.raises(ValidationError, match=words):
            AlertSettings(database_url="postgresql://x", **wrong)
