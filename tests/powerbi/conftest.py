"""A warehouse with simulated rows, and the project in both variants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.machine.simulation.collectors import Simulation
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.powerbi.project import files
from lmdp.powerbi.tmdl import Source

HOUR = 3_600_000
T0 = 1_767_139_200_000  # 2025-12-31T00:00:00Z, so that the days cross a year
SOURCE = Source("xy12345.snowflakecomputing.com", "LM_FIREHOSE_WH", "LM_METRICS", "PIPELINE", "LM_READER_ROLE")


@pytest.fixture(scope="session", params=[False, True], ids=["DirectQuery", "Import"])
def imported(request: pytest.FixtureRequest) -> bool:
    """Which of the two variants."""
    return bool(request.param)


@pytest.fixture(scope="session")
def project(imported: bool) -> dict[str, str]:
    """Every file of the project."""
    return files(SOURCE, imported=imported, lag_minutes=60)


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views over three days of three simulated devices, polled every 20 minutes, and a canary row."""
    path: Path = tmp_path_factory.mktemp("powerbi") / "w.duckdb"
    spec = load_spec()
    rows = []
    simulation = Simulation(devices=3, instances=6, seed=7)
    for step in range(3 * 24 * 3):
        at = T0 + step * HOUR // 3
        polled = (Message(message.value, timestamp=at) for message in simulation.polls(at))
        rows += transform(polled, TransformSettings(org_id="demo")).rows
    places = [field.name for field in spec.fields]
    canary = list(rows[0])
    canary[places.index("datasource")], canary[places.index("deviceId")] = "lmdp.canary", "canary"
    with Warehouse.open(path, spec) as opened:
        opened.commit(Load([*rows, tuple(canary)], [], [], datetime.now(UTC)))
        with opened._reader.cursor() as cursor:
            yield cursor
