"""Hears configurations that are sent, and sees each through: checked, on trial, kept or taken back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from edge.care.files import CareFilesError
from edge.care.keeper import Keeper
from edge.care.signature import NotSignedError, verify
from edge.care.state import Order, digest
from edge.care.trial import all_have_read, judge, reading_now, why_it_failed
from edge.configuration import EdgeConfiguration, load_configuration
from edge.errors import EdgeError
from edge.last_readings import LastReadings
from edge.notices import Seldom
from edge.outbox import Outbox
from schemas.configuration import problems_in
from schemas.errors import AfkoblingError
from schemas.signed import configuration_bytes
from schemas.topics import AgentAddress
from schemas.wire import Configuration, ConfigurationStanding, ConfigurationState, OfferedMeter

log = structlog.get_logger()

_MOST_BYTES = 1_000_000
_MOST_PENDING = 8
_LOOK_S = 0.25

Verify = Callable[[Configuration, EdgeConfiguration], None]
"""Raises NotSignedError."""


def verify_by_files(message: Configuration, present: EdgeConfiguration) -> None:
    """By the certificates that the agent was enrolled with. Raises NotSignedError."""
    verify(message, present.address, present.tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """A configuration that can be run with, as soon as it is known which meters are read now."""

    version: int
    sent: str
    text: str
    meters: frozenset[str]


class Care:
    """Of one edge.yaml, over all restarts of the stages in this process."""

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str],
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
        verify: Verify = verify_by_files,
    ) -> None:
        """Finishes what a kill has left of a change. Raises EdgePermanentError, CareFilesError."""
        self._path = path
        self._environment = environment
        self._clock = clock
        self._verify = verify
        self._keeper = Keeper(path, now_ms=now_ms)
        self._pending: deque[bytes] = deque(maxlen=_MOST_PENDING)
        self._heard = asyncio.Event()
        self._accepted: _Accepted | None = None
        self._set_aside: str | None = None
        self._seldom = Seldom()
        self._told = self._keeper.told()
        self._began_s = clock()

    def load(self) -> EdgeConfiguration:
        """What to run with now. What is on trial and can't be loaded is taken back.

        Raises EdgeError, ConfigurationError as `load_configuration` does.
        """
        while True:
            if not self._may_start():
                self._try_to_take_back("the agent ended again and again while it was on trial")
            try:
                return load_configuration(self._path, self._environment)
            except AfkoblingError as error:
                if not self._try_to_take_back(f"the agent cannot begin with it: {error}"):
                    raise

    def _may_start(self) -> bool:
        try:
            return self._keeper.note_start()
        except CareFilesError as error:
            # Readings come first: a full disk must not keep the agent from its meters.
            self._put_aside(str(error))
            return True

    def has_fallen(self, error: BaseException) -> bool:
        """The agent came down: whether that was during a trial, which is over now, so that it can begin again."""
        return self._try_to_take_back(f"the agent came down with it: {_words(error)}")

    def _try_to_take_back(self, why: str) -> bool:
        try:
            return self._take_back(why)
        except EdgeError as hindrance:
            self._put_aside(str(hindrance))
            return False

    def begin(
        self, configuration: EdgeConfiguration, offers: Sequence[OfferedMeter], last: LastReadings, outbox: Outbox
    ) -> None:
        """The stages begin with this."""
        self._present = configuration
        self._offers = offers
        self._last = last
        self._outbox = outbox
        self._began_s = self._clock()

    def told(self) -> ConfigurationState:
        """What runs, and what became of what was sent last."""
        return self._told

    def hear(self, payload: bytes) -> None:
        """Something came. Of more than can be looked at at once, the oldest is passed over."""
        if payload:
            # An empty one is the broker's: what it kept is no more, which changes nothing here.
            self._pending.append(payload)
            self._heard.set()

    async def run(self) -> None:
        """Returns when the stages are to begin anew, with what `load` gives then."""
        while True:
            self._heard.clear()
            while self._pending:
                await self._look_at(self._pending.popleft())
            try:
                if await asyncio.to_thread(self._turn):
                    return
            except EdgeError as error:
                # An edge.yaml that is away for a moment, as while it is edited, is no reason to read no meter.
                self._put_aside(str(error))
            idle = self._accepted is None and self._keeper.state.trial is None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if idle else _LOOK_S):
                    await self._heard.wait()

    async def _look_at(self, payload: bytes) -> None:
        if len(payload) > _MOST_BYTES:
            self._put_aside(f"a configuration of {len(payload)} bytes is more than the {_MOST_BYTES} that are read")
            return
        try:
            message = Configuration.model_validate_json(payload)
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, p.location))}: {p.message}" for p in problems_in(error))
            self._put_aside(f"a configuration cannot be read: {places}")
            return
        sent = _sent(self._present.address, message)
        version = message.version
        match self._keeper.order_of(version, sent):
            case Order.KNOWN:
                self._set_aside = None
                self._tell()
            case Order.OLD:
                latest = self._keeper.state.latest
                self._put_aside(
                    f"version {version} of the configuration was sent, and {latest} before it: an older one is not "
                    "taken again; send what it holds as a new version"
                )
            case Order.CONFLICTING:
                self._put_aside(f"version {version} of the configuration was sent before, as another text")
            case Order.NEW:
                if self._accepted is None or self._accepted.version < version:
                    await asyncio.to_thread(self._judge, message, sent)

    def _judge(self, message: Configuration, sent: str) -> None:
        try:
            self._verify(message, self._present)
        except NotSignedError as error:
            self._put_aside(f"version {message.version} of the configuration is refused: {error}")
            return
        # It makes drivers, whose code need not be ours, and which must not bring the agent down.
        try:
            self._accept(message, sent)
        except CareFilesError as error:
            self._put_aside(str(error))
        except Exception as error:  # noqa: BLE001
            with contextlib.suppress(CareFilesError):
                self._refuse(message.version, sent, _words(error))

    def _accept(self, message: Configuration, sent: str) -> None:
        from edge.care.checking import check_sent

        if self._keeper.was_changed_by_hand():
            self._refuse(
                message.version,
                sent,
                "edge.yaml was changed on the spot since the agent began; restart the agent, then send it again",
            )
            return
        accepted = check_sent(
            message.body,
            present_text=self._keeper.text(),
            present=self._present,
            path=self._path,
            environment=self._environment,
            waiting_bytes=self._outbox.size_bytes,
        )
        self._set_aside = None
        self._accepted = _Accepted(version=message.version, sent=sent, text=accepted.text, meters=accepted.meters)

    def _turn(self) -> bool:
        """Whether the stages are to begin anew. Raises CareFilesError."""
        if self._accepted is not None:
            return self._begin_trial(self._accepted)
        if self._keeper.state.trial is not None:
            return self._look_at_trial(self._keeper.state.trial.meters)
        return False

    def _begin_trial(self, accepted: _Accepted) -> bool:
        now_s, trial_s = self._clock(), self._present.trial / 1000
        last = self._last.all()
        is_clear = all_have_read(self._offers, last, began_s=self._began_s) or now_s - self._began_s > trial_s
        if self._keeper.state.trial is None and not is_clear:
            # Just begun: which meters are read, and so will be missed, shows itself soon.
            return False
        self._accepted = None
        meters = reading_now(
            self._offers,
            last,
            began_s=self._began_s,
            now_s=now_s,
            still_offered=accepted.meters,
            trial_s=trial_s,
        )
        if self._keeper.was_changed_by_hand():
            self._refuse(accepted.version, accepted.sent, "edge.yaml was changed on the spot meanwhile; send it again")
            return False
        self._keeper.take(accepted.version, accepted.sent, accepted.text, meters=meters)
        self._tell()
        log.info(
            "a configuration was sent; the agent begins anew with it, on trial",
            action="configuration.on_trial",
            version=accepted.version,
            meters=len(meters),
        )
        return True

    def _look_at_trial(self, meters: Sequence[str]) -> bool:
        judgement = judge(
            meters,
            self._offers,
            self._last.all(),
            began_s=self._began_s,
            now_s=self._clock(),
            trial_s=self._present.trial / 1000,
        )
        version = self._keeper.state.running.version
        if judgement.has_passed:
            self._keeper.pass_trial()
            self._tell()
            log.info("the configuration is kept", action="configuration.applied", version=version)
            return False
        return judgement.has_failed and self._take_back(why_it_failed(judgement, version))

    def _take_back(self, why: str) -> bool:
        version = self._keeper.state.running.version
        if not self._keeper.roll_back(why):
            self._tell()
            return False
        self._tell()
        log.error(
            "a configuration that was sent is taken back",
            action="configuration.rolled_back",
            version=version,
            reason=why,
        )
        return True

    def _refuse(self, version: int, sent: str, why: str) -> None:
        self._keeper.refuse(version, sent, why)
        self._set_aside = None
        self._tell()
        log.warning(
            "a configuration that was sent is refused", action="configuration.refused", version=version, reason=why
        )

    def _put_aside(self, why: str) -> None:
        """Of what is not known to be sent by who may, nothing is kept; it is only told."""
        self._set_aside = why
        self._tell()
        if self._seldom.due("aside"):
            log.warning("a configuration that was sent is not taken", action="configuration.ignored", reason=why)

    def _tell(self) -> None:
        told = self._keeper.told()
        if self._set_aside is not None and told.standing is not ConfigurationStanding.ON_TRIAL:
            told = told.model_copy(
                update={"standing": ConfigurationStanding.REFUSED, "reason": self._set_aside[:2_000]}
            )
        self._told = told


def _sent(address: AgentAddress, message: Configuration) -> str:
    return digest(configuration_bytes(address, version=message.version, sent_at=message.sent_at, body=message.body))


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(one) for one in error.exceptions)
    return str(error) if isinstance(error, AfkoblingError) else f"{type(error).__name__}: {error}"
