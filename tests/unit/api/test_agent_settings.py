"""Where agents reach the server, as a person may write it."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from api.agents.settings import ServerUrl

URL = TypeAdapter[str](ServerUrl)


@pytest.mark.parametrize(
    "text", ["http://192.168.1.5:8080", "https://energy.example.org", "http://[fd00::5]:8080", "https://a.dk/afkobling"]
)
def test_an_address_is_taken(text: str) -> None:
    assert URL.validate_python(text) == URL.validate_python(f"{text}/") == text


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "192.168.1.5:8080",
        "ftp://here",
        "http://here:port",
        "http://here:99999",
        "http://he're",
        "http://a b",
        "http://h/#x",
    ],
    ids=str,
)
def test_what_would_make_no_usable_code_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"write it like http://192\.168\.1\.5:8080"):
        URL.validate_python(text)
