"""`lmdp cost` as a person runs it."""

from __future__ import annotations

import json
import re
import sys
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from running import call

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
RUN = {
    "messages": 200,
    "rows": 1_200,
    "bytesIn": 680_000,
    "rejectedMessages": 0,
    "seconds": 0.1,
    "rowsPerSecond": 12_000,
}


def bill(folder: Path, *words: str, given: bytes = b"") -> dict[str, Any]:
    """The bill as a program reads it."""
    ended = call("cost", "--json", *words, folder=folder, given=given)
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def line(found: dict[str, Any], part: str, what: str) -> dict[str, Any]:
    """One line of it."""
    (one,) = [one for one in found["lines"] if (one["part"], one["what"]) == (part, what)]
    return dict(one)


def test_the_page_has_the_reference_table() -> None:
    """docs/cost.md is current: put what `lmdp cost --format markdown` prints between its markers."""
    # The page names the program as PATH finds it; without PATH it would be the path of this checkout's script.
    ended = call("cost", "--format", "markdown", folder=PAGE.parent, PATH=str(Path(sys.executable).parent))
    assert f"<!-- cost: begin -->\n{ended.out}<!-- cost: end -->" in PAGE.read_text("utf-8")


def test_the_table_has_every_line_its_marks_and_what_they_mean(tmp_path: Path) -> None:
    """Also the sums of a few cents; both totals; what dominates; levers; and where prices are from."""
    printed = call("cost", folder=tmp_path).out
    for each in bill(tmp_path)["lines"]:
        unsure = bool(each["unsurePrices"] or each["unknownRule"])
        (found,) = [row for row in printed.splitlines() if re.match(rf"{each['part']} +{each['what']} ", row)]
        assert f"{each['lowUsd']:,.2f}" in found
        assert ("?" in found, "~" in found) == (unsure, bool(each["assumed"])), found
    for words in ("Total", "? a price that nobody confirmed", "~ a quantity that is assumed", "Most of it: Firehose",
                  "What would lower it", "Does not fit what is deployed", "List prices of 2026-"):  # fmt: skip
        assert words in printed


def test_every_number_can_be_followed(tmp_path: Path) -> None:
    """The formulas, calculated with the prices, quantities and load of the report, come to its sums."""
    found = bill(tmp_path, "--devices", "37", "--datapoints", "11")
    names = {one["name"]: one["value"] for one in [*found["prices"], *found["inputs"]]} | found["load"]
    for step in found["steps"]:
        names[step["name"]] = _worked_out(step["formula"], names)
        assert names[step["name"]] == pytest.approx(step["value"]), step
    for one in found["lines"]:
        assert _worked_out(one["formula"], names) == pytest.approx(one["lowUsd"], abs=1e-6), one
        assert _worked_out(one["highFormula"], names) == pytest.approx(one["highUsd"], abs=1e-6), one


def _worked_out(formula: str, names: dict[str, float]) -> float:
    return float(eval(formula, {"__builtins__": {}}, {"ceil": ceil, "max": max, "min": min, **names}))


@pytest.mark.parametrize(
    ("words", "part", "what", "low"),
    [
        (["--price", "private_ca=50"], "Private CA", "authority", 50),
        (["--set", "brokers=6", "--price", "msk_broker=1"], "MSK", "brokers", 6 * 730),
        (["--prices", "ours.toml"], "Private CA", "authority", 7),
        (["--prices", "ours.toml", "--price", "private_ca=8"], "Private CA", "authority", 8),
    ],
)
def test_what_is_known_better_wins(tmp_path: Path, words: list[str], part: str, what: str, low: float) -> None:
    """The command line over a file, and that over the package."""
    (tmp_path / "ours.toml").write_text("[private_ca]\nvalue = 7\n")
    assert line(bill(tmp_path, *words), part, what)["lowUsd"] == low


def test_a_run_from_standard_input(tmp_path: Path) -> None:
    """The same pace as the reference load costs the same, but for the rejects that were measured to be none."""
    measured = bill(tmp_path, "--report", "-", given=json.dumps(RUN).encode())
    planned = bill(tmp_path, "--set", "rejected_share=0")
    assert [(one["what"], one["lowUsd"], one["highUsd"]) for one in measured["lines"]] == [
        (one["what"], pytest.approx(one["lowUsd"]), pytest.approx(one["highUsd"])) for one in planned["lines"]
    ]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    """Exit code 2, and nothing on standard output."""
    words = ["--devices", "0", "--interval", "0", "--prices", "none.toml", "--price", "firehos=1",
             "--price", "credit", "--set", "batch=0", "--set", "zones=many"]  # fmt: skip
    ended = call("cost", *words, folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    for fault in ("7 settings are wrong", "--devices is 0", "--interval is 0", "none.toml cannot be read", "'firehos'",
                 "--price 'credit' is not NAME=VALUE", "--set batch is 0", "--set zones is 'many'"):  # fmt: skip
        assert fault in ended.err


def test_a_plan_and_a_run_contradict_each_other(tmp_path: Path) -> None:
    """Both the contradiction and the report that is not there are reported."""
    ended = call("cost", "--report", "none.json", "--devices", "5", folder=tmp_path)
    assert ended.code == 2
    assert "--devices plans it" in ended.err
    assert "none.json cannot be read" in ended.err


def test_prices_are_listed_with_their_sources(tmp_path: Path) -> None:
    """For people and for programs; what was given shows."""
    printed = call("cost", "--list-prices", "--price", "credit=2", folder=tmp_path).out
    assert "firehose_gb = 0.071 USD per GB" in printed
    assert "unsure, 2026-" in printed
    assert "https://aws.amazon.com/firehose/pricing/" in printed
    assert re.search(r"^credit = 2 .*; given, ", printed, re.MULTILINE)
    found = json.loads(call("cost", "--list-prices", "--json", folder=tmp_path).out)
    assert {one["name"] for one in found["inputs"]} >= {"brokers", "batch", "retention_days"}
    assert all(one["source"] for one in found["prices"])


def test_explain_shows_formulas(tmp_path: Path) -> None:
    """Each step and line follows the table: the formula of bill.toml, the same with its numbers, and the result."""
    printed = call("cost", "--explain", folder=tmp_path).out
    assert "Private CA, authority = cas * private_ca\n    = 1 * 400\n    = 400.00" in printed
    assert (
        "messages_second = devices * instances / interval\n    = 1,000 * 120 / 60\n    = 2,000 messages/s\n"
    ) in printed
    assert "  at most = rounded_gb * firehose_gb\n    = 157,680 * 0.071\n    = 11,195.28\n" in printed
