"""From the text of a YAML file to a validated model, with errors that name file, line and remedy."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from schemas.errors import PermanentError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

_BASE_60 = re.compile(r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong at one place of a model, and what to do about it."""

    location: Location
    message: str


class ConfigurationError(PermanentError):
    """One or more problems in a configuration file, each on a line of its own as `file:line: place: message`."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key given twice, of which plain YAML would silently keep the last.

    22:00 is a text, as in YAML 1.2; YAML 1.1 makes the number 1320 of it, and of 06:00 a text.
    """

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0] and _BASE_60.fullmatch(value or ""):
            return "tag:yaml.org,2002:str"
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call] # PyYAML has no types here
        return tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or a mapping can't be a name", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands twice; keep one of them", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_configuration(text: str, *, name: str, model: type[Model]) -> Model:
    """Validate the text of the YAML file called `name`. Raises ConfigurationError with every problem found."""
    try:
        tree = yaml.compose(text, Loader=_UniqueKeyLoader)
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(
            [f"{name}:{line}: not valid YAML: {error.problem}; check indentation, colons and quotes"]
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            [f"{name}:1: lists and mappings stand too deep in each other; make it flatter"]
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError([f"{name}:1: not valid YAML: {error}"]) from error
    except (AttributeError, LookupError) as error:
        # PyYAML meets a value that its tag does not fit, such as `!!int ""`, unprepared.
        raise ConfigurationError([f"{name}:1: a value does not fit its tag (!!…); remove the tag"]) from error
    if not isinstance(data, dict):
        raise ConfigurationError([f"{name}:1: expected `name: value` lines; the file has none"])
    try:
        result = model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError([_line_of(name, tree, problem) for problem in problems_in(error)]) from error
    problems = result.problems() if isinstance(result, SelfChecking) else []
    if problems:
        raise ConfigurationError([_line_of(name, tree, problem) for problem in problems])
    return result


def with_line(text: str, *, name: str, problem: Problem) -> str:
    """`file:line: place: message` for a problem that showed itself only after the file was parsed."""
    return with_lines(text, name=name, problems=[problem])[0]


def with_lines(text: str, *, name: str, problems: Sequence[Problem]) -> list[str]:
    """The same for several: the text is parsed once, which for a long one takes a second."""
    tree = yaml.compose(text, Loader=_UniqueKeyLoader) if problems else None
    return [_line_of(name, tree, problem) for problem in problems]


class SelfChecking(BaseModel):
    """A model whose parts refer to each other: `problems` tells which references do not hold."""

    def problems(self) -> list[Problem]:
        """Every problem, each with the place it was found at; none where all is well."""
        raise NotImplementedError


def problems_in(error: ValidationError) -> list[Problem]:
    """What pydantic found, in the words of a person who edits the file."""
    return [
        Problem(location=tuple(e["loc"]), message=_remedy(e["type"], e["msg"]))
        for e in error.errors(include_url=False, include_input=False)
    ]


def _remedy(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "this is missing; add it"
        case "extra_forbidden":
            return "there is no such setting; check the spelling or remove it"
        case _:
            return message.removeprefix("Value error, ")


def _line_of(name: str, tree: yaml.Node | None, problem: Problem) -> str:
    node, line = tree, 1
    for step in problem.location:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
    place = ".".join(str(step) for step in problem.location) or "file"
    return f"{name}:{line}: {place}: {problem.message}"


def _child(node: yaml.Node | None, step: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value = node.value[step]
        return value.start_mark.line + 1, value
    return None
