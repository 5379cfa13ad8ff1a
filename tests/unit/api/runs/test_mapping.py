"""Mappings of runs: what a person may write, and what is said about what they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.runs.mapping import RunFileError, RunMapping, UnknownState, load_run_mapping
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.resources import RunState

LEAST = """
columns: {start: Begin, line: Place}
constants: {state: idle}
"""


def mapping(text: str = LEAST) -> RunMapping:
    return parse_configuration(text, name="m.yaml", model=RunMapping)


def test_what_need_not_be_said():
    found = mapping()
    assert (found.delimiter, found.encoding, found.decimal, found.header_line) == (",", "utf-8", ".", 1)
    assert (found.time.formats, found.time.zone, found.unknown_state) == (["iso"], None, UnknownState.REFUSE)
    assert found.columns.named() == ["Begin", "Place"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("refuse", UnknownState.REFUSE), ("leave_out", UnknownState.LEAVE_OUT), ("idle", RunState.IDLE)],
)
def test_what_becomes_of_an_unknown_state(said, meant):
    assert mapping(f"{LEAST}unknown_state: {said}\n").unknown_state is meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("columns: {line: Place}\nconstants: {state: idle}", "m.yaml:1: columns.start: this is missing; add it"),
        ("columns: {start: Begin}\nconstants: {state: idle}", "nothing says the line; name its column, or give it"),
        ("columns: {start: Begin, line: Place}", "nothing says the state"),
        (f"{LEAST}colour: red", "m.yaml:4: colour: there is no such setting"),
        (
            "columns: {start: B, line: L, end: E, duration: {column: D, unit: h}}\nconstants: {state: idle}",
            "give `end` or `duration`, not both",
        ),
        (f"{LEAST}products: {{4711: bracket}}", "4711, which is no text; put quotes around what stands in the file"),
        (f"{LEAST}states: {{OFF: down}}", "YAML reads this as False"),
        (f"{LEAST}states: {{X: broken}}", "m.yaml:4: states.X: "),
        (f"{LEAST}products: {{X: Big Bracket}}", "m.yaml:4: products.X: "),
        (f"{LEAST}encoding: latin-99", "'latin-99' is no encoding of text; utf-8, cp1252"),
        (f"{LEAST}encoding: rot13", "is no encoding of text"),
        (f"{LEAST}delimiter: ';;'", "m.yaml:4: delimiter"),
        (f"{LEAST}decimal: x", "m.yaml:4: decimal"),
        (f"{LEAST}time: {{formats: [DD-MM-YYYY]}}", "'DD-MM-YYYY' tells no day; write it like %d-%m-%Y %H:%M"),
        (f"{LEAST}time: {{formats: ['%H:%M']}}", "'%H:%M' tells no day"),
        (f"{LEAST}time: {{formats: ['%d-%Q']}}", "'%d-%Q' is no form of a time"),
        (f"{LEAST}time: {{zone: Copenhagen}}", "is not a time zone"),
        (f"{LEAST}time: {{formats: []}}", "m.yaml:4: time.formats"),
    ],
)
def test_what_is_refused(text, complaint):
    with pytest.raises(ConfigurationError) as caught:
        mapping(text)
    assert complaint in str(caught.value)


def test_a_mapping_that_is_not_there(tmp_path):
    with pytest.raises(RunFileError, match="can't be read"):
        load_run_mapping(Path(tmp_path / "none.yaml"))


def test_the_page_s_mapping_is_one():
    page = (Path(__file__).parents[4] / "docs" / "runs.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    found = parse_configuration(text, name="docs/runs.md", model=RunMapping)
    assert (found.columns.start, found.constants.line) == (["Startdato", "Starttid"], "press")
