"""The demo asks the API like anybody else: over HTTP, with a token."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx

from schemas.errors import TransientError


class Client:
    """One site of the running API. Raises TransientError with the problem's own words."""

    def __init__(self, *, url: str, token: str, site: str) -> None:
        # The address is our own; a proxy of the environment has no business with it.
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )
        self._site = site

    def is_ready(self) -> bool:
        try:
            return self._http.get("/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._answer(self._http.get(path, params=query))

    def of_site(self, path: str, **query: Any) -> dict[str, Any]:
        return self.get(f"/v1/sites/{self._site}/{path}", **query)

    def invite(self, agent: str) -> dict[str, Any]:
        """A code with which one device enrols as this agent of the site."""
        return self._answer(self._http.post("/v1/agents/invitations", json={"site": self._site, "agent": agent}))

    def put_to_site(self, path: str, body: object) -> None:
        self._answer(self._http.put(f"/v1/sites/{self._site}/{path}", json=body))

    def close(self) -> None:
        self._http.close()

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        # Amounts stay the exact decimals that the API wrote.
        answer: dict[str, Any] = response.json(parse_float=Decimal)
        if response.is_error:
            raise TransientError(
                f"the API answered {response.status_code} to {response.request.url.path}: {answer.get('detail')}"
            )
        return answer
