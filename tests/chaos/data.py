"""Bytes that nobody should send: each is a row, a reject or a drop, within bounded memory and time."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
