"""Every setting of `afkobling attribute run`, from the environment (`AFKOBLING_…`), checked whole at the start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class AttributionSettings(BaseSettings):
    """Each field is an environment variable: `database_url` is AFKOBLING_DATABASE_URL."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    database_url: Annotated[SecretStr, Field(description="postgresql://… of the database", min_length=1)]
    attribution_poll_s: Annotated[float, Field(ge=0.1, le=3600, description="how often changes are looked for")] = 5.0
    attribution_metrics_port: Annotated[
        int | None, Field(ge=1, le=65_535, description="Prometheus metrics and health on 127.0.0.1")
    ] = None
