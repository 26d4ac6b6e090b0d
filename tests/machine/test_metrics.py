"""Counts, rates and latencies of a run."""

from __future__ import annotations

import pytest

from lmdp.core.pipeline import Counts
from lmdp.core.rejects import Reject
from lmdp.machine.metrics import Latencies, Progress


@pytest.mark.parametrize(
    ("times", "q", "low", "high"),
    [
        ([100] * 10, 0.5, 95, 105),
        ([10] * 98 + [5000] * 2, 0.5, 9, 11),
        ([10] * 98 + [5000] * 2, 0.99, 4750, 5250),
        ([10] * 99 + [5000], 1.0, 4750, 5250),
        ([-50, 0, 0.2], 0.99, 1, 1),
        ([21_600_000], 0.5, 20_500_000, 22_700_000),
    ],
)
def test_quantiles_are_right_to_a_twentieth(times: list[float], q: float, low: int, high: int) -> None:
    """A share q of the messages took no longer; clocks that disagree never give less than a millisecond."""
    latencies = Latencies()
    for time in times:
        latencies.add(time)
    found = latencies.quantile(q)
    assert found is not None
    assert low <= found <= high


def test_no_message_has_no_latency() -> None:
    """Before the first message there is nothing to tell."""
    assert Latencies().quantile(0.5) is None
    assert Progress().report(0)["latencyMs"] == {"p50": None, "p99": None}


def test_a_billion_messages_take_no_room() -> None:
    """Buckets are as many as times differ by a twentieth, not as messages."""
    latencies = Latencies()
    for milliseconds in range(1, 100_000):
        latencies.add(milliseconds, 10_000)
    assert len(latencies._buckets) < 300


def rejected(*codes: str) -> list[Reject]:
    """Rejects of one topic, for lack of a tenant."""
    return [Reject(code, "orgId: not there", b"", "t", 0, at, None, None) for at, code in enumerate(codes)]


def test_rejects_are_a_fault_of_the_whole_run_and_of_the_last_minute() -> None:
    """A run that was well for a week and rejects everything now is not well; the first reason is kept."""
    progress = Progress()
    progress.committed(Counts(messages=100, datapoints=100, converted=100, rows=100), (), 10)
    assert not progress.lately().is_fault()
    progress._recent.clear()  # a minute later
    progress.committed(
        Counts(messages=3, datapoints=3, rejected_messages=3, rejected_datapoints=3), rejected(*["Row.A"] * 3), 0
    )
    assert not progress.tally.is_fault()
    assert progress.lately().is_fault()
    assert progress.first_reject == "Row.A: orgId: not there"


def test_transactions_add_up() -> None:
    """The report is the sum of what was committed, under the report's names."""
    progress = Progress()
    progress.committed(Counts(messages=2, datapoints=9, converted=8, rows=8), rejected("Row.MissingField"), 100)
    progress.committed(
        Counts(messages=1, rejected_messages=1), rejected("Row.MissingField", "Row.MissingField", "Decode.X"), 50
    )
    assert progress.commits == 2
    assert progress.reasons == {"Row.MissingField": 3, "Decode.X": 1}
    report = progress.report(4.0)
    wanted = {"messages": 3, "rows": 8, "rejectedMessages": 1, "bytesOut": 150, "seconds": 4.0, "rowsPerSecond": 2.0}
    assert {name: report[name] for name in wanted} == wanted
    assert progress.rows_per_second() == pytest.approx(0.8)


def test_the_live_view_has_what_the_report_has_and_more() -> None:
    """Counts under the report's names, latencies in their buckets, lag by partition; messages a second beside rows."""
    progress = Progress(lag={1: 0, 0: 7})
    progress.committed(Counts(messages=20, rows=50), rejected("Row.MissingField"), 10)
    progress.latencies.add(100, 3)
    progress.latencies.add(5000, 1)
    live = progress.live()
    assert {name: live[name] for name in ("messages", "rows", "bytesOut", "lag", "rejectsByCode")} == {
        "messages": 20,
        "rows": 50,
        "bytesOut": 10,
        "lag": {"0": 7, "1": 0},
        "rejectsByCode": {"Row.MissingField": 1},
    }
    assert (live["rowsPerSecond"], live["messagesPerSecond"]) == (5.0, 2.0)
    assert [messages for _, messages in live["latenciesMs"]] == [3, 1]
    assert [ms for ms, _ in live["latenciesMs"]] == pytest.approx([100, 5000], rel=0.025)
    assert live["latencySumMs"] == 5300
