"""What became of the configurations that were sent, and what is to be done with the next one. Pure.

The state is kept in a file beside edge.yaml; the digests in it tell which text it is about, so that after a kill at any
point, and after a change by hand, it is clear what stands there.
"""

from __future__ import annotations

import hashlib
from enum import Enum, auto

from pydantic import BaseModel, ConfigDict

from schemas.wire import ConfigurationStanding, ConfigurationState, Count

MOST_STARTS = 3
"""An agent that ends so often during a trial does so because of the configuration, it must be assumed."""
_LONGEST_REASON = 2_000


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Running(_Kept):
    """A text, by its digest, and the version that it was sent as; 0: it was put there by hand."""

    version: Count = 0
    digest: str


class Trial(_Kept):
    """`before`: what to go back to. `meters`: those that were read before. `starts`: how often it was begun."""

    before: Running
    meters: tuple[str, ...] = ()
    starts: int = 0


class CareState(_Kept):
    """`running`: what edge.yaml is to hold. `undone`: the text that is there in its place until it is restored.

    `latest` is the highest version that came with a good signature, and `sent` the digest of that message.
    """

    running: Running
    latest: Count = 0
    sent: str = ""
    standing: ConfigurationStanding = ConfigurationStanding.LOCAL
    reason: str | None = None
    since_ms: int = 0
    trial: Trial | None = None
    undone: str | None = None

    def told(self) -> ConfigurationState:
        """As the status says it."""
        return ConfigurationState(
            running=self.running.version, latest=self.latest, standing=self.standing, reason=self.reason
        )


class Order(Enum):
    """What a message with a good signature is beside those before it."""

    NEW = auto()
    KNOWN = auto()
    OLD = auto()
    CONFLICTING = auto()


def digest(text: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(text).hexdigest()


def order_of(state: CareState, version: int, sent: str) -> Order:
    """Versions only rise: whoever sends an old one again, with its good signature, changes nothing."""
    if version > state.latest:
        return Order.NEW
    if version < state.latest:
        return Order.OLD
    return Order.KNOWN if sent == state.sent else Order.CONFLICTING


def refused(state: CareState, version: int, sent: str, reason: str, *, now_ms: int) -> CareState:
    """It is not run, and what runs goes on, a trial included."""
    return state.model_copy(
        update={
            "latest": version,
            "sent": sent,
            "standing": ConfigurationStanding.REFUSED,
            "reason": _short(reason),
            "since_ms": now_ms,
        }
    )


def begun(state: CareState, version: int, sent: str, text: str, *, meters: tuple[str, ...], now_ms: int) -> CareState:
    """On trial from now on. One that was on trial itself is nothing to go back to: what was before it is.

    A later one that was refused while this one waited is what is told still, and keeps its number.
    """
    before = state.running if state.trial is None else state.trial.before
    meters = meters if state.trial is None else tuple(dict.fromkeys((*state.trial.meters, *meters)))
    running, trial = Running(version=version, digest=text), Trial(before=before, meters=meters)
    if version < state.latest:
        return state.model_copy(update={"running": running, "trial": trial, "undone": None})
    return CareState(
        running=running,
        latest=version,
        sent=sent,
        standing=ConfigurationStanding.ON_TRIAL,
        since_ms=now_ms,
        trial=trial,
    )


def started(state: CareState) -> CareState:
    """The agent begins with it."""
    if state.trial is None:
        return state
    return state.model_copy(update={"trial": state.trial.model_copy(update={"starts": state.trial.starts + 1})})


def passed(state: CareState, *, now_ms: int, reason: str | None = None) -> CareState:
    """The trial is over, and it stays. One that came meanwhile and was refused is what is told still."""
    if state.running.version == state.latest:
        told = {"standing": ConfigurationStanding.APPLIED, "reason": reason, "since_ms": now_ms}
        return state.model_copy(update={"trial": None, **told})
    return state.model_copy(update={"trial": None})


def rolled_back(state: CareState, reason: str, *, now_ms: int) -> CareState:
    """The trial has failed: what was before is to run again, once it is restored."""
    assert state.trial is not None  # noqa: S101 - only a trial is taken back
    return state.model_copy(
        update={
            "running": state.trial.before,
            "standing": ConfigurationStanding.ROLLED_BACK,
            "reason": _short(reason),
            "since_ms": now_ms,
            "trial": None,
            "undone": state.running.digest,
        }
    )


def restored(state: CareState) -> CareState:
    """What was before stands in its place again."""
    return state.model_copy(update={"undone": None})


def by_hand(state: CareState, text: str, *, now_ms: int) -> CareState:
    """Somebody changed the file on the spot, who has the last word until a newer version is sent."""
    return state.model_copy(
        update={
            "running": Running(digest=text),
            "standing": ConfigurationStanding.LOCAL,
            "reason": None,
            "since_ms": now_ms,
            "trial": None,
            "undone": None,
        }
    )


class Step(Enum):
    """What is left to do after a kill."""

    NOTHING = auto()
    PUT_NEW = auto()
    RESTORE = auto()
    TAKE_AS_BY_HAND = auto()


def step_after_kill(state: CareState, text: str, *, new: str | None, before: str | None) -> Step:
    """What is left to do, by the digests of edge.yaml, of the new text beside it, and of the one before."""
    if text == state.running.digest:
        return Step.NOTHING
    if state.undone is not None and text == state.undone and before == state.running.digest:
        return Step.RESTORE
    if state.trial is not None and state.trial.starts == 0 and new == state.running.digest:
        # Not yet begun: what stands there is what was there before, on trial or not.
        return Step.PUT_NEW
    return Step.TAKE_AS_BY_HAND


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
