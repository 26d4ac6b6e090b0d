"""The prices that come with the package, and others in their place."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from lmdp.cost.basis import data, prices_with, prices_with_file, shipped_prices, shipped_quantities
from lmdp.cost.bill import Basis, bill
from lmdp.cost.formula import names
from lmdp.cost.refreshes import steps as refresh_steps
from lmdp.cost.traffic import Measured, Planned


def test_every_price_says_where_it_comes_from() -> None:
    """Unit, Region, an https source, a date, and how sure it is."""
    for price in shipped_prices().values():
        assert price.value > 0, price
        assert price.region == "us-east-1", price
        assert price.unit.startswith(("USD per ", "credits per ")), price
        assert price.source.startswith("https://"), price
        assert price.certainty in ("sure", "likely", "unsure"), price
        assert dt.date.fromisoformat(price.date) <= dt.date(2100, 1, 1), price
        assert price.note, price


def test_what_nobody_confirmed_says_so() -> None:
    """The facts have no source for these; who finds one changes this line, too."""
    unsure = {name for name, price in shipped_prices().items() if price.certainty == "unsure"}
    assert unsure == {"msk_broker", "msk_storage", "firehose_gb", "snowflake_storage", "balancer_gb"}


def test_every_price_and_quantity_is_used() -> None:
    """A line of a planned or of a measured load uses it, with receivers, or a warning; no name is given twice."""
    prices, quantities = shipped_prices(), shipped_quantities()
    steps = data("bill.toml")["steps"].keys() | refresh_steps().keys() | data("bill.toml")["later_steps"].keys()
    assert len(prices.keys() | quantities.keys() | steps) == len(prices) + len(quantities) + len(steps)
    used = set[str]()
    for load in (Planned(1, 1, 1, 60), Measured(1, 1, 1, 1)):
        for writer in data("bill.toml")["writers"]:
            whole = bill(Basis(load, prices, quantities, writer), {"receivers": 1})
            used = used.union(*(line.uses for line in whole.lines))
    for warning in data("bill.toml")["warnings"]:
        used = used.union(names(warning["when"]), *map(names, warning["let"].values()))
    assert prices.keys() | quantities.keys() <= used


def test_a_file_of_prices(tmp_path: Path) -> None:
    """What it names is taken, as given unless it says more; the rest stays."""
    file = tmp_path / "ours.toml"
    file.write_text(
        "[firehose_gb]\nvalue = 0.05\n[credit]\nvalue = 2\ncertainty = 'sure'\nsource = 'our contract'\n"
        "date = 2026-10-01\n"
    )
    faults: list[str] = []
    found = prices_with_file(shipped_prices(), file, faults)
    assert faults == []
    assert (found["firehose_gb"].value, found["firehose_gb"].certainty) == (0.05, "given")
    assert found["firehose_gb"].source == str(file)
    assert (found["credit"].certainty, found["credit"].source, found["credit"].date) == (
        "sure", "our contract", "2026-10-01",
    )  # fmt: skip
    assert found["msk_broker"] == shipped_prices()["msk_broker"]


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_a_file_of_prices_that_is_wrong(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Every fault in it is reported, and none of its wrong prices taken."""
    file = tmp_path / "ours.toml"
    file.write_text(text)
    faults: list[str] = []
    assert prices_with_file(shipped_prices(), file, faults) == shipped_prices()
    assert len(faults) == len(expected)
    assert all(words in fault for words, fault in zip(expected, faults, strict=True))


def test_one_price() -> None:
    """It is no longer unsure."""
    found = prices_with(shipped_prices(), {"firehose_gb": 0.05})["firehose_gb"]
    assert (found.value, found.certainty, found.unit) == (0.05, "given", shipped_prices()["firehose_gb"].unit)
