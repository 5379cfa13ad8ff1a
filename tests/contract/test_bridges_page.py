"""docs/bridges.md: its examples work, and it names every mapping and every setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.drivers import DriverContext, DriverSettings, find_driver
from edge.drivers.bridge.driver import BridgeSettings
from edge.drivers.bridge.mapping import BridgeMapping
from edge.drivers.documents.mapping import shipped_mappings
from edge.drivers.http_json.driver import HttpJsonSettings

PAGE = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text("utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def entries() -> list[dict[str, Any]]:
    lists = [block["drivers"] if isinstance(block, dict) else block for block in BLOCKS if "quantities" not in block]
    return [entry for found in lists for entry in found]


def test_every_example_of_a_driver_works(tmp_path: Path) -> None:
    assert [entry["mapping"] for entry in entries()] == ["shelly-gen2", "shelly", "tasmota", "tasmota", "wmbusmeters"]
    for entry in entries():
        kind = find_driver(entry["driver"])
        driver = kind.create(kind.settings.model_validate(entry), DriverContext(agent="a", folder=tmp_path))
        assert {offer.meter for offer in driver.offers()} == set(entry["meters"])


def test_the_example_of_a_mapping_works() -> None:
    (mapping,) = [BridgeMapping.model_validate(block) for block in BLOCKS if "quantities" in block]
    assert set(mapping.quantities) == {"good", "heat", "power"}


@pytest.mark.parametrize("driver", ["bridge", "http_json"])
def test_every_mapping_is_named(driver: str) -> None:
    for name in shipped_mappings(f"edge.drivers.{driver}.mappings"):
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize(("driver", "model"), [("bridge", BridgeSettings), ("http_json", HttpJsonSettings)])
def test_every_setting_is_named(driver: str, model: type[DriverSettings]) -> None:
    (table,) = re.findall(rf"^\| {driver} \| \|\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    named = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(model.model_fields) - {"name", "driver"}
