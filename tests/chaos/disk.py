"""Full disks and folders that cannot be written: nothing acknowledged is lost, and it goes on when there is room."""

from __future__ import annotations

from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = ()
