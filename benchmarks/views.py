"""CPU time of every view over all rows, and of what the page asks, on one thread.

    .venv/bin/python -m benchmarks.views --devices 100 --days 30 --minutes 5
    PYTHONPATH=OTHER_CHECKOUT/src .venv/bin/python -m benchmarks.views --devices 100  # another version

Devices of 20 series, as `benchmarks/filled.py` makes them, each polled every so many minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.filled import fill
from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError
from lmdp.machine.warehouse import connection
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.snowflake.verify import VIEWS

_LIMITS: Any = vars(connection).get("EngineLimits") or vars(connection)["Limits"]  # as versions before name it
ROUNDS = 3
PATIENCE_S = 600.0
_ONE = """
SELECT ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE, METRIC, MAX(TS) AS TS FROM METRICS
WHERE TYPE = '{kind}' GROUP BY ALL ORDER BY ALL LIMIT 1
"""
_OF = "'{ORG_ID}', '{DEVICE_ID}', '{DATASOURCE}', '{INSTANCE}', '{METRIC}'"
_HOUR = "TIMESTAMP '{TS}' - INTERVAL 1 HOUR"
_ASKED = {
    "rates of an hour": ("sum", f"SELECT SUM(RATE) FROM METRIC_RATES_OF({_OF}, {_HOUR}, TIMESTAMP '{{TS}}')"),
    "percentiles of an hour": (
        "histogram",
        f"SELECT SUM(P50) FROM HISTOGRAM_QUANTILES_OF({_OF}, {_HOUR}, TIMESTAMP '{{TS}}')",
    ),
    "devices of an hour": ("gauge", f"SELECT DEVICE_NAME, COUNT(*) FROM METRICS WHERE TS > {_HOUR} GROUP BY ALL"),
}


def main() -> None:
    """Fill a file, and print a line a view and query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        series = 20 * given.devices
        fill(path, series * given.days * 1440 // given.minutes, series, given.minutes * 60_000)
        with Warehouse.open(path, load_spec(), limits=_LIMITS(threads=1)) as warehouse:
            for name, (kind, sql) in _ASKED.items():
                (one,) = warehouse.query(_ONE.format(kind=kind), timeout_s=PATIENCE_S).table.to_pylist()
                print(f"{name:24} {_milliseconds(warehouse, sql.format(**one), ROUNDS)}", flush=True)
            for view in VIEWS:
                sql = f"SELECT COUNT(*), MIN(HASH(V)) FROM {view} AS V"
                print(f"{view:24} {_milliseconds(warehouse, sql, 1)}", flush=True)


def _milliseconds(warehouse: Warehouse, sql: str, rounds: int) -> str:
    """Return the least CPU time of some rounds, or why there is none."""
    spent = []
    for _ in range(rounds):
        begun = time.process_time()
        try:
            warehouse.query(sql, timeout_s=PATIENCE_S)
        except LmdpError as error:
            return str(error).partition("\n")[0]
        spent.append(1000 * (time.process_time() - begun))
    return f"{min(spent):10,.0f} ms"


if __name__ == "__main__":
    main()
