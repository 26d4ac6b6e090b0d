"""The alert rules in docs, judged by Prometheus' own rule tester on series as `/metrics` exports them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import generate_latest

from lmdp.errors import DROP_REASONS, REJECT_CODES
from lmdp.page.prometheus import render
from lmdp.receive.metrics import Metrics
from page.test_prometheus import LIVE, STATUS, samples

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = Path(__file__).parents[2] / "docs" / "prometheus-alerts.yml"
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
MINUTES = 60
Json = dict[str, Any]
Scrape = tuple[Json, Json] | None  # /live and /status of a minute; None while no run answers

QUIET: Json = LIVE | {
    "startedAtMs": 0, "rejectsByCode": {}, "dropped": {}, "lag": {"0": 0, "1": 0}, "messages": 0, "datapoints": 0,
    "latenciesMs": [], "latencySumMs": 0.0, "published": None,
}  # fmt: skip
HEALTHY: Json = STATUS | {"freeBytes": 80 * 10**9}


def scrapes(live: Callable[[int], Json], status: Callable[[int], Json] = lambda _: {}) -> list[Scrape]:
    """A minute's answers each: a healthy run of 600 messages a minute, changed as said."""
    return [
        (QUIET | {"messages": 600 * minute, "datapoints": 3600 * minute} | live(minute), HEALTHY | status(minute))
        for minute in range(MINUTES)
    ]


def late_start(begin: int, change: Json) -> list[Scrape]:
    """No run until minute `begin`, whose first scrape already has `change`."""
    running = scrapes(lambda _: {"startedAtMs": (begin - 1) * 60_000, **change})
    return [None] * begin + running[: MINUTES - begin]


def receiver(accepted: int, others: dict[int, int] | None = None, kafka_up: int = 1, ends: float = 1e9) -> Json:
    """A run with a receiver that answered so many requests."""
    metrics = Metrics()
    for status, count in {200: accepted, **(others or {})}.items():
        for _ in range(count):
            metrics.answered("collector-1", status, 0.01)
    metrics.kafka_up.set(kafka_up)
    metrics.watch_certificate(lambda: ends)
    return {"receiver": {"metrics": generate_latest(metrics.registry).decode()}}


