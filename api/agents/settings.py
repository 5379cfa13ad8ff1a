"""What enrolling agents takes, from the environment (AFKOBLING_…). The API and the commands share it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from api.agents.broker_access import BrokerAccessSettings
from schemas.broker_url import parse_broker_url

_SERVER = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")


def _broker(text: str) -> str:
    parse_broker_url(text)
    return text


def _server(text: str) -> str:
    # What else could stand in it would spoil the command line that a technician pastes.
    if not _SERVER.fullmatch(text):
        raise ValueError("write it like http://192.168.1.5:8080")
    try:
        urlsplit(text).port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ValueError(f"{error}; write it like http://192.168.1.5:8080") from None
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
