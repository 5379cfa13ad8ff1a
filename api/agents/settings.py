"""What enrolling agents takes, from the environment (AFKOBLING_…). The API and the commands share it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from api.agents.broker_access import BrokerAccessSettings
from schemas.broker_url import parse_broker_url


def _broker(text: str) -> str:
    parse_broker_url(text)
    return text


def _server(text: str) -> str:
    if not text.startswith(("http://", "https://")) or "#" in text:
        raise ValueError("write it like http://192.168.1.5:8080")
    return text.rstrip("/")


ServerUrl = Annotated[str, AfterValidator(_server)]
"""Where the API is reached, without a slash at its end."""


class AgentSettings(BrokerAccessSettings):
    """Each field is an environment variable: `authority_dir` is AFKOBLING_AUTHORITY_DIR."""

    authority_dir: Annotated[
        Path | None, Field(description="folder of the keys that vouch for agents; none: no agent is enrolled")
    ] = None
    agent_broker_url: Annotated[
        Annotated[str, AfterValidator(_broker)] | None,
        Field(description="the broker as agents reach it: mqtts://host:8883"),
    ] = None
    public_url: Annotated[ServerUrl | None, Field(description="this API as agents reach it: http://host:8080")] = None
    certificate_days: Annotated[
        float, Field(gt=0, le=1100, description="how long an agent's certificate is valid; it renews in the last third")
    ] = 90
