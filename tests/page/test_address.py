"""Addresses: a state that is written into one is read from it again, whatever it holds."""

from __future__ import annotations

import pytest

from lmdp.page.address import LONGEST, State, address, parse


@pytest.mark.parametrize(
    ("tab", "state", "text"),
    [
        ("pipeline", {}, "/"),
        ("explore", {}, "/explore"),
        ("explore", {"range": "6h", "s": ""}, "/explore?range=6h"),
        ("explore", {"range": "2026-11-28 10:00,2026-11-28 11:00"},
         "/explore?range=2026-11-28%2010:00,2026-11-28%2011:00"),
        ("sql", {"sql": "select 'a&b' || '\u00e9#%' as x -- +1\n"},
         "/sql?sql=select%20%27a%26b%27%20%7C%7C%20%27%C3%A9%23%25%27%20as%20x%20--%20%2B1%0A"),
    ],
)  # fmt: skip
def test_a_state_is_in_its_address(tab: str, state: State, text: str) -> None:
    """Every character survives; what is empty is left out."""
    assert address(tab, state) == text
    assert parse(text) == (tab, {name: value for name, value in state.items() if value})


@pytest.mark.parametrize("text", ["/nothing", "/nothing?range=1h", "/api"])
def test_an_unknown_path_is_the_first_tab(text: str) -> None:
    """No address is an error."""
    assert parse(text)[0] == "pipeline"


def test_what_does_not_fit_is_left_out() -> None:
    """The longest value goes first; the others stay, and nothing is cut in two."""
    state = {"form": "chart", "sql": "x" * LONGEST, "name": "y" * 100}
    assert parse(address("sql", state)) == ("sql", {"form": "chart", "name": "y" * 100})
