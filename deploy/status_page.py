"""The agent's status page: one small page without any content from elsewhere, for whoever stands at the cabinet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape

from prometheus_client import CollectorRegistry

from deploy.probes import serve_probes
from deploy.secrets import without_secrets
from deploy.status_lines import status_lines
from deploy.status_words import Language, asked_language, in_language, number, span
from edge.local_status import LocalStatus, MeterStatus

_REFRESH_S = 10
_STYLE = """
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #b3261e; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --ok: #57ab5a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 0.75rem; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; align-items: baseline; }
h1 { font-size: 1.25rem; margin: 0.25rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.25rem 0 0.25rem; }
.ok { color: var(--ok); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0; }
dt { opacity: 0.75; } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.3rem 0.5rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { margin-top: 1rem; font-size: 0.85rem; opacity: 0.75; }
"""


def serve_with_page(
    port: int,
    registry: CollectorRegistry,
    problems: Callable[[], Iterable[str]],
    *,
    address: str,
    status: Callable[[], LocalStatus],
) -> Callable[[], None]:
    """As `serve_probes`, with the status at / for people and at /status as JSON. Raises PortTakenError."""

    def page(query: str, accepted: str) -> tuple[str, bytes]:
        return "text/html; charset=utf-8", render(shown(status()), asked_language(query, accepted)).encode()

    def as_json(_query: str, _accepted: str) -> tuple[str, bytes]:
        body = json.dumps(shown(status()).model_dump(mode="json"), ensure_ascii=False)
        return "application/json", body.encode()

    return serve_probes(port, registry, problems, address=address, pages={"/": page, "/status": as_json})


def shown(status: LocalStatus) -> LocalStatus:
    """Without the passwords that words of libraries may hold."""
    reason = status.broker.reason
    return status.model_copy(
        update={
            "problems": [without_secrets(problem) for problem in status.problems],
            "broker": status.broker.model_copy(update={"reason": reason and without_secrets(reason)}),
        }
    )


def render(status: LocalStatus, language: Language) -> str:
    """The whole page."""

    def say(text: str) -> str:
        return escape(in_language(text, language))

    well = "All is well" if not status.problems else "Something is wrong"
    lines = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in status_lines(status, language)
    )
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in status.problems)
    found = f'<h2>{say("Problems")}</h2><ul class="bad">{problems}</ul>' if problems else ""
    others = " · ".join(
        f'<a href="?lang={other}" lang="{other}">{name}</a>'
        for other, name in ((Language.ENGLISH, "English"), (Language.DANISH, "Dansk"))
        if other is not language
    )
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{_REFRESH_S}">'
        f"<title>{escape(status.agent)} – {say(well)}</title><style>{_STYLE}</style></head><body>"
        f'<header><h1>{escape(status.agent)}</h1><strong class="{"bad" if problems else "ok"}">{say(well)}</strong>'
        f"</header>{found}<main><h2>{say('State')}</h2><dl>{lines}</dl>"
        f"<h2>{say('Meters')} ({len(status.meters)})</h2>{_table(status, language)}</main>"
        f"<footer>{say(f'refreshes every {_REFRESH_S} s')} · {others}</footer></body></html>"
    )


def _table(status: LocalStatus, language: Language) -> str:
    def say(text: str) -> str:
        return escape(in_language(text, language))

    if not status.meters:
        return f"<p>{say('No meter is configured')}</p>"
    rows = "".join(_row(meter, status.at, language) for meter in status.meters)
    return (
        f'<table><thead><tr><th scope="col">{say("Meter")}</th><th scope="col" class="n">{say("Value")}</th>'
        f'<th scope="col" class="n">{say("Age")}</th><th scope="col">{say("State")}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(meter: MeterStatus, at_ms: int, language: Language) -> str:
    value = "–" if meter.value is None else f"{number(meter.value, language)} {meter.unit or ''}"
    age = "–" if meter.at is None else span(at_ms - meter.at, language)
    mark = ' class="bad"' if meter.state == "silent" else ""
    return (
        f'<tr><td>{escape(meter.meter)}</td><td class="n">{escape(value)}</td><td class="n">{escape(age)}</td>'
        f"<td{mark}>{escape(in_language(meter.state, language))}</td></tr>"
    )
