"""What the dynamic tables' refreshes read and change, at the load that is given."""

from __future__ import annotations

import pytest

from lmdp.cost.basis import shipped_prices, shipped_quantities
from lmdp.cost.bill import Basis, Bill, bill
from lmdp.cost.refreshes import KINDS, refreshes
from lmdp.cost.traffic import Measured, Planned

REFERENCE = Planned(devices=1000, instances=120, datapoints=6, interval=60)


def made(load: Planned | Measured = REFERENCE) -> Bill:
    """Return the bill of a load."""
    return bill(Basis(load, shipped_prices(), shipped_quantities()))


@pytest.mark.parametrize(
    ("table", "reads", "changes"),
    [
        ("POINTS", 2 * 43_200_000, 2 * 43_200_000),
        ("SUM_PREVIOUS", 48 * 216_000, 3 * 216_000),
        ("METRIC_DAILY", 24 * 720_000, 720_000),
        ("DIM_DEVICE", 2 * 720_000 + 1_000, 1_000),
        ("DIM_INSTANCE", 2 * 720_000 + 120_000, 120_000),
        ("DEVICE_GAPS", 2 * 7_200_000, 2 * 7_200_000),
        ("METRIC_SPREAD", 2 * 720_000, 2 * 720_000),
        ("TREND_SUMS", 720_000, 720_000),
    ],
)
def test_the_reference_load(table: str, reads: float, changes: float) -> None:
    """1,000 devices of 120 instances and 6 datapoints a minute; three tenths of the series are sums."""
    (one,) = (one for one in refreshes() if one.table == table)
    assert one.rows(made().numbers) == pytest.approx((reads, changes))


def test_the_version_before_read_what_was_kept() -> None:
    """Thirty days of points, once an hour."""
    before = {one.table: one.rows(made().numbers)[0] for one in refreshes("before")}
    assert before["METRIC_LATEST"] == 43_200_000 * 720
    assert sum(before.values()) == pytest.approx(84.26e9, rel=1e-3)


def test_the_sums_are_those_of_the_tables() -> None:
    """Of what is read, of what is changed, and of the changes by kind."""
    numbers = made().numbers
    rows = {one: one.rows(numbers) for one in refreshes()}
    assert numbers["refresh_reads"] == pytest.approx(sum(reads for reads, _ in rows.values()))
    assert numbers["refresh_changes"] == pytest.approx(sum(changes for _, changes in rows.values()))
    for kind in KINDS:
        expected = sum(changes for one, (_, changes) in rows.items() if one.kind == kind)
        assert numbers[f"{kind}_changes"] == pytest.approx(expected)


def test_a_measured_run_has_the_refreshes_of_the_same_plan() -> None:
    """Ten seconds of the reference load, which names no devices."""
    run = Measured(messages=20_000, rows=120_000, bytes=68_000_000, seconds=10)
    assert made(run).numbers["refresh_reads"] == pytest.approx(made().numbers["refresh_reads"])
