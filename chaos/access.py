"""Those who may not: nobody is let in, and no secret is shown."""

from __future__ import annotations

from chaos import access_files, access_kafka, access_page, access_questions, access_replay, access_secrets
from chaos.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *access_kafka.SCENARIOS,
    *access_files.SCENARIOS,
    *access_questions.SCENARIOS,
    *access_page.SCENARIOS,
    *access_replay.SCENARIOS,
    *access_secrets.SCENARIOS,
)
