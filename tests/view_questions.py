"""What each view is asked on both engines, and the computation that knows the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simulated_day as day

QUESTIONS: dict[str, tuple[str, Callable[[list[day.Row]], day.Answer]]] = {
    "METRIC_HOURLY": ("SELECT * FROM METRIC_HOURLY", day.hourly),
    "METRIC_DAILY": ("SELECT * FROM METRIC_DAILY", lambda rows: day.hourly(rows, day.DAY)),
    "METRIC_LATEST": ("SELECT SERIES, TS_UNIX_MS, VALUE, DEVICE_KEY, INSTANCE_KEY FROM METRIC_LATEST", day.latest),
    "METRIC_RATES": (
        "SELECT SERIES, TEMPORALITY, TS_UNIX_MS, SECONDS, RATE, RESET FROM METRIC_RATES",
        lambda rows: [(p.series, kind, p.ms, s, rate, reset) for p, kind, s, rate, reset in day.rates(rows)],
    ),
    "METRIC_RATES_HOURLY": (
        """SELECT SERIES, TEMPORALITY, HOUR_TS, ROUND(SECONDS, 6), ROUND(GROWTH, 6), RATE_MAX, RESETS
        FROM METRIC_RATES_HOURLY""",
        day.rates_hourly,
    ),
    "HISTOGRAM_QUANTILES": (
        """SELECT HISTOGRAM_SERIES, METRIC, TEMPORALITY, TS_UNIX_MS, SECONDS, RESET, SAMPLES, P50, P90, P95, P99
         FROM HISTOGRAM_QUANTILES""",
        day.quantiles,
    ),
    "DIM_DEVICE": ("SELECT DEVICE_KEY, ORG_ID, DEVICE_ID, DEVICE_NAME, FIRST_TS, LAST_TS FROM DIM_DEVICE", day.devices),
    "DIM_DATASOURCE": ("SELECT * FROM DIM_DATASOURCE", day.datasources),
    "DIM_METRIC": ("SELECT * FROM DIM_METRIC", day.metrics),
    "DIM_INSTANCE": (
        """SELECT INSTANCE_KEY, DEVICE_KEY, DATASOURCE_KEY, ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE, INSTANCE_LABEL,
         FIRST_TS, LAST_TS FROM DIM_INSTANCE""",
        day.instances,
    ),
    "DIM_DATE": (
        """SELECT DATE_KEY, CALENDAR_DATE, CALENDAR_YEAR, CALENDAR_QUARTER, CALENDAR_MONTH, DAY_OF_MONTH, DAY_OF_WEEK,
         ISO_WEEK, MONTH_START, IS_WEEKEND, MONTH_NAME, DAY_NAME, YEAR_MONTH FROM DIM_DATE""",
        day.dates,
    ),
    "FACT_METRIC": ("SELECT * FROM FACT_METRIC", day.fact),
    "METRIC_SPREAD": ("SELECT * FROM METRIC_SPREAD", day.spread),
    "TREND_SUMS": (
        """SELECT SERIES, PERIOD, DAYS, SUM_X, SUM_XX, ROUND(SUM_Y + 0.00001, 3), ROUND(SUM_XY + 0.00001, 3)
         FROM TREND_SUMS""",
        day.trend_sums,
    ),
    "METRIC_TREND": ("SELECT SERIES, TS, VALUE, SLOPE_30, CAPACITY, STATE FROM METRIC_TREND", day.trend),
    "PIPELINE_HEALTH": (
        """SELECT DEVICE_KEY, ORG_ID, DEVICE_ID, IS_CANARY, HOUR_TS, ROW_COUNT, REPEATS, GAP_SECONDS, FIRST_TS, LAST_TS,
         NEWEST_TS FROM PIPELINE_HEALTH""",
        day.health,
    ),
}


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sorted, whatever is None."""
    return sorted(rows, key=lambda one: tuple((value is not None, str(value)) for value in one))
