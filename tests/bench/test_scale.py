"""The arithmetic of docs/scale.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import scale, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


@pytest.mark.parametrize(
    ("devices", "rows", "messages", "invocations", "kafka_mb"),
    [
        (1_000, 12_000, 2_000, 33.3333, 6.8),
        (10_000, 120_000, 20_000, 333.3333, 68),
        (100_000, 1_200_000, 200_000, 3_333.3333, 680),
    ],
)
def test_load(devices: int, rows: float, messages: float, invocations: float, kafka_mb: float) -> None:
    """720 rows a device and minute, six a message of 3.4 KB, 60 messages an invocation, the default."""
    at = scale.step(devices)
    assert (at.numbers["rows_second"], at.numbers["messages_second"]) == (rows, messages)
    assert (at.numbers["invocations_second"], at.kafka_mb) == pytest.approx((invocations, kafka_mb), rel=1e-4)


def test_partitions_keep_twice_the_functions_at_work() -> None:
    """An invocation takes its CPU on a part of a core, and Firehose's answer; partitions are twice those at work."""
    at = scale.step(10_000)
    seconds = 360 * 15.8 / 1e6 * 1_769 / 1_024 + 0.1
    assert at.numbers["invocation_seconds"] == pytest.approx(seconds)
    assert at.concurrency == pytest.approx(at.numbers["invocations_second"] * seconds)
    assert at.partitions - 1 < 2 * at.concurrency <= at.partitions


@pytest.mark.parametrize(
    ("devices", "region", "factor"),
    [(100, "us-east-1", 1), (1_000, "us-east-1", 3), (1_000, "eu-central-1", 15), (10_000, "us-east-1", 29)],
)
def test_firehose_quota(devices: int, region: str, factor: int) -> None:
    """Twice the load over 5 MiB/s (1 MiB/s in small Regions), rounded up; where that fits, the default does."""
    assert scale.step(devices, region).firehose_factor == factor


def test_firehose_gives_way_first_at_every_step() -> None:
    """Its bytes are the fullest limit from 1,000 devices on, as the page states."""
    for devices in scale.STEPS:
        fullest = scale.limits(scale.step(devices))[0]
        assert (fullest.name, fullest.share > 1) == ("BytesPerSecondLimit", True)


def test_the_page_has_these_numbers() -> None:
    """docs/scale.md is current: `python -m benchmarks.scale --markdown docs/scale.md`."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"{table.BEGIN}\n{scale.markdown()}\n{table.END}" in text
