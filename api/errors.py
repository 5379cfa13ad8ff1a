"""The root of what the API raises on purpose."""

from __future__ import annotations

from schemas.errors import AfkoblingError, PermanentError


class ApiError(AfkoblingError):
    """Root."""


class ModelRefusedError(ApiError, PermanentError):
    """The site model can't be applied to what the database holds; each line names one part and the way out."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
