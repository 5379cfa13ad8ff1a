"""Whether a configuration was signed by the authority of the agent's organisation.

A process of its own does it (`edge.care.verifying`): its libraries take memory that a running agent does not need.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge.configuration import TlsSettings
from edge.errors import EdgePermanentError
from schemas.signed import configuration_bytes
from schemas.topics import AgentAddress
from schemas.wire import Configuration

_TAKES_S = 60


class NotSignedError(EdgePermanentError):
    """It can't be known who sent it, or it was not who may; the message says which."""


def verify(message: Configuration, address: AgentAddress, tls: TlsSettings) -> None:
    """Raises NotSignedError. Takes up to some seconds on a small machine."""
    if tls.certificate is None or tls.authority is None:
        raise NotSignedError(
            "this agent was not enrolled, so it cannot know who sent a configuration: enrol it with a code "
            "(`afkobling edge enrol`), or change edge.yaml on the spot"
        )
    try:
        asked = json.dumps(
            {
                "data": configuration_bytes(
                    address, version=message.version, sent_at=message.sent_at, body=message.body
                ).decode(),
                "signature": message.signature,
                "chain": _read(tls.certificate),
                "root": _read(tls.authority),
            }
        )
        done = subprocess.run(
            # -P: nothing that lies in the working directory is taken for a part of it.
            (sys.executable, "-P", "-m", "edge.care.verifying"),
            input=asked.encode(),
            capture_output=True,
            timeout=_TAKES_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotSignedError(f"the signature of a configuration could not be looked at: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NotSignedError(said[-1] if said else f"looking at a signature ended with {done.returncode}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise NotSignedError(f"{file} cannot be read: {error}; enrol the agent anew with a code") from error
