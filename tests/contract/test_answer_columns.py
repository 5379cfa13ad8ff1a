"""Columns of answers: ratios are marked as such, and every answer with rows is offered in all formats."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from pydantic import BaseModel, SecretStr

import api
from api.app import create_app
from api.exact_json import Answer
from api.settings import ApiSettings
from api.tables.columns import Kind, _kind, _of_list, _strip, layouts
from api.tables.formats import MEDIA_TYPES

RATIOS, QUANTITIES = {"ratio", "share_answer"}, {"quantity"}


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(api.__path__, "api.")
    return [importlib.import_module(module.name) for module in found if not module.ispkg]


def made_by(value: ast.expr) -> str | None:
    """The function whose result a keyword is given, also where it may be None."""
    match value:
        case ast.IfExp():
            return made_by(value.body) or made_by(value.orelse)
        case ast.BoolOp():
            return next((name for one in value.values if (name := made_by(one))), None)
        case ast.Call(func=ast.Name(id=name)) if name in RATIOS | QUANTITIES:
            return name
        case _:
            return None


def given(module: ModuleType) -> Iterator[tuple[type[BaseModel], str, str]]:
    """(model, field, function) of every answer that is made in a module."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        model = getattr(module, node.func.id, None)
        if isinstance(model, type) and issubclass(model, Answer):
            for keyword in node.keywords:
                name = made_by(keyword.value)
                if name is not None and keyword.arg is not None:
                    yield model, keyword.arg, name


def kind(model: type[BaseModel], name: str) -> Kind:
    field = model.model_fields[name]
    inner, _, marks = _strip(field.annotation, field.metadata)
    entry = _of_list(inner)
    if entry is not None:
        inner, _, marks = _strip(entry)
    return _kind(inner, marks)


def test_ratios_are_columns_of_floats_and_quantities_of_decimals():
    found = [(module.__name__, *one) for module in modules() for one in given(module)]
    assert len(found) > 100
    wrong = [
        f"{where}: {model.__name__}.{field} is made by {function}() and annotated as a {kind(model, field)}"
        for where, model, field, function in found
        if kind(model, field) is not (Kind.RATIO if function in RATIOS else Kind.QUANTITY)
    ]
    assert wrong == []


def answers() -> list[type[BaseModel]]:
    return [
        one
        for module in modules()
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Answer) and one.__module__ == module.__name__
    ]


@pytest.mark.parametrize("model", answers(), ids=lambda model: model.__name__)
def test_no_two_columns_have_one_name(model):
    for layout in layouts(model).values():
        names = [column.name for column in (*layout.columns, *layout.around)]
        assert len(names) == len(set(names))


def test_every_answer_with_rows_is_offered_in_all_formats():
    app = create_app(ApiSettings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none")))
    description = app.openapi()
    schemas = description["components"]["schemas"]
    missing = []
    for path, methods in description["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        properties = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
        if "items" in properties and set(content) != set(MEDIA_TYPES.values()):
            missing.append(path)
    assert missing == []
