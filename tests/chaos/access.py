"""Those who may not: nobody is let in, and no secret is told."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
