"""What edge.yaml says of an OPC UA server."""

from __future__ import annotations

import re
from base64 import b64decode
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge.drivers import DriverSettings
from edge.drivers.credentials import Secret
from edge.drivers.opcua.values import Clock
from edge.drivers.quantity import Quantity
from schemas.durations import SpanMs
from schemas.topics import Key

_NODE = re.compile(r"(?:(?:ns=(?P<ns>[0-9]{1,5})|nsu=[^;]+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL)


class Mode(StrEnum):
    """Whether the server tells what changes, or is asked each time."""

    SUBSCRIPTION = "subscription"
    POLLING = "polling"


class Policy(StrEnum):
    """How the connection is secured; the older policies of OPC UA are broken and not offered."""

    NONE = "None"
    BASIC256_SHA256 = "Basic256Sha256"
    AES128_SHA256_RSA_OAEP = "Aes128Sha256RsaOaep"
    AES256_SHA256_RSA_PSS = "Aes256Sha256RsaPss"


class MessageMode(StrEnum):
    """What the policy does to each message."""

    SIGN = "Sign"
    SIGN_AND_ENCRYPT = "SignAndEncrypt"


class Security(BaseModel):
    """`certificate` and `key` say who we are (made at the first start where neither exists), `server_certificate` whom
    we trust: without it, whoever answers at the endpoint is believed to be the server.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy = Policy.NONE
    mode: MessageMode = MessageMode.SIGN_AND_ENCRYPT
    certificate: Path = Path("opcua-certificate.der")
    key: Path = Path("opcua-key.pem")
    server_certificate: Path | None = None


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"not an endpoint: {error}; write it like opc.tcp://192.168.1.30:4840") from None
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise ValueError("not an endpoint; write it like opc.tcp://192.168.1.30:4840")
    if "@" in parts.netloc:
        raise ValueError("user and password don't belong into the endpoint; give `user` and `password`")
    return text if parts.port is not None else parts._replace(netloc=f"{parts.netloc}:4840").geturl()


def _node(text: str) -> str:
    found = _NODE.fullmatch(text)
    if found is None or int(found["ns"] or 0) > 0xFFFF or not _is_identifier(found["kind"], found["id"]):
        raise ValueError(
            f"{text!r} is not a node id; copy it from the server's address space, as in ns=2;s=Oven.Energy or "
            "nsu=http://example.com/oven;i=1001"
        )
    return text


def _is_identifier(kind: str, text: str) -> bool:
    try:
        match kind:
            case "i":
                return text.isascii() and text.isdecimal() and int(text) <= 0xFFFF_FFFF
            case "g":
                return str(UUID(text)) == text.lower()
            case "b":
                return bool(b64decode(text, validate=True))
            case _:
                return True
    except ValueError:
        return False


class OpcUaMeter(Quantity):
    """A node whose value is a number."""

    node: Annotated[str, AfterValidator(_node)]


class OpcUaSettings(DriverSettings):
    """`every`: how often the server looks for a change, or is asked. `repeat` (subscription): how often all values are
    read whatever changed, so that one that stands still is told too. `clock`: whose word on the instant counts.
    """

    driver: Literal["opcua"]
    endpoint: Annotated[str, AfterValidator(_endpoint)]
    mode: Mode = Mode.SUBSCRIPTION
    every: SpanMs = 10_000
    repeat: SpanMs = 60_000
    timeout: SpanMs = 4_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a server that is away")] = 60_000
    clock: Clock = Clock.SOURCE
    security: Security = Security()
    user: str | None = None
    password: Secret | None = None
    meters: Annotated[dict[Key, OpcUaMeter], Field(min_length=1)]

    @model_validator(mode="after")
    def _password_has_a_user(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("a `password` needs its `user`")
        return self
