"""What a type of device answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from edge.drivers.documents.mapping import DocumentMapping, DocumentTime, PathTemplate, load_document_mapping

_PACKAGE = "edge.drivers.http_json.mappings"


class HttpMapping(DocumentMapping):
    """A type of device that is asked. `request`: the path and query to ask for, where a configuration gives the host
    alone. `at`: where the document says when; left out: it is of the moment that it comes."""

    request: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$")] = "/"
    root: PathTemplate = "$"
    at: DocumentTime | None = None


def load_http_mapping(name: str, *, folder: Path) -> HttpMapping:
    """As `edge.drivers.documents.mapping.load_document_mapping`."""
    return load_document_mapping(name, package=_PACKAGE, folder=folder, model=HttpMapping)
