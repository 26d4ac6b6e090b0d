"""Brokers and networks that are slow, cut or silent: time-outs end every wait, and nothing is lost."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
