"""The dimensions: devices, DataSources, metrics, instances and days."""

from __future__ import annotations

from lmdp.powerbi.model import DAY, MOMENT, WHOLE, Column, Measure, Mode, Table, hidden, key

DEVICE_KEY = key("Device key", "DEVICE_KEY")
DATASOURCE_KEY = key("DataSource key", "DATASOURCE_KEY")
METRIC_KEY = key("Metric key", "METRIC_KEY")
INSTANCE_KEY = key("Instance key", "INSTANCE_KEY")
DATE_KEY = key("Date key", "DATE_KEY")

_FIRST = Column("First seen", "FIRST_TS", "dateTime", "Time of its first point, UTC.", format=MOMENT)
_LAST = Column("Last seen", "LAST_TS", "dateTime", "Time of its newest point, UTC.", format=MOMENT)


def dimensions(mode: Mode) -> tuple[Table, ...]:
    """All of them, in this storage mode."""
    return (_device(mode), _datasource(mode), _metric(mode), _instance(mode), _date(mode))


def _device(mode: Mode) -> Table:
    return Table(
        "Device",
        "DIM_DEVICE",
        mode,
        "The devices that ever sent a metric.",
        (
            key("Device key", "DEVICE_KEY", one=True),
            Column("Tenant", "ORG_ID", "string", "The organisation that the device belongs to."),
            Column("Device id", "DEVICE_ID", "string", "LogicMonitor's id of the device, as text."),
            Column("Device", "DEVICE_NAME", "string", "The device's newest name; its id when it never had one."),
            _FIRST,
            _LAST,
        ),
        (Measure("Devices", "COUNTROWS('Device')", "Devices that ever sent a metric.", "Counts", WHOLE),),
    )


def _datasource(mode: Mode) -> Table:
    return Table(
        "DataSource",
        "DIM_DATASOURCE",
        mode,
        "LogicMonitor DataSources, or OpenTelemetry instrumentation scopes.",
        (
            key("DataSource key", "DATASOURCE_KEY", one=True),
            Column("DataSource", "DATASOURCE", "string", "Name of the DataSource."),
            _FIRST,
            _LAST,
        ),
    )


def _metric(mode: Mode) -> Table:
    return Table(
        "Metric",
        "DIM_METRIC",
        mode,
        "Metrics: a name means something within its DataSource, with its unit and its type.",
        (
            key("Metric key", "METRIC_KEY", one=True),
            Column("Metric", "METRIC", "string", "Name of the metric, exactly as published."),
            Column("Unit", "UNIT", "string", "Unit of the values, where the source gives one."),
            Column("Type", "TYPE", "string", "gauge, sum, histogram, exponential_histogram or summary."),
            Column("Metric of DataSource", "DATASOURCE", "string", "The DataSource that the metric belongs to."),
        ),
    )


def _instance(mode: Mode) -> Table:
    return Table(
        "Instance",
        "DIM_INSTANCE",
        mode,
        "Instances of a device's DataSources: interfaces, volumes, processes.",
        (
            key("Instance key", "INSTANCE_KEY", one=True),
            Column(
                "Instance", "INSTANCE_LABEL", "string", "The instance's newest label; blank when it is the only one."
            ),
            Column("Instance id", "INSTANCE", "string", "The instance as published."),
            _LAST,
        ),
    )


def _date(mode: Mode) -> Table:
    return Table(
        "Date",
        "DIM_DATE",
        mode,
        "Every day (UTC) of each year that has data.",
        (
            hidden("Date key", "DATE_KEY", "int64", "The day as a number, such as 20260131."),
            Column("Date", "CALENDAR_DATE", "dateTime", "The day, UTC.", key=True, format=DAY),
            Column("Year", "CALENDAR_YEAR", "int64", "Calendar year.", format="0"),
            Column("Quarter", "CALENDAR_QUARTER", "int64", "Quarter of the year, 1 to 4.", format="0"),
            Column("Month", "MONTH_NAME", "string", "Name of the month.", sort_by="Month number"),
            hidden("Month number", "CALENDAR_MONTH", "int64", "Month of the year, 1 to 12."),
            Column("Month start", "MONTH_START", "dateTime", "First day of the month.", format=DAY),
            Column("Year and month", "YEAR_MONTH", "int64", "Year and month as a number, such as 202601.", format="0"),
            Column("ISO week", "ISO_WEEK", "int64", "Week of the year, ISO 8601.", format="0"),
            Column("Day", "DAY_OF_MONTH", "int64", "Day of the month.", format="0"),
            Column("Weekday", "DAY_NAME", "string", "Name of the day.", sort_by="Weekday number"),
            hidden("Weekday number", "DAY_OF_WEEK", "int64", "Day of the week, Monday is 1."),
            Column("Weekend", "IS_WEEKEND", "boolean", "Whether the day is a Saturday or Sunday."),
        ),
        dates=True,
        kind="View",
    )
