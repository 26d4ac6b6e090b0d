"""The fact tables: points, their hourly aggregation, days, rates, the newest values, and the pipeline's health."""

from __future__ import annotations

from lmdp.powerbi import measures
from lmdp.powerbi.dimensions import DATASOURCE_KEY, DATE_KEY, DEVICE_KEY, INSTANCE_KEY, METRIC_KEY
from lmdp.powerbi.model import MOMENT, Alternate, Column, DataType, Mode, Summarization, Table, hidden

_KEYS = (DATE_KEY, DEVICE_KEY, DATASOURCE_KEY, METRIC_KEY, INSTANCE_KEY)
_SERIES = hidden("Series", "SERIES", "string", "The line on a chart that the row belongs to.")
_HOUR = Column("Hour", "HOUR_TS", "dateTime", "The hour of measurement, UTC.", format=MOMENT)


def facts(mode: Mode, silent_minutes: int) -> tuple[Table, ...]:
    """All of them. Imported, the points are those of METRIC_HOURLY, since raw points are too many to import."""
    points = (_hourly_points(),) if mode == "import" else (_points(), _aggregation())
    return (*points, _latest(mode), _daily(mode), _rates(mode), _health(mode, silent_minutes))


def _points() -> Table:
    return Table(
        "Points",
        "FACT_METRIC",
        "directQuery",
        "Every point, once. Questions by the hour or longer are answered from the hourly aggregation.",
        (
            *_KEYS,
            _SERIES,
            _HOUR,
            Column("Time", "TS", "dateTime", "The time of measurement, UTC.", format=MOMENT),
            Column("Quantile", "QUANTILE", "double", "The quantile of a summary's row.", format="0.###"),
            hidden("Value", "VALUE", "double", "The value measured."),
        ),
        measures.POINTS,
        kind="View",
    )


def _aggregation() -> Table:
    """The same columns summarized; types equal the detail's, as aggregations demand (a count is any whole number).

    https://learn.microsoft.com/en-us/power-bi/transform-model/aggregations-advanced
    """
    return Table(
        "Points by hour",
        "METRIC_HOURLY",
        "directQuery",
        "Points by the hour, kept beyond the raw rows. Power BI uses it by itself.",
        (
            *_KEYS,
            _stands_for("Series", "SERIES", "groupBy", "Series"),
            _stands_for("Hour", "HOUR_TS", "groupBy", "Hour"),
            _stands_for("Quantile", "QUANTILE", "groupBy", "Quantile"),
            _stands_for("Samples", "SAMPLES", "count", "Value"),
            _stands_for("Sum", "VALUE_SUM", "sum", "Value"),
            _stands_for("Minimum", "VALUE_MIN", "min", "Value"),
            _stands_for("Maximum", "VALUE_MAX", "max", "Value"),
        ),
        hidden=True,
    )


def _stands_for(name: str, source: str, how: Summarization, column: str) -> Column:
    kinds: dict[str, DataType] = {"Series": "string", "Hour": "dateTime", "Samples": "int64"}
    about = f"{how} of the points' {column}."
    detail = Alternate(how, "Points", column)
    return Column(name, source, kinds.get(name, "double"), about, hidden=True, alternate=detail)


def _hourly_points() -> Table:
    return Table(
        "Points",
        "METRIC_HOURLY",
        "import",
        "Points by the hour.",
        (
            *_KEYS,
            _SERIES,
            _HOUR,
            Column("Quantile", "QUANTILE", "double", "The quantile of a summary's row.", format="0.###"),
            hidden("Samples", "SAMPLES", "int64", "How many points the hour has."),
            hidden("Sum", "VALUE_SUM", "double", "Sum of the hour's values."),
            hidden("Minimum", "VALUE_MIN", "double", "Smallest value of the hour."),
            hidden("Maximum", "VALUE_MAX", "double", "Greatest value of the hour."),
        ),
        measures.HOURLY_POINTS,
        time="HOUR_TS",
    )


def _latest(mode: Mode) -> Table:
    return Table(
        "Latest",
        "METRIC_LATEST",
        mode,
        "The newest point of each series, whatever the dates that are chosen.",
        (
            *_KEYS[1:],
            _SERIES,
            Column("Latest time", "TS", "dateTime", "The time of the newest point, UTC.", format=MOMENT),
            hidden("Latest value", "VALUE", "double", "The value of the newest point."),
        ),
        measures.LATEST,
    )


def _daily(mode: Mode) -> Table:
    return Table(
        "Daily",
        "METRIC_DAILY",
        mode,
        "Each series by the day (UTC), kept beyond the raw rows: what a capacity trend is drawn from.",
        (
            *_KEYS,
            _SERIES,
            hidden("Day", "DAY_TS", "dateTime", "The day, UTC."),
            hidden("Samples", "SAMPLES", "int64", "How many points the day has."),
            hidden("Sum", "VALUE_SUM", "double", "Sum of the day's values."),
            hidden("Minimum", "VALUE_MIN", "double", "Smallest value of the day."),
            hidden("Maximum", "VALUE_MAX", "double", "Greatest value of the day."),
            hidden("Last", "VALUE_LAST", "double", "Value of the day's last point."),
        ),
        measures.DAILY,
        time="DAY_TS",
    )


def _rates(mode: Mode) -> Table:
    return Table(
        "Rates",
        "METRIC_RATES_HOURLY",
        mode,
        "Counters per second, by the hour, with resets taken out.",
        (
            *_KEYS,
            _SERIES,
            Column("Rate hour", "HOUR_TS", "dateTime", "The hour in which a step ends, UTC.", format=MOMENT),
            Column(
                "Temporality",
                "TEMPORALITY",
                "string",
                "delta and cumulative are the source's word; undeclared is a sum without one, read as cumulative.",
            ),
            hidden("Counted", "GROWTH", "double", "What the counter grew by."),
            hidden("Seconds", "SECONDS", "double", "The time in which it grew."),
            hidden("Fastest", "RATE_MAX", "double", "Greatest rate of the hour, per second."),
            hidden("Resets", "RESETS", "int64", "How often the counter began again."),
        ),
        measures.RATES,
        time="HOUR_TS",
    )


def _health(mode: Mode, silent_minutes: int) -> Table:
    return Table(
        "Health",
        "PIPELINE_HEALTH",
        mode,
        "What arrived of each device, by the hour of measurement. The only table with canary rows.",
        (
            DEVICE_KEY,
            Column("Health hour", "HOUR_TS", "dateTime", "The hour of measurement, UTC.", format=MOMENT),
            Column("Canary", "IS_CANARY", "boolean", "Whether these are the canary rows that verification sends."),
            hidden("Rows", "ROW_COUNT", "int64", "Rows that arrived, repeats included."),
            hidden("Repeats", "REPEATS", "int64", "Rows beyond the first of the same identity."),
            hidden("Gap seconds", "GAP_SECONDS", "double", "The longest silence that ended in the hour."),
            hidden("Freshness seconds", "FRESHNESS_SECONDS", "double", "Age of the device's newest point, as of now."),
        ),
        measures.health(silent_minutes),
        kind="View",
        time="HOUR_TS",
    )
