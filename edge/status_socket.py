"""A socket beside the outbox, over which a running agent tells how it is: to whoever may open it, and nothing else.

It takes no orders: whatever is sent to it is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
from pydantic import ValidationError

from edge.errors import EdgeTransientError
from edge.local_status import LocalStatus

log = structlog.get_logger()

_ANSWER_S = 10.0
_MODE = 0o660


class NoAnswerError(EdgeTransientError):
    """The agent's socket is there, and cannot be asked; the message says why."""


def socket_beside(outbox: Path) -> Path:
    """Where the agent of that outbox listens."""
    return outbox.with_name(outbox.name + ".status")


@asynccontextmanager
async def telling(outbox: Path, status: Callable[[], LocalStatus]) -> AsyncIterator[None]:
    """Answer until the block is left. Only the one that holds the outbox does: a socket found there is a leftover.

    Where there can be none, as on some file systems, the agent goes on without.
    """
    path = socket_beside(outbox)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            told = await asyncio.to_thread(lambda: status().model_dump_json().encode())
            writer.write(told)
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
        except (ConnectionError, TimeoutError):
            pass  # whoever asked is gone
        finally:
            writer.close()

    try:
        server = await asyncio.start_unix_server(answer, sock=_listen(path))
    except OSError as error:
        log.warning(
            "`afkobling edge status` cannot ask this agent: its socket cannot be made",
            action="status.unavailable",
            socket=str(path),
            reason=str(error),
        )
        yield
        return
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        with contextlib.suppress(OSError):
            path.unlink()


def ask(outbox: Path) -> LocalStatus | None:
    """What the agent of that outbox says of itself; None where none runs. Raises NoAnswerError."""
    path = socket_beside(outbox)
    try:
        with _reachable(path) as place, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(place)
            told = b"".join(iter(lambda: connection.recv(65_536), b""))
        return LocalStatus.model_validate_json(told)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError as error:
        raise NoAnswerError(
            f"{path} may not be opened from this account; use the one that the agent runs as, or sudo"
        ) from error
    except (OSError, ValidationError) as error:
        raise NoAnswerError(f"an agent listens at {path} and does not answer: {error}; look at its log") from error


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        with _reachable(path) as place:
            listening.bind(place)
        path.chmod(_MODE)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough: the kernel takes 107 bytes, and folders may be deep."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
