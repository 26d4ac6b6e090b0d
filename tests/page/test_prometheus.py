"""What a monitor reads: well-formed, adding up with the API, and enough for the alerts that we publish."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lmdp.page.prometheus import FAMILIES, LATENCY, UP, render
from lmdp.receive.metrics import Metrics

if TYPE_CHECKING:
    from page.sites import Site

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((ROOT / "docs" / "prometheus-alerts.yml").read_text())
NAME = re.compile(r"lmdp_[a-z_]+")
LIVE: dict[str, Any] = {
    "startedAtMs": 1000, "uptimeSeconds": 5.0, "messages": 3, "bytesIn": 10, "datapoints": 9, "converted": 8, "rows": 7,
    "rejectedDatapoints": 1, "rejectsByCode": {'Row."odd"\n\\': 2}, "dropped": {"empty": 1}, "lost": 0, "commits": 2,
    "published": None, "lag": {"0": 4, "1": 0}, "secondsSinceCommit": None, "memoryBytes": 5, "trouble": "",
    "latenciesMs": [[20.0, 2], [4000.0, 1]], "latencySumMs": 4040.0,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "freshnessSeconds": 1.5, "rows": 7, "rejects": 2, "sizeBytes": 100, "freeBytes": 5, "daysLeftOnDisk": None,
    "duplicates": 0, "missing": 0, "holes": 0, "clock": {"ahead": 0, "expired": 0},
}  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """Each sample by its name and label, as Prometheus' own parser reads them."""
    return {
        one.name + "".join(f'{{{name}="{value}"}}' for name, value in one.labels.items()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_every_sample_has_its_value_and_absent_ones_are_left_out() -> None:
    """Labels are escaped; what is not known has no sample, rather than a wrong one."""
    found = samples(render(LIVE, STATUS))
    assert found["lmdp_up"] == 1
    assert found["lmdp_rows_total"] == 7
    assert found['lmdp_lag_messages{partition="0"}'] == 4
    assert found['lmdp_rejects_total{code="Row."odd"\n\\"}'] == 2
    assert "lmdp_published_messages_total" not in found
    assert "lmdp_disk_left_days" not in found
    unknown = {"duplicates": None, "holes": None, "clock": {"ahead": None, "expired": None}}
    missing = {name.partition("{")[0] for name in found.keys() - samples(render(LIVE, STATUS | unknown)).keys()}
    assert missing == {"lmdp_duplicate_rows", "lmdp_hole_messages", "lmdp_wrong_clock_rows"}


def test_latencies_are_a_histogram() -> None:
    """Buckets grow with their bounds up to the count; the sum is in seconds."""
    found = samples(render(LIVE, STATUS))
    buckets = [value for name, value in found.items() if name.startswith(f"{LATENCY}_bucket")]
    assert buckets == sorted(buckets)
    assert found[f'{LATENCY}_bucket{{le="0.01"}}'] == 0
    assert found[f'{LATENCY}_bucket{{le="0.025"}}'] == 2
    assert found[f'{LATENCY}_bucket{{le="5"}}'] == 3
    assert found[f'{LATENCY}_bucket{{le="+Inf"}}'] == found[f"{LATENCY}_count"] == 3
    assert found[f"{LATENCY}_sum"] == pytest.approx(4.04)


def test_while_nothing_runs_only_that_is_told() -> None:
    """An old number is never taken for a new one."""
    assert samples(render(None, None)) == {"lmdp_up": 0}


def test_the_real_page_tells_what_its_api_tells(site: Site) -> None:
    """The same counts under both addresses, and every family has its help and kind."""
    code, text = site.get("/metrics")
    assert code == 200
    found, status = samples(text), site.get("/api/status")[1]
    assert found["lmdp_messages_total"] == status["run"]["messages"]
    assert found["lmdp_rows_total"] == found["lmdp_warehouse_rows"] == status["warehouse"]["rows"]
    assert found['lmdp_rejects_total{code="Decode.Malformed"}'] == 1
    assert found['lmdp_dropped_datapoints_total{reason="nonFinite"}'] == 1
    assert found[f"{LATENCY}_count"] == status["run"]["messages"]
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert named <= {family.name for family in FAMILIES} | {LATENCY, UP}
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# HELP ")} == named


def test_every_alert_asks_for_what_there_is() -> None:
    """The names in the rules are metrics; each rule says what happened and what to do."""
    there = {family.name for family in FAMILIES} | {UP} | {f"{LATENCY}_{part}" for part in ("bucket", "sum", "count")}
    receiver = Metrics()
    receiver.watch_certificate(lambda: 0)
    receiver.answered("", 200, 0)
    there |= {name.partition("{")[0] for name in samples(generate_latest(receiver.registry).decode())}
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len(rules) > 5
    for rule in rules:
        names = set(NAME.findall(rule["expr"]))
        assert names, rule["alert"]
        assert names <= there, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "next"}
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_metric_is_documented() -> None:
    """The document names each with its kind."""
    text = (ROOT / "docs" / "api.md").read_text()
    for family in FAMILIES:
        assert re.search(rf"\| `{family.name}[`{{][^|]*\| {family.kind} ", text), family.name
    assert f"| `{LATENCY}` | histogram " in text
