"""What a webhook receives is what the JSON Schema says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import jsonschema
import pytest

import schemas.json
from api.alerts.messages import message_of
from api.alerts.plan import Due, KnownAlert
from api.site_store import SiteRow
from schemas.alerts import AlertChange, AlertRule

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
SCHEMA = json.loads((Path(schemas.json.__file__).parent / "alert.schema.json").read_text("utf-8"))
SITE = SiteRow(id=1, key="odense", name="Odense", time_zone="Europe/Copenhagen", organisation_id=1, organisation="acme")


@pytest.mark.parametrize("change", AlertChange)
@pytest.mark.parametrize("whose", [{"meter": "water", "agent": None}, {"meter": None, "agent": "cabinet"}])
def test_every_message_fits_its_schema(change, whose):
    alert = KnownAlert(
        id=17,
        rule=AlertRule.SILENT,
        since=NOW - timedelta(hours=2),
        seen="s",
        why="w",
        todo="t",
        seen_at=NOW,
        closed_at=NOW if change is AlertChange.CLOSED else None,
        **whose,
    )
    message = message_of(SITE, [Due(alert=alert, change=change)] * 2, number=UUID(int=1), now=NOW)
    payload = message.model_dump(mode="json", exclude_none=True)
    jsonschema.validate(payload, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**payload, "alerts": []}, SCHEMA)
