"""The measures, in DAX that Power BI can push down to the warehouse.

None counts distinct values: the connector's implementation 2.0 may give wrong results for that.
https://learn.microsoft.com/en-us/power-query/connectors/snowflake#known-issues-and-limitations
None reads the hourly aggregation by name: Power BI uses it by itself where a query allows it.
"""

from __future__ import annotations

from lmdp.powerbi.model import DECIMAL, MOMENT, PERCENT, WHOLE, Measure

_VALUES = "Values"
_SPREAD = "Percentiles"
_WEEKS = "Week over week"
_FRESH = "Freshness"
_TREND = "Capacity"
_RATE = "Rates"
_ARRIVED = "Arrival"


def _week_over_week(name: str, folder: str, format_string: str) -> tuple[Measure, Measure]:
    """A measure as it was seven days before, and how it has changed since."""
    before = f"{name} a week before"
    change = (
        f"VAR thisWeek = [{name}]\nVAR weekBefore = [{before}]\nRETURN DIVIDE(thisWeek - weekBefore, ABS(weekBefore))"
    )
    return (
        Measure(
            before,
            f"CALCULATE([{name}], DATEADD('Date'[Date], -7, DAY))",
            f"{name} of the same days, a week earlier. Needs days on an axis or in a filter.",
            folder,
            format_string,
        ),
        Measure(
            f"{name} week over week",
            change,
            f"Change of {name} since a week before, as a share of it.",
            folder,
            PERCENT,
        ),
    )


def _percentile(name: str, share: str) -> Measure:
    return Measure(
        name,
        f"PERCENTILEX.INC(VALUES('Points'[Hour]), [Average value], {share})",
        "Of the hourly averages: so many hours lie at or below it. Choose one metric.",
        _SPREAD,
        DECIMAL,
    )


def _points(count: str, average: str, least: str, greatest: str) -> tuple[Measure, ...]:
    return (
        Measure("Point count", count, "How many points were measured.", _VALUES, WHOLE),
        Measure(
            "Average value", average, "Mean of all points. Choose one metric; for counters use Rate.", _VALUES, DECIMAL
        ),
        Measure("Minimum value", least, "Smallest point.", _VALUES, DECIMAL),
        Measure("Maximum value", greatest, "Greatest point.", _VALUES, DECIMAL),
        _percentile("Median value", "0.5"),
        _percentile("95th percentile", "0.95"),
        _percentile("99th percentile", "0.99"),
        *_week_over_week("Average value", _WEEKS, DECIMAL),
    )


POINTS = _points(
    "COUNT('Points'[Value])",
    "AVERAGE('Points'[Value])",
    "MIN('Points'[Value])",
    "MAX('Points'[Value])",
)
"""Over raw points."""

HOURLY_POINTS = _points(
    "SUM('Points'[Samples])",
    "DIVIDE(SUM('Points'[Sum]), SUM('Points'[Samples]))",
    "MIN('Points'[Minimum])",
    "MAX('Points'[Maximum])",
)
"""The same numbers over points by the hour."""

LATEST = (
    Measure(
        "Last value",
        "AVERAGE('Latest'[Latest value])",
        "The newest value; of several series their mean.",
        _VALUES,
        DECIMAL,
    ),
    Measure("Last value total", "SUM('Latest'[Latest value])", "Sum of the newest values.", _VALUES, DECIMAL),
    Measure("Newest point", "MAX('Latest'[Latest time])", "Time of the newest point, UTC.", _FRESH, MOMENT),
    Measure("Series count", "COUNTROWS('Latest')", "How many series have raw points.", "Counts", WHOLE),
)

DAILY = (
    Measure(
        "Daily average",
        "DIVIDE(SUM('Daily'[Sum]), SUM('Daily'[Samples]))",
        "Mean of all points, from whole days.",
        _TREND,
        DECIMAL,
    ),
    Measure("Daily minimum", "MIN('Daily'[Minimum])", "Smallest point, from whole days.", _TREND, DECIMAL),
    Measure("Daily maximum", "MAX('Daily'[Maximum])", "Greatest point, from whole days.", _TREND, DECIMAL),
    Measure(
        "Value at the end",
        "VAR lastDay = MAX('Daily'[Day])\nRETURN CALCULATE(AVERAGE('Daily'[Last]), 'Daily'[Day] = lastDay)",
        "The last value of the last day in view; of several series their mean.",
        _TREND,
        DECIMAL,
    ),
    Measure(
        "Change per day",
        "VAR firstDay = MIN('Daily'[Day])\n"
        "VAR lastDay = MAX('Daily'[Day])\n"
        "VAR atFirst = CALCULATE([Daily average], 'Daily'[Day] = firstDay)\n"
        "VAR atLast = CALCULATE([Daily average], 'Daily'[Day] = lastDay)\n"
        "RETURN DIVIDE(atLast - atFirst, DATEDIFF(firstDay, lastDay, DAY))",
        "From the average of the first day in view to that of the last, a day.",
        _TREND,
        DECIMAL,
    ),
    Measure(
        "Value in 30 days",
        "[Value at the end] + 30 * [Change per day]",
        "The projected value at the rate between the first and last day in view.",
        _TREND,
        DECIMAL,
    ),
)

