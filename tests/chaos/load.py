"""More than was planned for: it makes lag, not loss, in flat memory."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
