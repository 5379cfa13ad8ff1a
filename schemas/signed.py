"""What an organisation's authority signs when it tells an agent what to run."""

from __future__ import annotations

from schemas.topics import AgentAddress


def configuration_bytes(address: AgentAddress, *, version: int, sent_at: int, body: str) -> bytes:
    """What stands behind `schemas.wire.Configuration.signature`: for whom, which version, and every character."""
    return f"afkobling configuration v1\n{address}\n{version}\n{sent_at}\n{body}".encode()
