"""The Grafana dashboard in docs: its queries are of metrics that are exported, and Prometheus can parse them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import generate_latest

from lmdp.page.prometheus import render
from lmdp.receive.metrics import Metrics
from page.test_alerts import RULES, promtool
from page.test_prometheus import LIVE, STATUS, samples

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Grafana puts in: https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/
VARIABLES = {"$__rate_interval": "2m", "$job": ".*", "$instance": ".*"}
ADDED = {"job", "instance"}  # by Prometheus, to each sample


def expressions() -> Iterator[tuple[str, str]]:
    """Each query with the title of its panel, its variables replaced."""
    starts = [(note["name"], note["expr"]) for note in DASHBOARD["annotations"]["list"]]
    for title, text in [
        *starts,
        *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    ]:
        for name, value in VARIABLES.items():
            text = text.replace(name, value)  # noqa: PLW2901 - one after the other
        yield title, text


def exported() -> dict[str, set[str]]:
    """The name of each sample at `/metrics` with its labels."""
    receiver = Metrics()
    receiver.answered("collector-1", 200, 0.1)
    run = render(LIVE | {"lag": {"0": 1}, "published": 5, "secondsSinceCommit": 1}, STATUS | {"daysLeftOnDisk": 5})
    found: dict[str, set[str]] = {}
    for name in samples(run) | samples(generate_latest(receiver.registry).decode()):
        base, _, labels = name.partition("{")
        found.setdefault(base, set(ADDED)).update(re.findall(r'(\w+)="', labels))
    return found


def named(text: str) -> set[str]:
    """The metrics that a query names."""
    return set(re.findall(r"\blmdp_\w+", text))


def test_every_query_is_of_exported_metrics() -> None:
    """Names and labels are those of `/metrics`; no variable is left over."""
    names = exported()
    for title, text in expressions():
        assert "$" not in text, title
        assert named(text) <= set(names), title
        labels = set().union(*(names[name] for name in named(text)))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
        assert grouped <= labels, title


def test_legends_show_labels_that_are_kept() -> None:
    """`{{label}}` is one that the query groups by, or that every sample has."""
    for panel in PANELS:
        for target in panel["targets"]:
            groups = re.findall(r"by \(([^)]*)\)", target["expr"])
            kept = {label.strip() for group in groups for label in group.split(",")} if groups else ADDED
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, panel["title"]


def test_every_exported_metric_is_shown() -> None:
    """A metric that nobody sees is one that nobody misses: each is on the dashboard or in an alert rule."""
    alerts = named(RULES.read_text())
    shown = set().union(*(named(text) for _, text in expressions()), alerts)
    # Quantiles are made of a histogram's buckets; its sum, its count, and when it began are there besides.
    besides = {name for name in exported() if name.endswith(("_seconds_sum", "_seconds_count", "_created"))}
    assert set(exported()) - shown - besides == set()


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    """As a recording rule each, by promtool."""
    rules = [{"record": f"q{n}", "expr": text} for n, (_, text) in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_panels_do_not_overlap() -> None:
    """Ids are unique; the grid has 24 columns, each place taken once."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("wrong", ["lmdp_rows", "sum by (device) (lmdp_up)"])
def test_the_check_finds_what_is_wrong(wrong: str) -> None:
    """A name without its suffix is no metric, and a label that no sample has is none."""
    names = exported()
    grouped = set(re.findall(r"by \((\w+)\)", wrong))
    assert not named(wrong) <= set(names) or not grouped <= set().union(*(names[name] for name in named(wrong)))
