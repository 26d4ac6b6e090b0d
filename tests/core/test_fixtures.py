"""The specification's fixtures: golden pairs, and row events that must not validate."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import oracle
from lmdp import Message, TransformSettings, encode, transform
from lmdp.core.specification import load_spec


@dataclass(frozen=True, slots=True)
class Golden:
    """A bundle and the rows that it flattens to, two files; `timestamp` is Kafka's, in ms."""

    bundle: str
    rows: str
    timestamp: int | None = None


ROOT = Path(__file__).parents[2]
BLOCK = (ROOT / "docs" / "kafka_ingest_spec.md").read_text().partition("```toml fixtures\n")[2].partition("```")[0]
FIXTURES = tomllib.loads(BLOCK)
GOLDEN = [Golden(**pair) for pair in FIXTURES["golden"]]
FOLDER = ROOT / FIXTURES["folder"]
VALIDATOR = jsonschema.Draft202012Validator(load_spec().schema)


def read(name: str) -> Any:
    """One fixture, parsed."""
    return json.loads((FOLDER / name).read_bytes())


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.bundle.removesuffix(".json"))
def test_golden_pair(golden: Golden) -> None:
    """The bundle flattens to exactly these rows, in this order, and loses nothing."""
    message = Message((FOLDER / golden.bundle).read_bytes(), timestamp=golden.timestamp)
    done = transform([message], TransformSettings(org_id=FIXTURES["org_id"]))
    assert done.rejects == []
    rows = [json.loads(line) for line in encode(done.rows)]
    assert [json.dumps(row) for row in rows] == [json.dumps(row) for row in read(golden.rows)]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.rows.removesuffix(".json"))
def test_golden_rows_are_row_events(golden: Golden) -> None:
    """Each golden row validates, and its two times are one moment."""
    rows = read(golden.rows)
    assert rows
    for row in rows:
        VALIDATOR.validate(row)
        since = datetime.fromisoformat(row["ts"]) - datetime(1970, 1, 1, tzinfo=UTC)
        assert since // timedelta(milliseconds=1) == row["tsUnixMs"]


@pytest.mark.parametrize(
    "golden",
    [golden for golden in GOLDEN if not golden.bundle.startswith("lenient")],
    ids=lambda golden: golden.bundle.removesuffix(".json"),
)
def test_golden_pair_of_the_oracle(golden: Golden) -> None:
    """A second reading of the contract gives the golden rows too, so that no pair was copied from the program."""
    expected = oracle.expect(read(golden.bundle), FIXTURES["org_id"], golden.timestamp)
    assert expected.rows == read(golden.rows)
    assert not expected.failed


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("row_event_missing_required.json", "'deviceId' is a required property"),
        ("row_event_null_field.json", "None is not of type 'string'"),
        ("row_event_unknown_field.json", "Additional properties are not allowed ('tenant' was unexpected)"),
        ("row_event_text_value.json", "'1.0' is not of type 'number'"),
    ],
)
def test_invalid_row_event(name: str, complaint: str) -> None:
    """What is no row event is refused, for the one thing that is wrong with it."""
    assert name in FIXTURES["invalid"]
    assert [error.message for error in VALIDATOR.iter_errors(read(name))] == [complaint]


def test_every_file_is_named_by_the_specification() -> None:
    """No fixture lies about unused, and none is missing."""
    named = {name for golden in GOLDEN for name in (golden.bundle, golden.rows)} | set(FIXTURES["invalid"])
    assert named == {path.name for path in FOLDER.iterdir()}
