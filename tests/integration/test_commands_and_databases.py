"""Every command that asks the database, where there is none, none that was migrated, or none with a site in it."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from deploy.cli import build_parser, main
from deploy.migrate import migrate
from deploy.stack import on_database
from schemas.sql import migrations

pytestmark = pytest.mark.stack

SITE = "organisation: {id: acme}\nsite: {id: odense, time_zone: Europe/Copenhagen}\n"
AT = "2026-03-02T10:15:00+01:00"
LATER = "2026-03-02T12:15:00+01:00"
Words = tuple[str, ...]
SAMPLES = {"at": AT, "start": AT, "end": LATER, "event": "main:dip:1", "exchange": "main:1", "reading": "main:1"}
"""What is given for an argument that a command can't do without; for any other, and where nothing fits: 1."""
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PERIODS = ["--base", "2024", "--period", "2025"]
MORE: dict[Words, list[str]] = {
    ("meters", "adopt"): ["--all"],
    ("factors", "import"): ["--shipped"],
    ("decoupling",): PERIODS,
    ("decompose",): PERIODS,
    ("agent", "invite"): ["--server", "http://127.0.0.1:8000"],
    ("quarantine", "drop"): ["--agent", "cabinet"],
    ("quarantine", "reopen"): ["--agent", "cabinet"],
}
"""What a command wants although its parser does not."""
MIGRATES, APPLIES = ("db", "migrate"), ("site", "apply")
NEEDS_NO_SITE = {MIGRATES, APPLIES, ("rollup", "once"), ("attribute", "once")} | {
    ("archive", word) for word in ("status", "verify", "restore", "move")
}


def commands() -> dict[Words, list[argparse.Action]]:
    """The arguments of each command that takes `--database-url`, by its words."""

    def walk(parser: argparse.ArgumentParser, words: Words) -> Iterator[tuple[Words, list[argparse.Action]]]:
        further = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for action in further:
            for word, inner in action.choices.items():
                yield from walk(inner, (*words, word))
        if not further and any("--database-url" in action.option_strings for action in parser._actions):
            yield words, parser._actions

    return dict(walk(build_parser(), ()))


# Services go on trying until the database is there.
ALL = {words: actions for words, actions in commands().items() if words[-1] != "run"}
Run = Callable[[Words, str], tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path, capsys) -> Run:
    """Run a command with a sample of each argument that it needs; gives its status, and what it said of a failure."""
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "prices.csv").write_text("year,value,key,source\n2025,120,all,statbank\n", encoding="utf-8")
    samples = {**SAMPLES, "file": tmp_path / "site.yaml", "mapping": EXAMPLES / "runs-erp.yaml"}
    samples["files"] = EXAMPLES / "history-long.csv"
    files: dict[Words, Path] = {
        ("runs", "import"): EXAMPLES / "runs-erp.csv",
        ("prices", "import"): tmp_path / "prices.csv",
    }

    def go(words: Words, database_url: str) -> tuple[int, list[str]]:
        given = [*words, *MORE.get(words, ())]
        for action in ALL[words]:
            sample = next(iter(action.choices)) if action.choices else samples.get(action.dest, "1")
            if action.dest == "file":
                sample = files.get(words, sample)
            if action.required and action.option_strings:
                given += [action.option_strings[-1], str(sample)]
            elif not action.option_strings and action.nargs not in {"?", "*"}:
                given.append(str(sample))
        status = main([*given, "--database-url", database_url])
        return status, capsys.readouterr().err.splitlines()

    return go


@pytest.fixture(scope="module")
def without_schema(stack) -> Iterator[str]:
    yield from _database(stack.database_url)


@pytest.fixture(scope="module")
def with_an_older_schema(stack) -> Iterator[str]:
    for url in _database(stack.database_url):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deploy.migrate.migrations", lambda: migrations()[:-1])
            migrate(url)
        yield url


def _database(server_url: str) -> Iterator[str]:
    name = f"afkobling_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield on_database(server_url, name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("words", [words for words in ALL if words != MIGRATES], ids=" ".join)
def test_a_database_without_the_schema_is_told_to_be_migrated(run, words, without_schema, with_an_older_schema):
    for url in (without_schema, with_an_older_schema):
        assert run(words, url) == (
            1,
            ["afkobling: the database has no Afkobling schema, or an older one; run `afkobling db migrate` first"],
        )


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_nobody_listens(run, words):
    status, (line,) = run(words, "postgresql://nobody:secret@127.0.0.1:1/afkobling")
    assert status == 1
    assert line.startswith("afkobling: the database can't be reached: ")
    assert line.endswith("; check that it runs and that the URL is right")
    assert "secret" not in line


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_what_is_no_address(run, words):
    status, (line,) = run(words, "the cabinet")
    assert status == 1
    assert line.startswith("afkobling: not a database URL: ")
    assert line.endswith("; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


def test_a_migrated_database_without_a_site(run, database_url):
    told = {words: run(words, database_url) for words in ALL.keys() - NEEDS_NO_SITE}
    unclear = {
        words: (status, lines)
        for words, (status, lines) in told.items()
        if status != 1 or len(lines) != 1 or "afkobling site apply" not in lines[0]
    }
    # An entry of the quarantine is of no site, as long as none is there.
    assert unclear.pop(("quarantine", "show"))[1] == [
        "afkobling: there is no entry 1; `afkobling quarantine list` shows those that there are"
    ]
    assert unclear == {}
