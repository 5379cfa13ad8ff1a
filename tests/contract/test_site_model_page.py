"""The examples of docs/site-model.md are a site model."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.configuration import parse_configuration
from schemas.site import SiteModel

PAGE = Path(__file__).parents[2] / "docs" / "site-model.md"


def test_its_examples_make_one_site():
    calendar, meters, virtual_meters = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    text = f"organisation: {{id: acme}}\nagents: [{{id: cabinet-1}}]\n{calendar}meters:\n{meters}{virtual_meters}"
    model = parse_configuration(text, name="docs/site-model.md", model=SiteModel)
    assert [shift.id for shift in model.site.shifts] == ["early", "late", "night"]
    assert model.virtual_meters[0].terms == {"main": 1, "solar": 1, "sold": -1}
