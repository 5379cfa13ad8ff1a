"""Takes configurations in and back, a step at a time: after a kill at any of them, `Keeper` finishes what was begun.

A file is replaced only after the state says so, and the state only after what it speaks of is on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from edge.care import state as states
from edge.care.files import CareFiles, CareFilesError
from edge.care.state import MOST_STARTS, CareState, Order, Step, digest
from schemas.wire import ConfigurationState

log = structlog.get_logger()


class Keeper:
    """Of one edge.yaml. Not for several threads at once."""

    def __init__(self, path: Path, *, now_ms: Callable[[], int]) -> None:
        """Finishes what a kill has left. Raises EdgePermanentError, CareFilesError."""
        self._files = CareFiles(path)
        self._now_ms = now_ms
        self._state = self._files.state()
        self._recover()

    @property
    def state(self) -> CareState:
        """As it is on disk."""
        return self._state

    def told(self) -> ConfigurationState:
        """As the status says it."""
        return self._state.told()

    def text(self) -> str:
        """What edge.yaml holds now."""
        return self._files.text().decode("utf-8", "replace")

    def was_changed_by_hand(self) -> bool:
        """Whether edge.yaml is another than the agent began with."""
        return digest(self._files.text()) != self._state.running.digest

    def order_of(self, version: int, sent: str) -> Order:
        """What a message is beside those before it."""
        return states.order_of(self._state, version, sent)

    def refuse(self, version: int, sent: str, reason: str) -> None:
        """Remember that it was refused, and why. Raises CareFilesError."""
        self._keep(states.refused(self._state, version, sent, reason, now_ms=self._now_ms()))

    def take(self, version: int, sent: str, text: str, *, meters: Sequence[str]) -> None:
        """Put the text in place, on trial: `meters` are to be read with it. Raises CareFilesError, as it was before."""
        if self._state.trial is None:
            self._files.keep_before()
        new = text.encode()
        self._files.keep_new(new)
        before = self._state
        self._keep(states.begun(before, version, sent, digest(new), meters=tuple(meters), now_ms=self._now_ms()))
        try:
            self._files.put_new()
        except CareFilesError:
            self._keep(before)
            raise

    def note_start(self) -> bool:
        """The agent begins with what stands there; False when it did so too often during a trial.

        Raises CareFilesError.
        """
        trial = self._state.trial
        if trial is None:
            return True
        if trial.starts >= MOST_STARTS:
            return False
        self._keep(states.started(self._state))
        return True

    def pass_trial(self) -> None:
        """It stays. Raises CareFilesError."""
        self._keep(states.passed(self._state, now_ms=self._now_ms()))

    def roll_back(self, reason: str) -> bool:
        """Put back what was before; False when nothing is on trial, or it would undo what somebody did on the spot.

        Raises CareFilesError.
        """
        trial = self._state.trial
        if trial is None:
            return False
        hindrance = None
        if self.was_changed_by_hand():
            hindrance = "edge.yaml was changed on the spot meanwhile; restart the agent, which then begins with that"
        elif self._files.digest_of_before() != trial.before.digest:
            hindrance = "edge.yaml.before is not what it was"
        if hindrance is not None:
            log.error(
                "the configuration on trial cannot be taken back",
                action="configuration.kept",
                reason=reason,
                hindrance=hindrance,
            )
            told = f"{reason}; it could not be taken back, as {hindrance}"
            self._keep(states.passed(self._state, now_ms=self._now_ms(), reason=told))
            return False
        self._keep(states.rolled_back(self._state, reason, now_ms=self._now_ms()))
        self._files.restore()
        self._keep(states.restored(self._state))
        return True

    def _recover(self) -> None:
        files = self._files
        text = digest(files.text())
        new, before = files.digest_of_new(), files.digest_of_before()
        match states.step_after_kill(self._state, text, new=new, before=before):
            case Step.PUT_NEW:
                files.put_new()
            case Step.RESTORE:
                files.restore()
                self._keep(states.restored(self._state))
            case Step.TAKE_AS_BY_HAND:
                self._state = states.by_hand(self._state, text, now_ms=self._now_ms())
                # Where it cannot be written, the same is found out again at the next start.
                with contextlib.suppress(CareFilesError):
                    files.keep_state(self._state)
            case Step.NOTHING:
                if self._state.undone is not None:
                    self._keep(states.restored(self._state))

    def _keep(self, state: CareState) -> None:
        self._files.keep_state(state)
        self._state = state
