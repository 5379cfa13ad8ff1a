"""What edge.yaml must say once the agent is enrolled, put into it line by line: comments and all else stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge.durable_files import write_durably
from edge.enrolment.identity import AUTHORITY, CERTIFICATE, KEY, AgentIdentity, as_owner

_HEAD = """\
# What this agent is and reads. Written by `afkobling edge enrol`; docs/edge.md tells all that may stand here.
"""
_TAIL = """\

# What it reads: `afkobling edge init` asks for it, or write it by hand, as in
# drivers:
#   - name: oven
#     driver: modbus
#     host: 192.168.1.20
#     profile: eastron-sdm630
#     every: 10s
#     meters: {oven-electricity: energy-import}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`changed`: what stands in the file now and did not before. `to_write`: what a person has to put there instead."""

    changed: tuple[str, ...]
    to_write: tuple[str, ...] = ()


def wanted(identity: AgentIdentity, folder: Path, config: Path) -> dict[str, Any]:
    """What the file must say; files beside it by their names alone."""
    beside = folder.absolute() == config.absolute().parent
    files = {"authority": AUTHORITY, "certificate": CERTIFICATE, "key": KEY}
    return {
        "organisation": identity.organisation,
        "site": identity.site,
        "agent": identity.agent,
        "broker": identity.broker,
        "tls": {what: name if beside else str(folder.absolute() / name) for what, name in files.items()},
    }


def write_configuration(config: Path, values: Mapping[str, Any]) -> Written:
    """Make the file say this. What it cannot do without disturbing more it leaves to a person. Raises OSError."""
    with as_owner(config.absolute().parent):
        return _write_configuration(config, values)


def _write_configuration(config: Path, values: Mapping[str, Any]) -> Written:
    if not config.exists():
        text = _HEAD + "".join(f"{_line(name, value)}\n" for name, value in values.items()) + _TAIL
        write_durably(config, text, mode=0o644)
        return Written(changed=tuple(values))
    text = config.read_text(encoding="utf-8")
    before = _parsed(text)
    changed = tuple(name for name, value in values.items() if before is None or before.get(name) != value)
    if not changed:
        return Written(changed=())
    after = text
    for name in changed:
        after = _with(after, name, values[name])
    if before is None or _parsed(after) != {**before, **values}:
        return Written(changed=(), to_write=tuple(_line(name, values[name]) for name in changed))
    # Passwords may stand in it.
    mode = config.stat().st_mode & 0o777
    write_durably(config.with_name(f"{config.name}.before-enrolment"), text, mode=mode)
    write_durably(config, after, mode=mode)
    return Written(changed=changed)


def _with(text: str, name: str, value: Any) -> str:
    """The text with this line in the place of the one that sets the same, or at the end of such lines."""
    lines = text.splitlines(keepends=True)
    at = [i for i, line in enumerate(lines) if re.match(rf"{name}\s*:", line)]
    if len(at) == 1:
        comment = re.search(r"\s+#.*$", lines[at[0]].rstrip("\n"))
        lines[at[0]] = _line(name, value) + (comment[0] if comment else "") + "\n"
        return "".join(lines)
    heads = [i for i, line in enumerate(lines) if re.match(r"(organisation|site|agent|broker)\s*:", line)]
    lines.insert(heads[-1] + 1 if heads else 0, _line(name, value) + "\n")
    return "".join(lines)


def _line(name: str, value: Any) -> str:
    plain = str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True))
    # A scalar by itself is a whole document to YAML, and ends as one.
    return f"{name}: {plain.strip().removesuffix('...').strip()}"


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None
