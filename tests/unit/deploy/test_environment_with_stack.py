"""The stack's addresses where nobody names others, asked for only when they are needed."""

from __future__ import annotations

import pytest

from deploy.commands import settings
from deploy.commands.settings import environment_with_stack

STACK = {"broker_url": "mqtt://server:secret@127.0.0.1:1", "agent_broker_url": "mqtts://127.0.0.1:2"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def ask(wanted: tuple[str, ...]) -> dict[str, str]:
        names.extend(wanted)
        return {name: STACK[name] for name in wanted if name in STACK}

    monkeypatch.setattr(settings, "_local_stack", ask)
    for name in ("BROKER_URL", "DATABASE_URL", "AGENT_BROKER_URL", "AUTHORITY_DIR"):
        monkeypatch.delenv(f"AFKOBLING_{name}", raising=False)
    return names


def test_what_nobody_asks_for_is_not_looked_up(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFKOBLING_BROKER_URL", "mqtt://elsewhere")
    environment = environment_with_stack()
    assert environment.get("AFKOBLING_BROKER_URL") == "mqtt://elsewhere"
    assert environment.get("AFKOBLING_NO_SUCH") is None
    assert asked == []


def test_what_is_missing_comes_from_the_stack(asked: list[str]) -> None:
    environment = environment_with_stack()
    assert environment.get("AFKOBLING_BROKER_URL") == STACK["broker_url"]
    assert environment["AFKOBLING_AGENT_BROKER_URL"] == STACK["agent_broker_url"]
    assert environment.get("AFKOBLING_AUTHORITY_DIR") is None
    assert set(asked) == {"broker_url", "agent_broker_url", "authority_dir"}
