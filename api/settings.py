"""All settings of the API, from the environment (AFKOBLING_…) or the command line, checked before a socket opens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from api.agents.settings import AgentSettings


class ApiSettings(AgentSettings):
    """Each field is an environment variable: `database_url` is AFKOBLING_DATABASE_URL."""

    database_url: Annotated[
        SecretStr, Field(description="the database: postgresql://user:password@host/database", min_length=1)
    ]
    pool_size: Annotated[int, Field(ge=1, le=200, description="most connections to the database at once")] = 10
    pool_timeout_s: Annotated[
        float, Field(gt=0, le=60, description="how long a request waits for a connection before it answers 503")
    ] = 5.0
    answers_mb: Annotated[
        int, Field(ge=0, le=100_000, description="memory for answers to give again while nothing has changed; 0: none")
    ] = 64
    statement_timeout_s: Annotated[
        float, Field(gt=0, le=600, description="how long one query may take before it answers 503")
    ] = 30.0
