"""The macros that are views of steps over a part of the rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.schema import STEP_VIEWS, shared_statements, step_macros
from new_warehouse import open_warehouse

if TYPE_CHECKING:
    from pathlib import Path

SPEC = load_spec()
ROWS = [  # minute, instance, metric, value, le
    (0, "a", "n", 10, None),
    (1, "a", "n", 70, None),
    (2, "a", "n", 190, None),
    (1, "b", "n", 0, None),
    (2, "b", "n", 6, None),
    *((minute, None, "t.bucket", count, le) for minute in (0, 1, 2) for le, count in (("1", minute), ("+Inf", minute))),
]


def event(minute: int, instance: str | None, metric: str, value: float, le: str | None) -> tuple[Any, ...]:
    """A row event."""
    given = {
        "orgId": "o",
        "deviceId": "d",
        "datasource": "s",
        "instance": instance,
        "metric": metric,
        "type": "sum" if le is None else "histogram",
        "ts": f"2026-01-01T00:0{minute}:00.000Z",
        "tsUnixMs": 1_767_225_600_000 + minute * 60_000,
        "value": float(value),
        "attributes": json.dumps({} if le is None else {"le": le}),
        "resource": "{}",
        "scope": "{}",
    }
    return tuple(given.get(field.name) for field in SPEC.fields)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT MINUTE(TS), RATE FROM METRIC_RATES_OF('o', 'd', 's', 'a', 'n', {0}, {3})", [(1, 1.0), (2, 2.0)]),
        ("SELECT MINUTE(TS), RATE FROM METRIC_RATES_OF('o', 'd', 's', 'a', 'n', {1}, {3})", [(2, 2.0)]),
        ("SELECT MINUTE(TS), RATE FROM METRIC_RATES_OF('o', 'd', 's', 'a', 'n', {0}, {2})", [(1, 1.0)]),
        ("SELECT MINUTE(TS), RATE FROM METRIC_RATES_OF('o', 'd', 's', 'b', 'n', {0}, {3})", [(2, 0.1)]),
        ("SELECT MINUTE(TS), RATE FROM METRIC_RATES_OF('o', 'd', 's', NULL, 'n', {0}, {3})", []),
        (
            "SELECT MINUTE(TS), SAMPLES FROM HISTOGRAM_QUANTILES_OF('o', 'd', 's', NULL, 't.bucket', {0}, {3})",
            [(1, 1.0), (2, 1.0)],
        ),
        ("SELECT MINUTE(TS), SAMPLES FROM HISTOGRAM_QUANTILES_OF('o', 'd', 's', NULL, 't.bucket', {1}, {2})", []),
        ("SELECT MINUTE(TS), SAMPLES FROM HISTOGRAM_QUANTILES_OF('o', 'd', 's', 'a', 't.bucket', {0}, {3})", []),
    ],
)
def test_a_macro_is_its_view_over_these_rows_alone(
    tmp_path: Path, query: str, expected: list[tuple[int, float]]
) -> None:
    """A step whose point before is outside is none; `until` is outside itself."""
    moments = [f"TIMESTAMP '2026-01-01 00:0{minute}:00'" for minute in range(4)]
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        warehouse.commit(Load([event(*row) for row in ROWS], [], [], datetime.now(UTC)))
        found = warehouse.query(query.format(*moments) + " ORDER BY ALL").table.to_pylist()
    assert [tuple(row.values()) for row in found] == expected


def test_each_such_view_has_one() -> None:
    """And reads rows of the metric and the time alone, wherever it reads any."""
    made = list(step_macros(shared_statements(SPEC)))
    assert [next(view for view in STEP_VIEWS if f".{view}_OF(" in sql) for sql in made] == list(STEP_VIEWS)
    assert [sql.count("FROM LM_METRICS") for sql in made] == [sql.count("TS >= since") for sql in made] == [1, 1]
