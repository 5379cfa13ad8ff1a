"""One value in a JSON document, by a JSONPath (RFC 9535). Pure."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonpath import JSONPathEnvironment


class _Absent:
    """The document has nothing there."""


ABSENT: Final = _Absent()


class DocumentPath:
    """Finds one value. `str()` is the path as it was written."""

    def __init__(self, text: str) -> None:
        """Raises ValueError that says what is wrong with the path."""
        self._text = text
        if not text.startswith("$"):
            raise ValueError(f"{text!r} is not a JSON path; it begins with $, as in $.energy.total")
        from jsonpath import JSONPathError  # noqa: PLC0415 - only who reads documents pays for it

        try:
            self._query: Any = _environment().compile(text)
        except (JSONPathError, RecursionError) as error:
            why = error.args[0] if error.args else "too deep"
            raise ValueError(f"{text!r} is not a JSON path ({why}); write it as in $.energy['total kWh'][0]") from None

    def __str__(self) -> str:
        return self._text

    def find(self, document: object) -> object:
        """The value, or ABSENT. Raises ValueError: there are several, or the path can't be followed."""
        if self._text == "$":
            return document
        if not isinstance(document, dict | list):
            return ABSENT
        from jsonpath import JSONPathError  # noqa: PLC0415

        try:
            found = [match.obj for match in islice(self._query.finditer(document), 2)]
        except (JSONPathError, RecursionError) as error:
            why = error.args[0] if error.args else "too deep"
            raise ValueError(f"cannot be followed: {why}") from None
        if len(found) > 1:
            raise ValueError("finds several values; write a path that finds one")
        return found[0] if found else ABSENT


@cache
def _environment() -> JSONPathEnvironment:
    from jsonpath import JSONPathEnvironment  # noqa: PLC0415

    return JSONPathEnvironment(strict=True)
