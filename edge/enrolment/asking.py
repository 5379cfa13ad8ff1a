"""Asking the server, in one POST. Plain HTTP will do: each side proves what it says (`schemas.enrolment`)."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from edge.errors import EdgePermanentError, EdgeTransientError

_TIMEOUT_S = 20
_MOST_BYTES = 200_000

Answer = TypeVar("Answer", bound=BaseModel)


class RefusedError(EdgePermanentError):
    """The server said no, in words for a person."""


class ServerAwayError(EdgeTransientError):
    """The server cannot be reached, or cannot answer just now."""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """A request that is sent on would lose its body."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def ask(server: str, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
    """What the server answers. Raises RefusedError, ServerAwayError."""
    url = f"{server}{path}"
    try:
        request = urllib.request.Request(  # noqa: S310 - a code's server is http or https
            url, data=body.model_dump_json().encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.build_opener(_StayHere).open(request, timeout=_TIMEOUT_S) as response:
            return answer.model_validate_json(response.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error) from error
    except ValidationError as error:
        raise RefusedError(f"what answers at {url} is not Afkobling; check the address, and proxies") from error
    except (OSError, http.client.HTTPException) as error:
        raise ServerAwayError(f"{server} cannot be reached ({_reason(error)}); {_remedy(error)}") from error
    except ValueError as error:
        raise RefusedError(
            f"{server} is no address that can be asked ({error}); have a code made with the right one (`afkobling "
            "agent invite --server`)"
        ) from error


def _refusal(url: str, error: urllib.error.HTTPError) -> RefusedError | ServerAwayError:
    if 300 <= error.code < 400:
        return RefusedError(
            f"{url} sends us on to {error.headers.get('Location', 'elsewhere')}; have a code made with the right "
            "address (`afkobling agent invite --server`)"
        )
    words = _detail(error.read(_MOST_BYTES))
    if words is None:
        return RefusedError(f"{url} answers {error.code}, and not as Afkobling does; check the address")
    return ServerAwayError(words) if error.code in {429, 500, 502, 503, 504} else RefusedError(words)


def _detail(body: bytes) -> str | None:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(reason).__name__


def _remedy(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "does this device trust its certificate, and is this device's clock right?"
    return "is it running, and is the address right as seen from this device? Nothing was changed, try again later"
