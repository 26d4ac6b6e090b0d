"""Batches that come again, in whole, in part or cut otherwise: METRICS holds every row once."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
