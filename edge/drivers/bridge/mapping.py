"""What a type of device publishes, under which topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge.drivers.documents.mapping import PART, DocumentMapping, DocumentTime, PathTemplate, load_document_mapping

DEVICE = "{device}"
_PACKAGE = "edge.drivers.bridge.mappings"


def check_filter(topic: str) -> str:
    """The topic or topic filter as it is. Raises ValueError where MQTT knows no such."""
    levels = topic.split("/")
    if not topic or len(topic.encode("utf-8", "replace")) > 60_000 or "\0" in topic:
        raise ValueError("a topic has between 1 and 60,000 bytes, none of them zero")
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        raise ValueError(f"{topic!r}: # stands alone, as the last level of a topic")
    if any("+" in level and level != "+" for level in levels):
        raise ValueError(f"{topic!r}: + stands for a whole level of a topic")
    return topic


class TopicOfDevice(BaseModel):
    """What is published under one topic, in which {device}, {part} and {channel} may stand.

    `root`: where in the document the quantities' paths begin. `at`: where it says when; left out: it is of the moment
    it arrives. `partial`: it says only what has changed, so that nothing is to be made of what is not there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: Annotated[str, AfterValidator(check_filter)]
    root: PathTemplate = "$"
    at: DocumentTime | None = None
    partial: bool = False


class BridgeMapping(DocumentMapping):
    """A type of device that publishes. `identified_by`: where the document names its device, which one of them does;
    needed where devices share a topic."""

    topics: Annotated[list[TopicOfDevice], Field(min_length=1)]
    identified_by: Annotated[list[PathTemplate], Field(default_factory=list)]

    @model_validator(mode="after")
    def _tells_devices_and_parts_apart(self) -> Self:
        for topic in self.topics:
            if DEVICE not in topic.topic and not self.identified_by:
                raise ValueError(f"topic {topic.topic}: put {DEVICE} in it, or say where the document names its device")
            parts_are_needed = PART in topic.topic + topic.root
            for name, quantity in self.quantities.items():
                if parts_are_needed and quantity.part is None:
                    raise ValueError(f"quantity {name}: topic {topic.topic} has {PART}; say which `part` it is")
        return self


def load_bridge_mapping(name: str, *, folder: Path) -> BridgeMapping:
    """As `edge.drivers.documents.mapping.load_document_mapping`."""
    return load_document_mapping(name, package=_PACKAGE, folder=folder, model=BridgeMapping)
