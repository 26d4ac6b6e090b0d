"""Partitions, topics and clocks that change: each row once, and a loss is said and counted."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
