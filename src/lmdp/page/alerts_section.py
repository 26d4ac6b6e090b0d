"""Alerts on the page: what fires and what is pending, where rules are configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from lmdp.page import formats
from lmdp.page.run_client import Json
from lmdp.page.widgets import empty, heading

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_SHOWN = 100


class AlertsSection:
    """The section of alerts; absent without rules."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: Json | None = None

    def build(self) -> None:
        """Build the section without alerts."""
        self._place = ui.element("section").props('aria-label="Alerts" data-testid=alerts')
        self._place.visible = False

    def tick(self) -> None:
        """Show what is new."""
        found = self._session.api.alerts.json() | {"checkedMs": None}
        if found == self._shown:
            return
        self._shown = found
        self._place.visible = found["isConfigured"]
        self._place.clear()
        with self._place:
            rules, webhook = len(found["rules"]), found["webhook"]
            posts = f"; webhook: {webhook['delivered']:,} delivered, {webhook['failed']:,} failed" if webhook else ""
            last = f" ({webhook['error']})" if webhook and webhook["error"] else ""
            heading("Alerts", f"{rules} rule{'' if rules == 1 else 's'} of alerts.toml{posts}{last}")
            if found["fault"]:
                ui.label(found["fault"]).classes("lm-banner")
            elif not found["alerts"]:
                empty("Nothing fires.")
            for alert in found["alerts"][:_SHOWN]:
                _alert(alert)
            if len(found["alerts"]) > _SHOWN:
                ui.label(f"{len(found['alerts']) - _SHOWN:,} more: GET /api/alerts").classes("lm-note")


def _alert(alert: Json) -> None:
    with ui.element("article").classes("lm-card lm-alert").props(f"data-testid=alert-{alert['state']}"):
        ui.label(alert["state"]).classes("lm-mark" if alert["state"] == "firing" else "lm-note")
        ui.label(alert["rule"]).classes("lm-strong")
        ui.label(alert["text"]).classes("lm-text")
        ui.label(f"since {formats.moment(alert['sinceMs'])}").classes("lm-note")
