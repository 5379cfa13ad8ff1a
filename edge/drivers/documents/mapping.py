"""What the documents of a type of device mean, as data. The drivers that bring documents add how they come by them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge.drivers.documents.paths import DocumentPath
from edge.drivers.documents.values import DecimalSign, InstantForm
from edge.drivers.quantity import Quantity
from edge.errors import EdgePermanentError
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.topics import Key

PART, CHANNEL = "{part}", "{channel}"


def fill_in(template: str, *, part: str | None, channel: int | None) -> str:
    """The template with the part's name and the channel's number in their places."""
    return template.replace(PART, part or "").replace(CHANNEL, "" if channel is None else str(channel))


def _known_path(template: str) -> str:
    DocumentPath(fill_in(template, part="part", channel=0))
    return template


def _as_list(given: object) -> object:
    return [given] if isinstance(given, str) else given


PathTemplate = Annotated[str, AfterValidator(_known_path)]
"""A JSON path in which {part} and {channel} may stand."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentTime(_Part):
    """Where the document says when. Without `required`, a document that does not say it is of now.

    `local`: it says the time of a clock on the wall, without its offset; the driver's settings then tell the zone.
    """

    path: Annotated[str, AfterValidator(_known_path)]
    form: InstantForm = InstantForm.ISO
    required: bool = True
    local: bool = False


class DocumentQuantity(Quantity):
    """A value in a document. `path`: where, or several places of which the first that is there counts.

    `part` is what a device calls the component that measures it. `valid_if`: the value counts only where this is true.
    """

    path: Annotated[list[PathTemplate], BeforeValidator(_as_list), Field(min_length=1)]
    part: Annotated[str, Field(min_length=1)] | None = None
    valid_if: PathTemplate | None = None

    @model_validator(mode="after")
    def _has_its_part(self) -> Self:
        if self.part is None and any(PART in path for path in (*self.path, self.valid_if or "")):
            raise ValueError(f"a path has {PART}; say which part it is")
        return self


class DocumentMapping(_Part):
    """A type of device. `source` says where the facts come from, and whether anybody tried them on hardware.

    `channel`: that of a meter that names none; None for devices that may have only one. It counts as the document does.
    `decimal`: the decimal sign of numbers that are written as texts.
    """

    name: Key
    description: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    channel: Annotated[int, Field(ge=0, le=1000)] | None = None
    decimal: DecimalSign = "."
    quantities: Annotated[dict[Key, DocumentQuantity], Field(min_length=1)]


class DocumentMeter(_Part):
    """A meter of a document: its quantity, by the mapping's name. In edge.yaml the name alone will do."""

    quantity: Key
    channel: Annotated[int, Field(ge=0, le=1000)] | None = None


class NamedQuantity(DocumentMeter):
    """The same, where the name alone may stand."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: object) -> object:
        return {"quantity": given} if isinstance(given, str) else given


M = TypeVar("M", bound=DocumentMapping)


def shipped_mappings(package: str) -> dict[str, str]:
    """Name to YAML text of the mappings that come with Afkobling in that package."""
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(files(package).iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".yaml")
    }


def load_document_mapping(name: str, *, package: str, folder: Path, model: type[M]) -> M:
    """A shipped mapping by name, or one's own by the path of its .yaml file from `folder`.

    Raises EdgePermanentError that lists the shipped ones, or that names file, line and remedy.
    """
    shipped = shipped_mappings(package)
    if name in shipped:
        return parse_configuration(shipped[name], name=f"{name}.yaml", model=model)
    if not name.endswith((".yaml", ".yml")):
        raise EdgePermanentError(
            f"there is no mapping {name!r}; known: {', '.join(shipped)}, or give the path of your own .yaml file"
        )
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgePermanentError(f"the mapping {path} cannot be read: {error}") from error
    try:
        return parse_configuration(text, name=str(path), model=model)
    except ConfigurationError as error:
        raise EdgePermanentError(str(error)) from error
