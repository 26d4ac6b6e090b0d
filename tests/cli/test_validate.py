"""`lmdp validate` as a person runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.specification import load_spec
from running import bundle, call

if TYPE_CHECKING:
    from pathlib import Path


def _row(folder: Path, **changed: Any) -> dict[str, Any]:
    """A row event that the program made, with fields changed; None takes a field away."""
    (folder / "bundle.json").write_bytes(bundle(1))
    row = json.loads(call("flatten", "--org-id", "acme", "bundle.json", folder=folder).out) | changed
    return {name: value for name, value in row.items() if value is not None}


def test_what_flatten_makes_is_valid(tmp_path: Path) -> None:
    """The two commands fit together over a pipe."""
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(bundle, range(5))))
    rows = call("flatten", "--org-id", "acme", "a.jsonl", folder=tmp_path).out
    ended = call("validate", "-", folder=tmp_path, given=rows.encode())
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "5 rows, 0 do not fit the specification\n"


def test_a_row_that_does_not_fit_is_shown_with_its_place(tmp_path: Path) -> None:
    """Exit code 1, and a line a fault: file, line, field."""
    rows = [_row(tmp_path), _row(tmp_path, deviceId=None), _row(tmp_path, value="high")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ended = call("validate", "rows.jsonl", "--json", folder=tmp_path)
    assert ended.code == 1
    assert json.loads(ended.out) == {"rows": 3, "invalid": 2}
    first, second = ended.err.splitlines()
    assert first.startswith("rows.jsonl:2: ")
    assert "deviceId" in first
    assert second.startswith("rows.jsonl:3: $.value: ")


@pytest.mark.parametrize(
    ("text", "code", "rows", "invalid"),
    [
        (lambda row: json.dumps(row, indent=2), 0, 1, 0),
        (lambda row: json.dumps([row, row], indent=2), 0, 2, 0),
        (lambda row: json.dumps([row, {}]), 1, 2, 1),
        (lambda _: "[]", 0, 0, 0),
        (lambda _: "no json", 1, 1, 1),
        (lambda _: "7", 1, 1, 1),
        (lambda _: "[" * 5000, 1, 1, 1),
    ],
)
def test_a_json_file_is_one_row_or_an_array_of_them(
    tmp_path: Path, text: Any, code: int, rows: int, invalid: int
) -> None:
    """A `.json` file may be drawn over many lines; what is no row is counted, never a traceback."""
    (tmp_path / "rows.json").write_text(text(_row(tmp_path)))
    ended = call("validate", "rows.json", "--json", folder=tmp_path)
    assert (ended.code, json.loads(ended.out)) == (code, {"rows": rows, "invalid": invalid})


def test_many_faults_are_cut_off(tmp_path: Path) -> None:
    """A file that is wrong throughout does not flood the terminal."""
    (tmp_path / "rows.jsonl").write_text("{\n" * 500)
    ended = call("validate", "rows.jsonl", folder=tmp_path)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 21
    assert "480 more rows" in ended.err


def test_the_schema_is_the_specifications(tmp_path: Path) -> None:
    """--schema prints it for other tools."""
    ended = call("validate", "--schema", folder=tmp_path)
    assert (ended.code, json.loads(ended.out)) == (0, load_spec().schema)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [([], 2, "nothing to check"), (["none.jsonl"], 2, "none.jsonl does not exist"), (["."], 2, "is a folder")],
)
def test_bad_input_is_told(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    """One message, and the exit code of wrong usage."""
    ended = call("validate", *words, folder=tmp_path)
    assert ended.code == code
    assert told in ended.err
