"""edge.yaml and what stands beside it, each changed whole or not at all, and on disk when the call returns.

`edge.yaml.before` is the text before the last change, `edge.yaml.new` the next one until it takes its place,
`edge.yaml.state` what became of what was sent.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from pydantic import ValidationError

from edge.care.state import CareState, Running, digest
from edge.durable_files import sync_folder, write_durably
from edge.errors import EdgePermanentError, EdgeTransientError

log = structlog.get_logger()


class CareFilesError(EdgeTransientError):
    """A file beside the configuration cannot be written; the message says which and what to do."""


class CareFiles:
    """Of one configuration. Where edge.yaml is a link, its target is what changes."""

    def __init__(self, path: Path) -> None:
        self._config = path.resolve()
        self._before = self._beside("before")
        self._new = self._beside("new")
        self._state = self._beside("state")

    def text(self) -> bytes:
        """Of edge.yaml. Raises EdgePermanentError."""
        try:
            return self._config.read_bytes()
        except OSError as error:
            raise EdgePermanentError(
                f"{self._config} cannot be read: {error.strerror}; give the file with --config"
            ) from error

    def digest_of_new(self) -> str | None:
        """None where there is none."""
        return _digest_of(self._new)

    def digest_of_before(self) -> str | None:
        """None where there is none."""
        return _digest_of(self._before)

    def state(self) -> CareState:
        """As it was kept; where there is none, what stands there was put there by hand."""
        local = CareState(running=Running(digest=digest(self.text())))
        try:
            return CareState.model_validate_json(self._state.read_bytes())
        except FileNotFoundError:
            return local
        except (OSError, ValidationError) as error:
            log.warning(
                "what became of configurations that were sent cannot be read; the file is taken as it is",
                action="configuration.forgotten",
                file=str(self._state),
                reason=str(error),
            )
            return local

    def keep_state(self, state: CareState) -> None:
        """Raises CareFilesError."""
        self._write(self._state, state.model_dump_json(indent=2).encode() + b"\n")

    def keep_before(self) -> None:
        """What stands there now is what to go back to. Raises CareFilesError."""
        self._write(self._before, self.text())

    def keep_new(self, text: bytes) -> None:
        """Raises CareFilesError."""
        self._write(self._new, text)

    def put_new(self) -> None:
        """The new text takes its place. Raises CareFilesError."""
        try:
            self._new.replace(self._config)
            sync_folder(self._config.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def restore(self) -> None:
        """What was before takes its place again, which a full disk does not hinder. Raises CareFilesError."""
        try:
            self._before.replace(self._config)
            sync_folder(self._config.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def _beside(self, suffix: str) -> Path:
        return self._config.with_name(f"{self._config.name}.{suffix}")

    def _write(self, file: Path, text: bytes) -> None:
        try:
            write_durably(file, text, like=self._config)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CareFilesError:
        return CareFilesError(
            f"the folder {self._config.parent} cannot be written ({error.strerror}): a configuration that is sent is "
            "kept there; give the agent's account the right to, or make room"
        )


def _digest_of(file: Path) -> str | None:
    try:
        return digest(file.read_bytes())
    except OSError:
        return None
