"""The sink contract, on every sink."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud.names import REGION, SECRET
from contract.rigs import RIGS
from contract.sink_contract import Fate, Rule, rules_of

CASES = [pytest.param(rig, rule, id=f"{rig.__name__}-{rule.__name__}") for rig in RIGS for rule in rules_of(rig)]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that open nothing."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("rig", "rule"), CASES)
def test_contract(rig: Any, rule: Rule, tmp_path: Path) -> None:
    """Every rule holds for every sink, but for the fates that its rig declares impossible."""
    with rig.open(tmp_path) as opened:
        rule(opened)


@pytest.mark.parametrize("rig", RIGS)
def test_no_rig_excludes_what_every_sink_can_have(rig: Any) -> None:
    """Every sink succeeds, and every sink can fail in one way at least; each exclusion has its reason."""
    assert Fate.FINE not in rig.cannot
    assert not {Fate.ALWAYS_BUSY, Fate.NEVER_ALLOWED} <= rig.cannot.keys()
    assert all(rig.cannot.values())
