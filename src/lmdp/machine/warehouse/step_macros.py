"""Views of steps, narrowed to one metric and a stretch of time before they look back: table macros beside the views.

A step needs the point before it, so a filter on the time passes no view of steps; and none at all passes
HISTOGRAM_QUANTILES, whose parts DuckDB 2.0.0 makes whole: an hour of one histogram would read all there are, and end
without memory.

`METRIC_RATES_OF(org, device, datasource, instance, metric, since, until)` is METRIC_RATES as it would be over the rows
of that metric from `since` up to `until` alone, and so it is exact from the second point of each series on.
HISTOGRAM_QUANTILES_OF takes the metric as its rows have it, with `.bucket`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmdp.machine.warehouse.connection import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VIEWS = ("METRIC_RATES", "HISTOGRAM_QUANTILES")

_PLACES = "(of_org, of_device, of_datasource, of_instance, of_metric, since, until)"
_ALL = f"FROM {SCHEMA}.METRICS "
_SOME = f"""FROM (
  SELECT * FROM {SCHEMA}.METRICS
  WHERE ORG_ID = of_org AND DEVICE_ID = of_device AND DATASOURCE = of_datasource
    AND INSTANCE IS NOT DISTINCT FROM of_instance AND METRIC = of_metric AND TS >= since AND TS < until
) """  # noqa: S608 - its own names


def narrowed(statements: Iterable[str]) -> Iterator[str]:
    """The macro of each such view among these statements, which are in DuckDB's dialect."""
    for sql in statements:
        for view in VIEWS:
            body = sql.removeprefix(f"CREATE OR REPLACE VIEW {SCHEMA}.{view} AS ")
            if body != sql:
                yield f"CREATE OR REPLACE MACRO {SCHEMA}.{view}_OF{_PLACES} AS TABLE {body.replace(_ALL, _SOME)}"