CASES: list[tuple[str, list[Scrape], dict[int, set[str]]]] = [
    ("a healthy run is quiet", scrapes(lambda _: {}), {1: set(), 30: set(), 59: set()}),
    ("no run", [None] * MINUTES, {1: set(), 3: {"LmdpDown"}}),
    (
        "a loss that the first scrape has already, after an outage",
        late_start(30, {"lost": 7}),
        {31: {"LmdpMessagesLost"}, 40: {"LmdpMessagesLost"}, 50: set()},
    ),
    (
        "a loss while it runs",
        scrapes(lambda minute: {"lost": 7 if minute >= 30 else 0}),
        {29: set(), 31: {"LmdpMessagesLost"}, 50: set()},
    ),
    (
        "the first reject of a code",
        scrapes(lambda minute: {"rejectsByCode": {"Row.BadTimestamp": 1} if minute >= 30 else {}}),
        {29: set(), 31: {"LmdpRejects"}, 50: set()},
    ),
    (
        "rejects that the first scrape has already",
        late_start(30, {"rejectsByCode": {"Decode.Malformed": 3}}),
        {31: {"LmdpRejects"}, 55: set()},
    ),
    (
        "everything is rejected",
        scrapes(lambda minute: {"rejectsByCode": {"Row.MissingField": 600 * minute}}),
        {4: {"LmdpRejects"}, 10: {"LmdpRejects", "LmdpMostRejected"}},
    ),
    (
        "a third of the datapoints has no value",
        scrapes(lambda minute: {"dropped": {"noRecordedValue": 1200 * minute}}),
        {20: set(), 40: {"LmdpManyDropped"}},
    ),
    (
        "a tenth has none",
        scrapes(lambda minute: {"dropped": {"noRecordedValue": 360 * minute}}),
        {40: set()},
    ),
    (
        "lag grows in one partition",
        scrapes(lambda minute: {"lag": {"0": 1000 * minute, "1": 0}}),
        {9: set(), 25: {"LmdpLagGrows"}},
    ),
    (
        "lag is high, and shrinks",
        scrapes(lambda minute: {"lag": {"0": 100_000 - 1000 * minute, "1": 0}}),
        {30: set()},
    ),
    ("nothing new", scrapes(lambda _: {}, lambda _: {"freshnessSeconds": 1000.0}), {4: set(), 6: {"LmdpNotFresh"}}),
    ("blocked", scrapes(lambda _: {"trouble": "Kafka is unreachable"}), {4: set(), 6: {"LmdpTrouble"}}),
    (
        "slow",
        scrapes(lambda minute: {"latenciesMs": [[90_000.0, 600 * minute]], "latencySumMs": 90_000.0 * 600 * minute}),
        {9: set(), 20: {"LmdpSlow"}},
    ),
    (
        "rows twice",
        scrapes(lambda _: {}, lambda _: {"duplicates": 2}),
        {1: {"LmdpDuplicates"}},
    ),
    (
        "a receiver whose senders repeat now and then",
        scrapes(lambda minute: receiver(20 * minute, {429: minute // 2, 503: minute // 2, 401: minute // 2})),
        {30: set(), 59: set()},
    ),
    (
        "a receiver without Kafka",
        scrapes(lambda minute: receiver(20, {503: minute}, kafka_up=0 if minute >= 30 else 1)),
        {31: set(), 33: {"LmdpReceiverKafkaDown"}},
    ),
    (
        "a sender of what is no metrics",
        scrapes(lambda minute: receiver(20 * minute, {400: max(1, minute - 30)})),
        {29: set(), 33: {"LmdpReceiverRefuses"}},
    ),
    (
        "a revoked token",
        scrapes(lambda minute: receiver(20 * minute, {401: 20 * minute})),
        {10: set(), 20: {"LmdpReceiverUnauthorized"}},
    ),
    (
        "more than the receiver takes",
        scrapes(lambda minute: receiver(20 * minute, {429: 5 * minute})),
        {10: set(), 20: {"LmdpReceiverBusy"}},
    ),
    (
        "a receiver's certificate of 14 days",
        scrapes(lambda minute: receiver(20 * minute, ends=14 * 86_400 + 30 * 60)),
        {29: set(), 32: {"LmdpReceiverCertificateEnds"}},
    ),
    ("a full disk", scrapes(lambda _: {}, lambda _: {"freeBytes": 10**9}), {14: set(), 16: {"LmdpDiskFull"}}),
]


def series(timeline: list[Scrape]) -> list[dict[str, str]]:
    """The timeline as promtool's input: a value or `_` (no sample) a minute for each name and labels."""
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for minute, scrape in enumerate(timeline):
        for name, value in samples(render(*(scrape or (None, None)))).items():
            found[name][minute] = value
    return [
        {"series": labelled(name), "values": " ".join(str(values.get(minute, "_")) for minute in range(len(timeline)))}
        for name, values in found.items()
    ]


def labelled(name: str) -> str:
    """A sample's name with the labels that Prometheus adds to each target."""
    base, brace, labels = name.replace("}{", ",").partition("{")
    return f'{base}{{instance="a",job="lmdp"{"," + labels if brace else "}"}'


def promtool() -> str:
    """The tester's path; without it the test is skipped, except in CI."""
    path = shutil.which("promtool")
    if path is None:
        assert not os.environ.get("CI"), "promtool is missing: apt-get install prometheus"
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return path


@pytest.mark.parametrize(("timeline", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_alerts_fire_when_they_should(tmp_path: Path, timeline: list[Scrape], expected: dict[int, set[str]]) -> None:
    """At each minute exactly the expected alerts fire, on series from the first scrape on."""
    tester = promtool()
    tests = tmp_path / "tests.yml"
    checks = [
        {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m",
         "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(at)]}
        for minute, at in expected.items()
    ]  # fmt: skip
    case = {"interval": "1m", "input_series": series(timeline), "promql_expr_test": checks}
    tests.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
    command = [tester, "test", "rules", str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    """No rule without a series on which it fires."""
    assert {name for _, _, expected in CASES for names in expected.values() for name in names} == set(ALERTS)


def test_codes_and_reasons_are_there_from_the_start() -> None:
    """`increase` needs a 0 before the first value."""
    found = samples(render(QUIET, HEALTHY))
    assert all(found[f'lmdp_rejects_total{{code="{code}"}}'] == 0 for code in REJECT_CODES)
    assert all(found[f'lmdp_dropped_datapoints_total{{reason="{reason}"}}'] == 0 for reason in DROP_REASONS)


def test_the_start_does_not_waver() -> None:
    """Two scrapes of one run give one start."""
    at = {samples(render(LIVE | {"startedAtMs": 1_999, "uptimeSeconds": up}, STATUS))["lmdp_start_time_seconds"]
          for up in (1.0, 61.49)}  # fmt: skip
    assert at == {1.0}
