"""A load that a run measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmdp.core.pipeline import Counts
from lmdp.cost.traffic import Measured, read_run
from lmdp.machine.metrics import Progress

REPORT = {
    "messages": 200,
    "rows": 1_200,
    "bytesIn": 680_000,
    "rejectedMessages": 2,
    "seconds": 10.0,
    "rowsPerSecond": 120.0,
}
EXPECTED = Measured(messages=200, rows=1_200, bytes=680_000, seconds=10, rejects=2)


@pytest.mark.parametrize("found", [REPORT, {"running": {"pid": 1, "report": REPORT}, "rows": 5}])
def test_a_run_or_its_status(tmp_path: Path, found: dict[str, Any]) -> None:
    """The final report, and the report so far within a status, mean the same."""
    file, faults = tmp_path / "run.json", list[str]()
    file.write_text(json.dumps(found))
    assert (read_run(str(file), faults), faults) == (EXPECTED, [])


def test_what_a_run_really_reports_is_understood(tmp_path: Path) -> None:
    """The names are those of the pipeline's own report."""
    progress = Progress()
    progress.counts += Counts(messages=200, datapoints=1_200, rows=1_200, rejected_messages=2, bytes_in=680_000)
    file, faults = tmp_path / "run.json", list[str]()
    file.write_text(json.dumps(progress.report(10)))
    assert (read_run(str(file), faults), faults) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no json", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is not a report of a run"),
        (json.dumps({**REPORT, "rows": "many"}), "is not a report of a run"),
        (json.dumps({**REPORT, "rows": 0}), "took in nothing"),
        (json.dumps({name: REPORT[name] for name in REPORT if name != "rowsPerSecond"}), "has no rate"),
        (json.dumps({"running": None, "rows": 5}), "nobody writes to"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_run_is_a_fault(tmp_path: Path, text: str | None, expected: str) -> None:
    """One fault, and no load."""
    file, faults = tmp_path / "run.json", list[str]()
    if text is not None:
        file.write_text(text)
    assert read_run(str(file), faults) is None
    assert len(faults) == 1
    assert expected in faults[0]
