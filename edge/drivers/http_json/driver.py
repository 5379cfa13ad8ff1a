"""Devices that are asked over HTTP for a JSON document, of which each may hold many meters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import AfterValidator, ByteSize, Field, StringConstraints

from edge.backoff import Backoff
from edge.drivers import DriverContext, DriverSettings
from edge.drivers.credentials import Secret, Trust
from edge.drivers.documents.mapping import NamedQuantity
from edge.drivers.documents.reading import Remark, clock_of, parse_document, read_document, want
from edge.drivers.http_json.client import DeviceAwayError, HttpClient, Login, Question
from edge.drivers.http_json.mapping import load_http_mapping
from edge.drivers.pacing import sleep_unless, ticks
from edge.errors import EdgePermanentError
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.durations import SpanMs
from schemas.time_zones import ZoneName
from schemas.topics import Key
from schemas.wire import OfferedMeter

log = structlog.get_logger()


def _checked_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not an address: {error}; write it like http://192.168.1.30") from None
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or port == 0
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError("not an address; write it like http://192.168.1.30, or https:// for an encrypted one")
    if parts.username is not None:
        raise ValueError("a password does not stand in an address; give `user` and `password`")
    return text


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,1000}$")]


class HttpJsonSettings(DriverSettings):
    """`meters`: our meter key to the mapping's quantity, or to {quantity, channel}. `url`: the host, or all of it.

    `headers`: texts, or where a secret one stands. `zone`: of a device whose clock tells none. `clock: agent`: the
    moment that the answer comes counts, not the time that it says.
    """

    driver: Literal["http_json"]
    url: Annotated[str, AfterValidator(_checked_url)]
    user: str | None = None
    password: Secret | None = None
    login: Login = Login.BASIC
    headers: Annotated[dict[HeaderName, HeaderText | Secret], Field(default_factory=dict)]
    tls: Trust = Trust()
    mapping: str
    zone: ZoneName | None = None
    clock: Literal["device", "agent"] = "device"
    every: SpanMs = 10_000
    timeout: SpanMs = 5_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a device that is away")] = 60_000
    max_size: Annotated[ByteSize, Field(ge=1, le=20_000_000)] = ByteSize(1_000_000)
    meters: Annotated[dict[Key, NamedQuantity], Field(min_length=1)]


class HttpJsonDriver:
    """Asks one device at a steady pace."""

    def __init__(self, settings: HttpJsonSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError for what does not go with the mapping, and for a password that is not there."""
        self._mapping = mapping = load_http_mapping(settings.mapping, folder=context.folder)
        try:
            self._wanted = want(mapping, settings.meters, root=mapping.root, around=mapping.request)
            self._clock = clock_of(mapping.at if settings.clock == "device" else None, zone=settings.zone)
        except EdgePermanentError as error:
            raise EdgePermanentError(f"driver {settings.name}: {error}") from error
        parts = urlsplit(settings.url)
        is_host_alone = parts.path in {"", "/"} and not parts.query
        self._url = f"{parts.scheme}://{parts.netloc}{mapping.request}" if is_host_alone else settings.url
        self._settings = settings
        self._context = context
        self._question()
        self._client: HttpClient | None = None
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=parts.netloc)

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            one.quantity.offer(one.meter, driver=self._settings.name, cadence_ms=self._settings.every)
            for one in self._wanted
        ]

    async def start(self) -> None:
        self._stop.clear()
        # It would tell of every request.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a poll; none for a poll that brought no value."""
        longest_s = self._settings.longest_wait / 1000
        backoff = Backoff(initial_s=min(1, longest_s), cap_s=longest_s)
        try:
            async for _ in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
                while (found := await self._try_poll()) is None:
                    if await sleep_unless(self._stop, backoff.next_s()):
                        return
                backoff.reset()
                if found:
                    yield Taken(readings=found)
        finally:
            await self._let_go()

    async def stop(self) -> None:
        self._stop.set()

    def _question(self) -> Question:
        """What to ask. Raises EdgePermanentError for files and passwords that are not there."""
        settings, folder = self._settings, self._context.folder
        return Question(
            url=self._url,
            headers={
                name: value if isinstance(value, str) else value.read(folder)
                for name, value in settings.headers.items()
            },
            user=settings.user,
            password=settings.password.read(folder) if settings.password else None,
            login=settings.login,
            context=settings.tls.context(folder) if urlsplit(self._url).scheme == "https" else None,
            timeout_s=settings.timeout / 1000,
            largest_bytes=settings.max_size,
        )

    async def _try_poll(self) -> list[Reading] | None:
        """What could be read; None when the device is away, which is counted and said, and after `stop`."""
        polling = asyncio.ensure_future(self._poll())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([polling, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                return None
            found = polling.result()
        except (DeviceAwayError, EdgePermanentError) as error:
            await self._let_go()
            self._context.count_failure()
            if self._seldom.due("away"):
                self._log.warning("the device is away; it is tried again", action="driver.away", reason=str(error))
            return None
        finally:
            polling.cancel()
            stopping.cancel()
            await asyncio.wait([polling, stopping])
        if self._seldom.forget("away"):
            self._log.info("the device is back", action="driver.back")
        return found

    async def _poll(self) -> list[Reading]:
        """Raises DeviceAwayError; EdgePermanentError for a password or certificate that has gone."""
        if self._client is None:
            self._client = HttpClient(self._question())
        body = await self._client.fetch()
        now_ms = self._context.now_ms()
        try:
            document = parse_document(body, largest_bytes=self._settings.max_size)
        except ValueError as error:
            raise DeviceAwayError(f"{error}; check `url` and the mapping against the device's type") from error
        found = read_document(document, self._wanted, clock=self._clock, now_ms=now_ms, decimal=self._mapping.decimal)
        self._note_remarks(found.remarks)
        return found.readings

    def _note_remarks(self, remarks: Sequence[Remark]) -> None:
        if remarks:
            self._context.count_failure()
        for remark in remarks:
            if self._seldom.due(("remark", remark.about)):
                self._log.warning(
                    "a device says what cannot be taken",
                    action="document.refused",
                    about=remark.about,
                    reason=remark.words,
                )

    async def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
