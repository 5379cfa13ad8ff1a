"""The JSON Schemas in the repository are those of the models."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import schemas.json
from deploy.cli import main
from schemas.json_schema import MODELS, render

FOLDER = Path(schemas.json.__file__).parent


def test_files_are_current():
    assert {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.schema.json")} == render()


def test_the_command_agrees(capsys):
    assert main(["schema", "write", "--check"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", MODELS)
def test_each_is_a_valid_schema(name):
    jsonschema.Draft202012Validator.check_schema(json.loads(render()[f"{name}.schema.json"]))