RATES = (
    Measure(
        "Rate",
        "DIVIDE(SUM('Rates'[Counted]), SUM('Rates'[Seconds]))",
        "Growth a second; of several series their mean. Choose one metric.",
        _RATE,
        DECIMAL,
    ),
    Measure("Growth", "SUM('Rates'[Counted])", "What the counters grew by.", _RATE, DECIMAL),
    Measure("Peak rate", "MAX('Rates'[Fastest])", "The fastest step of one series, a second.", _RATE, DECIMAL),
    Measure("Counter resets", "SUM('Rates'[Resets])", "How often a counter began again.", _RATE, WHOLE),
    *_week_over_week("Rate", _WEEKS, DECIMAL),
)

_REAL = "'Health'[Canary] = FALSE()"

_AVAILABILITY = f"""\
VAR rangeStart = MIN('Date'[Date])
VAR rangeEnd = MAX('Date'[Date]) + 1
VAR firstHour = CALCULATE(
    MIN('Health'[Health hour]), REMOVEFILTERS('Device'), {_REAL},
    KEEPFILTERS('Health'[Health hour] >= rangeStart), KEEPFILTERS('Health'[Health hour] < rangeEnd)
)
VAR lastHour = CALCULATE(
    MAX('Health'[Health hour]), REMOVEFILTERS('Device'), {_REAL},
    KEEPFILTERS('Health'[Health hour] >= rangeStart), KEEPFILTERS('Health'[Health hour] < rangeEnd)
)
VAR deviceHours = CALCULATE(
    COUNTROWS('Health'), {_REAL},
    KEEPFILTERS('Health'[Health hour] >= rangeStart), KEEPFILTERS('Health'[Health hour] < rangeEnd)
)
VAR deviceCount = CALCULATE(COUNTROWS('Device'), KEEPFILTERS('Device'[Last seen] >= rangeStart))
RETURN DIVIDE(deviceHours, deviceCount * (DATEDIFF(firstHour, lastHour, HOUR) + 1))"""


def health(silent_minutes: int) -> tuple[Measure, ...]:
    """What arrived, and how fresh it is; a device is silent after that many minutes without a point."""
    return (
        Measure(
            "Rows received", f"CALCULATE(SUM('Health'[Rows]), {_REAL})", "Rows, repeats included.", _ARRIVED, WHOLE
        ),
        Measure(
            "Repeated rows",
            f"CALCULATE(SUM('Health'[Repeats]), {_REAL})",
            "Rows that came again; no other number counts them.",
            _ARRIVED,
            WHOLE,
        ),
        Measure(
            "Repeat share", "DIVIDE([Repeated rows], [Rows received])", "Repeats among all rows.", _ARRIVED, "0.00%"
        ),
        Measure(
            "Longest gap (min)",
            f"DIVIDE(CALCULATE(MAX('Health'[Gap seconds]), {_REAL}), 60)",
            "Longest silence of one device, in minutes.",
            _ARRIVED,
            "#,0.0",
        ),
        Measure(
            "Availability",
            _AVAILABILITY,
            "Device-hours with data, of those from the first to the last hour in view, for devices seen since then.",
            _ARRIVED,
            PERCENT,
        ),
        Measure(
            "Canary rows",
            "CALCULATE(SUM('Health'[Rows]), 'Health'[Canary] = TRUE())",
            "Rows of verification.",
            _ARRIVED,
            WHOLE,
        ),
        Measure(
            "Freshness (min)",
            f"DIVIDE(CALCULATE(MIN('Health'[Freshness seconds]), {_REAL}), 60)",
            "Minutes since the newest point of any device in view.",
            _FRESH,
            "#,0.0",
        ),
        Measure(
            "Stalest device (min)",
            f"DIVIDE(CALCULATE(MAX('Health'[Freshness seconds]), {_REAL}), 60)",
            "Minutes since the newest point of the device that is longest silent.",
            _FRESH,
            "#,0.0",
        ),
        Measure(
            "Silent devices",
            f"COUNTROWS(FILTER(VALUES('Device'[Device key]), [Freshness (min)] > {silent_minutes})) + 0",
            f"Devices with raw points, but none for {silent_minutes} minutes (twice the roll-ups' lag).",
            _FRESH,
            WHOLE,
        ),
    )
