"""docs/operations.md names every metric, alert and log action that there is, and the rules use no other metrics."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from api.alerts.service import AlertMetrics
from api.app import create_app
from api.attribution.service import AttributionMetrics
from api.condition import Condition, _Found
from api.settings import ApiSettings
from collector.archive.metrics import ArchiveMetrics
from collector.collector import Collector
from collector.metrics import RollupMetrics
from collector.settings import CollectorSettings
from edge.counters import Counters

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "afkobling.rules.yaml").read_text("utf-8"))
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def registries() -> Iterator[CollectorRegistry]:
    collector = Collector(CollectorSettings(database_url="x", broker_url="mqtt://x:1"))
    collector._subscriber.stop()
    yield collector.metrics.registry
    for metrics in (RollupMetrics(), ArchiveMetrics(), AlertMetrics(), AttributionMetrics(), Counters()):
        yield metrics.registry
    app = create_app(ApiSettings(database_url=SecretStr("postgresql://x")))
    app.build_middleware_stack()
    condition: Condition = app.state.condition
    condition._found = _Found(waiting=[], gaps=[], replays={"waiting": 0, "oldest_s": 0}, agents=[])
    app.state.pool = _Pool()
    yield app.state.registry


class _Pool:
    def get_stats(self) -> dict[str, int]:
        return {}


@pytest.fixture(scope="module")
def metrics() -> dict[str, str]:
    """The type of each metric, by its name as Prometheus stores it."""
    families = [family for registry in registries() for family in registry.collect()]
    return {f"{f.name}_total" if f.type == "counter" else f.name: f.type for f in families}


def test_the_page_lists_every_metric_and_no_other(metrics: dict[str, str]) -> None:
    listed = re.findall(r"^\| `(afkobling_\w+)(?:\{[\w,]+\})?` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(metrics)


def test_names_follow_the_conventions(metrics: dict[str, str]) -> None:
    assert len(metrics) > 50
    for name, kind in metrics.items():
        assert re.fullmatch(r"afkobling_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert "milli" not in name
        assert "_ms" not in name


def test_rules_are_whole_and_use_metrics_that_there_are(metrics: dict[str, str]) -> None:
    known = {"up"} | {
        name + suffix
        for name, kind in metrics.items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    assert [set(group) for group in RULES["groups"]] == [{"name", "rules"}]
    for rule in alerts():
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["annotations"]["summary"].count("{{") == rule["annotations"]["summary"].count("}}")
        used = set(re.findall(r"\b(?:afkobling_\w+|up)\b", rule["expr"]))
        assert used, rule["alert"]
        assert used <= known, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        for name in re.findall(r"rate\((\w+)|increase\((\w+)", rule["expr"]):
            assert "".join(name).endswith(("_total", "_bucket")), rule["alert"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def test_the_page_says_what_to_do_for_each_alert() -> None:
    listed = re.findall(r"^\| (Afkobling\w+) \|", PAGE, re.MULTILINE)
    assert listed == [rule["alert"] for rule in alerts()]


def test_the_example_finds_the_rules_and_every_part() -> None:
    example = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    assert all((PROMETHEUS / name).is_file() for name in example["rule_files"])
    jobs = {job["job_name"] for job in example["scrape_configs"]}
    assert jobs == {
        f"afkobling-{part}" for part in ("collector", "rollup", "archive", "attribution", "alerts", "api", "edge")
    }


def log_lines() -> Iterator[tuple[str, ast.expr | None]]:
    """Where each line is logged, and what its action is."""
    for folder in ("edge", "collector", "api", "deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            if "get_logger" not in text and '"action"' not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                match node:
                    case ast.Call(func=ast.Attribute(value=logger, attr=level), keywords=given) if level in LEVELS:
                        if re.search(r"(^|\.)_?log$|get_logger", ast.unparse(logger), re.IGNORECASE):
                            yield where, next((one.value for one in given if one.arg == "action"), None)
                    case ast.Dict(keys=keys, values=values) if folder == "deploy":
                        found = [v for k, v in zip(keys, values, strict=True) if k and ast.unparse(k) == "'action'"]
                        yield from ((where, action) for action in found)


def test_every_line_of_a_log_has_an_action_that_the_page_lists() -> None:
    listed = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", PAGE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    used: dict[str, str] = {}
    for where, action in log_lines():
        assert isinstance(action, ast.Constant), f"{where}: give the line a literal action"
        used.setdefault(str(action.value), where)
    assert len(used) > 30
    missing = {action: where for action, where in used.items() if action not in listed}
    assert missing == {}, "add these to the table of docs/operations.md"
    assert set(listed) - set(used) == set(), "nobody logs these"
