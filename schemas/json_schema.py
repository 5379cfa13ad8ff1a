"""JSON Schema of every message and of the site model, generated from the models and kept in `schemas/json/`."""

from __future__ import annotations

import json

from pydantic import BaseModel

from schemas.alerts import AlertMessage
from schemas.site import SiteModel
from schemas.wire import MESSAGES

MODELS: dict[str, type[BaseModel]] = {**MESSAGES, "alert": AlertMessage, "site": SiteModel}


def render() -> dict[str, str]:
    """File name to text, for each model."""
    return {
        f"{name}.schema.json": json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **model.model_json_schema(),
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, model in MODELS.items()
    }
