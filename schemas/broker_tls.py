"""Whom to trust at the end of an encrypted connection to a broker, and who one of our own servers is there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import PermanentError


class BrokerTlsError(PermanentError):
    """A certificate, key or authority's file cannot be used; the message names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerTls:
    """Files in PEM. Without `authority` the machine's own list is trusted; `certificate` and `key` come together."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or later, the broker's certificate and name checked. Raises BrokerTlsError."""
        try:
            context = ssl.create_default_context(cafile=self.authority and str(self.authority))
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            files = [str(path) for path in (self.authority, self.certificate, self.key) if path]
            raise BrokerTlsError(
                f"a file for the encrypted connection to the broker cannot be used ({', '.join(files)}): {error}; "
                "check AFKOBLING_BROKER_AUTHORITY, AFKOBLING_BROKER_CERTIFICATE and AFKOBLING_BROKER_KEY"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class BrokerTlsSettings(BaseSettings):
    """The part of a server's settings that says the same, for a broker that is named with mqtts."""

    model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

    broker_authority: Annotated[
        Path | None, Field(description="whom to trust, for mqtts: a file in PEM; none: the machine's own list")
    ] = None
    broker_certificate: Annotated[Path | None, Field(description="who we are there: a file in PEM")] = None
    broker_key: Annotated[Path | None, Field(description="the key of broker_certificate")] = None

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.broker_certificate is None) != (self.broker_key is None):
            raise ValueError("AFKOBLING_BROKER_CERTIFICATE and AFKOBLING_BROKER_KEY are given together or not at all")
        return self

    @property
    def broker_tls(self) -> BrokerTls:
        return BrokerTls(authority=self.broker_authority, certificate=self.broker_certificate, key=self.broker_key)
