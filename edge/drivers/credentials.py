"""Names, passwords and certificates for what a driver connects to. Passwords stand in files or in the environment."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.errors import EdgePermanentError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(_Section):
    """Where a password stands: the first line of a `file`, or an environment `variable`."""

    file: Path | None = None
    variable: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _not_in_clear(cls, given: object) -> object:
        if isinstance(given, str):
            raise ValueError(  # noqa: TRY004 - pydantic's
                "a password does not stand in a configuration; write {file: password.txt} or {variable: NAME}"
            )
        return given

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.variable is None):
            raise ValueError("a password stands in a `file` or in a `variable` of the environment: name one")
        return self

    def read(self, folder: Path) -> str:
        """The password. `folder`: where relative paths begin. Raises EdgePermanentError that says what is missing."""
        if self.variable is not None:
            if value := os.environ.get(self.variable):
                return value
            raise EdgePermanentError(f"the environment has no {self.variable}, which is to hold a password; set it")
        path = folder / (self.file or "")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise EdgePermanentError(f"the password's file {path} cannot be read: {error}") from error
        if not lines or not lines[0]:
            raise EdgePermanentError(f"the first line of {path} is empty; write the password there")
        return lines[0]


class Trust(_Section):
    """Of an encrypted connection: whom to trust (`authority`; left out: the machine's own list), and who we are."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _key_and_certificate(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate")
        return self

    def context(self, folder: Path) -> ssl.SSLContext:
        """For TLS 1.2 or later. Raises EdgePermanentError that names the files."""
        paths = {name: folder / path for name, path in self if path is not None}
        try:
            authority = paths.get("authority")
            context = ssl.create_default_context(cafile=str(authority) if authority else None)
            if "certificate" in paths:
                context.load_cert_chain(paths["certificate"], paths["key"])
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in paths.values())
            raise EdgePermanentError(f"a file of `tls` cannot be used ({files}): {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
