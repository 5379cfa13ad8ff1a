"""How an agent's status is told to a person: spans, values and labels, in Danish and English. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Language(StrEnum):
    """Of the page; the first that a browser asks for, else English."""

    ENGLISH = "en"
    DANISH = "da"


_DANISH: Mapping[str, str] = {
    "All is well": "Alt er i orden",
    "Something is wrong": "Noget er galt",
    "Problems": "Problemer",
    "Meters": "Målere",
    "Meter": "Måler",
    "Value": "Værdi",
    "Age": "Alder",
    "State": "Tilstand",
    "reading": "aflæses",
    "silent": "tavs",
    "waiting": "venter",
    "Broker": "Broker",
    "connected": "forbundet",
    "not connected": "ikke forbundet",
    "Outbox": "Udbakke",
    "Stored last": "Sidst lagret",
    "Clock": "Ur",
    "Certificate": "Certifikat",
    "Configuration": "Konfiguration",
    "Disk": "Disk",
    "Version": "Version",
    "messages": "meddelelser",
    "readings": "aflæsninger",
    "oldest": "ældste",
    "of": "af",
    "nothing waits": "intet venter",
    "given up": "opgivet",
    "ago": "siden",
    "not since it started": "ikke siden start",
    "synchronised": "synkroniseret",
    "not synchronised": "ikke synkroniseret",
    "ahead of the collector": "foran opsamleren",
    "behind the collector": "bag opsamleren",
    "as the collector's": "som opsamlerens",
    "not compared with the collector's yet": "endnu ikke sammenlignet med opsamlerens",
    "days left": "dage tilbage",
    "expired": "udløbet",
    "none": "intet",
    "free": "ledig",
    "running since": "kører siden",
    "local": "lokal",
    "on_trial": "på prøve",
    "applied": "i brug",
    "refused": "afvist",
    "rolled_back": "rullet tilbage",
    "the file on this machine": "filen på denne maskine",
    "No meter is configured": "Ingen målere er sat op",
    "refreshes every 10 s": "opdateres hvert 10. s",
    "h": "t",
    "d": "d",
}


def in_language(text: str, language: Language) -> str:
    """A label in the language; one that is not known stays as it is."""
    return _DANISH.get(text, text) if language is Language.DANISH else text


def asked_language(query: str, accepted: str) -> Language:
    """`lang=da` decides, then what the browser prefers."""
    for part in query.split("&"):
        if part in {"lang=da", "lang=en"}:
            return Language(part[5:])
    preferred = accepted.split(",", maxsplit=1)[0].strip().lower()
    return Language.DANISH if preferred.startswith("da") else Language.ENGLISH


def span(milliseconds: float, language: Language = Language.ENGLISH) -> str:
    """A span as a person says it, in one unit: 12 s, 3 min, 5 h, 2 d."""
    seconds = max(0.0, milliseconds / 1000)
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {in_language(unit, language)}"
    return f"{seconds / 86_400:.0f} {in_language('d', language)}"


def number(value: float, language: Language = Language.ENGLISH) -> str:
    """Nine digits at most behind which there is something, as the meter's display would show them."""
    if value and not 1e-4 <= abs(value) < 1e15:
        text = f"{value:.6g}"
    else:
        whole = len(str(int(abs(value))))
        text = f"{value:.{max(0, 9 - whole)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(".", ",") if language is Language.DANISH else text


def size(count: int, language: Language = Language.ENGLISH) -> str:
    """Bytes in a unit that fits."""
    for limit, unit in ((1_000, "B"), (1_000_000, "kB"), (1_000_000_000, "MB")):
        if count < limit:
            divided = count / (limit / 1_000)
            return f"{divided:.0f} {unit}"
    text = f"{count / 1_000_000_000:.1f} GB"
    return text.replace(".", ",") if language is Language.DANISH else text
