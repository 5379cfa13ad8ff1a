"""How far each file was read. It moves on only with what is in the outbox for good."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.durable_files import write_durably

_FORGET_MS = 30 * 86_400_000
"""A file that has been gone for so long may come again as a new one."""


class Stamp(BaseModel):
    """What a look at the folder tells of a file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    changed_ns: int


class FileState(BaseModel):
    """`position`: bytes that were read. `print_` is of these, so that the file is known again under another name.

    `last`: the instant of each meter's last row (Unix milliseconds UTC). `stamp` is that of a file that was read
    to its end or `refused`: until it is another one there is nothing to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: int = 0
    lines: int = 0
    readings: int = 0
    print_: str = ""
    last: dict[str, int] = Field(default_factory=dict)
    stamp: Stamp | None = None
    refused: str | None = None
    seen_ms: int = 0


class FolderState(BaseModel):
    """Of all files by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, ge=1, le=1)
    files: dict[str, FileState] = Field(default_factory=dict)

    def with_file(self, name: str, state: FileState) -> Self:
        """One file has come further."""
        return self.model_copy(update={"files": self.files | {name: state}})

    def without_file(self, name: str) -> Self:
        """One file is gone for good."""
        return self.model_copy(update={"files": {other: state for other, state in self.files.items() if other != name}})

    def seen(self, names: Collection[str], *, now_ms: int) -> Self:
        """These are there now; what has been gone for long is forgotten."""
        files: Mapping[str, FileState] = {
            name: state.model_copy(update={"seen_ms": now_ms}) if name in names else state
            for name, state in self.files.items()
            if name in names or now_ms - state.seen_ms < _FORGET_MS
        }
        return self.model_copy(update={"files": files})


def load_state(path: Path) -> FolderState:
    """What was kept; nothing where there is no file yet. Raises OSError, and ValueError when it makes no sense."""
    try:
        return FolderState.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return FolderState()
    except ValidationError as error:
        raise ValueError(f"{path} makes no sense: {error.errors()[0]['msg']}") from error


def save_state(path: Path, state: FolderState) -> None:
    """On disk when this returns. Raises OSError."""
    write_durably(path, state.model_dump_json(exclude_defaults=True))
