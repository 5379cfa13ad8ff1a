"""How commands give their answers: words, JSON, CSV, Parquet, Arrow."""

from __future__ import annotations

import argparse
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.cursor import Page
from api.exact_json import Answer, Number
from deploy.commands.answers import add_format_options, chosen_format, give
from deploy.commands.at_site import RefusedError


class Row(Answer):
    key: str
    value: Number | None


PAGE: Page[Row] = Page[Row](items=[Row(key="a", value=Decimal("0.000000001")), Row(key="b", value=None)], next=None)


def parsed(*words) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database-url", default="postgresql://user:secret@host/base")
    parser.add_argument("--product")
    add_format_options(parser)
    return parser.parse_args(words)


def words(page) -> None:
    for row in page.items:
        print(f"{row.key} has {row.value}")


def test_words_are_the_default_and_go_into_a_file_too(capsys, tmp_path):
    give(parsed(), PAGE, words)
    assert capsys.readouterr().out == "a has 1E-9\nb has None\n"
    give(parsed("--output", str(tmp_path / "told.txt")), PAGE, words)
    assert (tmp_path / "told.txt").read_text() == "a has 1E-9\nb has None\n"
    assert capsys.readouterr().out == ""


def test_texts_are_printed(capfdbinary):
    give(parsed("--json"), PAGE, words)
    assert json.loads(capfdbinary.readouterr().out)["items"][0] == {"key": "a", "value": 1e-9}
    give(parsed("--format", "csv"), PAGE, words)
    assert capfdbinary.readouterr().out == b"key,value\r\na,0.000000001\r\nb,\r\n"
    give(parsed("--format", "arrow"), PAGE, words)
    with pa.ipc.open_stream(capfdbinary.readouterr().out) as stream:
        assert stream.read_all().num_rows == 2


def test_the_name_of_the_file_says_the_format_and_no_secret_gets_into_it(tmp_path):
    file = tmp_path / "x.parquet"
    give(parsed("--product", "shaft", "--output", str(file)), PAGE, words, period="2025-01-01/2026-01-01")
    table = pq.read_table(file)
    assert table.column("value").to_pylist() == [Decimal("0.000000001"), None]
    metadata = table.schema.metadata
    assert metadata[b"afkobling.request"] == b"product=shaft"
    assert metadata[b"afkobling.period"] == b"2025-01-01/2026-01-01"
    assert b"secret" not in file.read_bytes()


def test_what_was_not_all_is_told(capsys):
    give(parsed("--format", "csv"), PAGE.model_copy(update={"next": "abc"}), words)
    assert "another page" in capsys.readouterr().err


def test_a_plain_page_has_the_columns_of_its_model(capsys):
    plain: Page[Row] = Page(items=[], next=None)
    give(parsed("--format", "csv"), plain, words, model=Page[Row])
    assert capsys.readouterr().out.strip() == "key,value"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_nothing_binary(monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    with pytest.raises(RefusedError, match="name a file with --output"):
        chosen_format(parsed("--format", "parquet"))
    assert chosen_format(parsed("--format", "csv")) == "csv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--format", "csv"], "contradict"),
        (["--format", "csv", "--table", "rows"], "no list 'rows'; it has items"),
        (["--table", "items"], "--table is for csv"),
        (["--output", "/nowhere/at/all.csv"], "can't be written"),
    ],
)
def test_what_does_not_go_together_is_told(options, message):
    with pytest.raises(RefusedError, match=message):
        give(parsed(*options), PAGE, words)


def test_an_answer_without_rows_is_json_only():
    with pytest.raises(RefusedError, match="take --format json"):
        give(parsed("--format", "csv"), PAGE.items[0], lambda _: None)
