"""A warehouse with simulated rows, and the project in both variants: its text, its JSON, its TMDL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.machine.simulation.collectors import Simulation
from lmdp.machine.sink import Load
from lmdp.powerbi.project import Source, files
from new_warehouse import open_warehouse
from powerbi.tmdl_reader import Node, read

HOUR = 3_600_000
T0 = 1_767_139_200_000  # 2025-12-31T00:00:00Z, so that the days cross a year
SOURCE = Source("xy12345.snowflakecomputing.com", "LM_FIREHOSE_WH", "LM_METRICS", "PIPELINE", "LM_READER_ROLE")
PAGES = ("fleet-overview", "device", "datasource-explorer", "capacity-trend", "pipeline-health")
DEFINITION = "lmdp.SemanticModel/definition/"

Json = dict[str, Any]


def fields(node: object, tables: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Return every (Column or Measure, table, name) below a part of the report; an alias of a filter is its table."""
    if isinstance(node, list):
        return [found for inner in node for found in fields(inner, tables)]
    if not isinstance(node, dict):
        return []
    aliases = (tables or {}) | {one["Name"]: one["Entity"] for one in node.get("From", [])}
    found = []
    for kind in ("Column", "Measure"):
        if kind in node:
            source = node[kind]["Expression"]["SourceRef"]
            found.append((kind, source.get("Entity") or aliases[source["Source"]], node[kind]["Property"]))
    return found + [one for inner in node.values() for one in fields(inner, aliases)]


@pytest.fixture(scope="session", params=[False, True], ids=["DirectQuery", "Import"])
def imported(request: pytest.FixtureRequest) -> bool:
    """Which of the two variants."""
    return bool(request.param)


@pytest.fixture(scope="session")
def project(imported: bool) -> dict[str, str]:
    """Every file of the project."""
    return files(SOURCE, imported=imported, lag_minutes=60)


@pytest.fixture(scope="session")
def parts(project: dict[str, str]) -> dict[str, Json]:
    """Every JSON file, by its path."""
    kinds = (".json", ".pbip", ".pbir", ".pbism", ".platform")
    return {path: json.loads(text) for path, text in project.items() if path.endswith(kinds)}


@pytest.fixture(scope="session")
def visuals(parts: dict[str, Json]) -> dict[str, list[Json]]:
    """The visuals of each page, by its name."""
    return {
        page: [part for path, part in parts.items() if f"/pages/{page}/visuals/" in path]
        for page in parts["lmdp.Report/definition/pages/pages.json"]["pageOrder"]
    }


@pytest.fixture(scope="session")
def model(project: dict[str, str]) -> dict[str, list[Node]]:
    """The objects of every TMDL file, by its path."""
    return {path.removeprefix(DEFINITION): read(text) for path, text in project.items() if path.startswith(DEFINITION)}


@pytest.fixture(scope="session")
def tables(model: dict[str, list[Node]]) -> dict[str, Node]:
    """The tables, by name."""
    return {nodes[0].name: nodes[0] for path, nodes in model.items() if path.startswith("tables/")}


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
    with open_warehouse(path) as opened:
        opened.commit(Load([*rows, tuple(canary)], [], [], datetime.now(UTC)))
        with opened._reader.cursor() as cursor:
            yield cursor
