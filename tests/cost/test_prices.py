"""The prices that come with the package, and others in their place."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from lmdp.cost import inputs
from lmdp.cost.formula import Sheet
from lmdp.cost.items import lines
from lmdp.cost.load import Planned, flow
from lmdp.cost.prices import shipped, with_file, with_given


def test_every_price_says_where_it_comes_from() -> None:
    """Unit, Region, an https source, a date, and how sure it is."""
    for price in shipped().values():
        assert price.value > 0, price
        assert price.region == "us-east-1", price
        assert price.unit.startswith(("USD per ", "credits per ")), price
        assert price.source.startswith("https://"), price
        assert price.certainty in ("sure", "likely", "unsure"), price
        assert dt.date.fromisoformat(price.date) <= dt.date(2100, 1, 1), price
        assert price.note, price


def test_what_nobody_confirmed_says_so() -> None:
    """The facts have no source for these; who finds one changes this line, too."""
    unsure = {name for name, price in shipped().items() if price.certainty == "unsure"}
    assert unsure == {"msk_broker", "msk_storage", "firehose_gb", "snowflake_storage"}


def test_every_price_and_quantity_is_used() -> None:
    """None stands there for nothing; names are not given twice."""
    planned = Planned(1, 1, 1, 60)
    assert not set(shipped()) & set(inputs.shipped())
    values = {name: price.value for name, price in shipped().items()}
    values |= {name: one.value for name, one in inputs.shipped().items()} | planned.numbers()
    sheet = Sheet(values)
    used = frozenset[str]().union(
        *(line.low.uses | line.most.uses for line in lines(flow(planned, sheet), sheet)),
        *(step.figure.uses for step in sheet.steps.values()),
    )
    beside = {"retention_hours", "copies", "credit_quota"}  # the warnings look at these
    measured = {"poll_seconds"}
    assert set(values) - used == beside | measured


def test_a_file_of_prices(tmp_path: Path) -> None:
    """What it names is taken, as given unless it says more; the rest stays."""
    file = tmp_path / "ours.toml"
    file.write_text(
        "[firehose_gb]\nvalue = 0.05\n[credit]\nvalue = 2\ncertainty = 'sure'\nsource = 'our contract'\n"
        "date = 2026-10-01\n"
    )
    faults: list[str] = []
    found = with_file(shipped(), file, faults)
    assert faults == []
    assert (found["firehose_gb"].value, found["firehose_gb"].certainty) == (0.05, "given")
    assert found["firehose_gb"].source == str(file)
    assert (found["credit"].certainty, found["credit"].source, found["credit"].date) == (
        "sure", "our contract", "2026-10-01",
    )  # fmt: skip
    assert found["msk_broker"] == shipped()["msk_broker"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[firehose]\nvalue = 1", ["'firehose', which there is not (did you mean firehose_gb?)"]),
        ("firehose_gb = 1", ["firehose_gb is not a table"]),
        ("[firehose_gb]\nunit = 'GB'", ["firehose_gb has the value None"]),
        ("[firehose_gb]\nvalue = -1\n[credit]\nvalue = 'x'", ["firehose_gb has the value -1", "has the value 'x'"]),
        ("[credit]\nvalue = true", ["credit has the value True"]),
        ("[credit]\nvalue = nan", ["credit has the value nan"]),
        ("[credit]\nvalue = 2\ncertainty = 'maybe'", ["credit has the certainty 'maybe'; it is one of sure, likely"]),
        ("[credit", ["cannot be read"]),
    ],
)  # fmt: skip
def test_a_file_of_prices_that_is_wrong(tmp_path: Path, text: str, told: list[str]) -> None:
    """Every fault in it is told, and none of its wrong prices taken."""
    file = tmp_path / "ours.toml"
    file.write_text(text)
    faults: list[str] = []
    assert with_file(shipped(), file, faults) == shipped()
    assert len(faults) == len(told)
    assert all(words in fault for words, fault in zip(told, faults, strict=True))


def test_one_price() -> None:
    """It is no longer unsure."""
    found = with_given(shipped(), {"firehose_gb": 0.05})["firehose_gb"]
    assert (found.value, found.certainty, found.unit) == (0.05, "given", shipped()["firehose_gb"].unit)
