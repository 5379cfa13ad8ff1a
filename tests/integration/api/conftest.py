"""A site with two lines and a database that holds it; an API in front of it."""

from __future__ import annotations

import psycopg
import pytest

from api.site_model import apply_site_model
from schemas.configuration import parse_configuration
from schemas.site import SiteModel

SITE = """
organisation: {id: acme, name: Acme A/S}
site: {id: odense, name: Odense, time_zone: Europe/Copenhagen}
lines:
  - {id: line-1, name: Line 1}
  - {id: line-2}
products:
  - {id: bolt, unit: pcs, mass_kg: 0.5}
  - {id: nut, unit: pcs, mass_kg: 0.25, family: small}
agents:
  - {id: cabinet-1}
meters:
  - {id: main, agent: cabinet-1, resource: energy, carrier: electricity, unit: kWh, kind: counter}
  - {id: power-1, agent: cabinet-1, resource: energy, carrier: electricity, unit: kWh, kind: counter, line: line-1, parent: main}
  - {id: power-2, agent: cabinet-1, resource: energy, carrier: electricity, unit: kWh, kind: counter, line: line-2, parent: main}
  - id: air
    agent: cabinet-1
    resource: energy
    carrier: electricity
    unit: kWh
    kind: counter
    parent: main
    share: {by: fixed, weights: {line-1: 3, line-2: 1}}
  - {id: water, agent: cabinet-1, resource: water, unit: m3, kind: counter}
  - {id: good-1, agent: cabinet-1, resource: production, carrier: good, unit: pcs, kind: counter, line: line-1}
  - {id: scrap-1, agent: cabinet-1, resource: production, carrier: scrap, unit: pcs, kind: counter, line: line-1}
  - {id: good-2, agent: cabinet-1, resource: production, carrier: good, unit: pcs, kind: counter, line: line-2}
"""


def site_model(text: str = SITE) -> SiteModel:
    return parse_configuration(text, name="site.yaml", model=SiteModel)


@pytest.fixture
def connection(database_url):
    """A plain connection to this test's database, committing each statement."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def site(connection) -> SiteModel:
    """The site, applied."""
    model = site_model()
    apply_site_model(connection, model)
    return model
