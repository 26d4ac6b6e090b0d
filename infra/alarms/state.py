"""Alarms on the watcher's reports: days left, the canary's age, and whether it runs at all."""

from __future__ import annotations

from typing import Final

from infra.alarms.rule import AlarmRule, Severity, metric
from infra.settings import Settings

_WARN_DAYS: Final = 30
_PAGE_DAYS: Final = 7
_CA_DAYS: Final = 90


def state_rules(settings: Settings) -> list[AlarmRule]:
    """Each of them breaches when its number is missing."""
    prefix = settings.names.prefix
    errors = metric("AWS/Lambda", "Errors", {"FunctionName": settings.names.watcher_function})
    days: list[tuple[str, Severity, str, str, str, int]] = [
        ("certificate-warn", "warn", "certificates", "The pipe's certificate ends", "CertificateDaysLeft", _WARN_DAYS),
        ("certificate-page", "page", "certificates", "The pipe's certificate ends", "CertificateDaysLeft", _PAGE_DAYS),
        ("loader-key-old", "warn", "keys", "Firehose's key for Snowflake is due", "LoaderKeyDaysLeft", _WARN_DAYS),
        ("setup-key-old", "warn", "keys", "The setup owner's key for Snowflake is due", "SetupKeyDaysLeft", _WARN_DAYS),
    ]
    if settings.kafka.ca_arn:
        days.append(("ca", "warn", "certificates", "The Private CA ends", "CaDaysLeft", _CA_DAYS))
    return [
        *(AlarmRule(name, severity, section, f"{about} in less than {least} days, or unknown.",
                    metric("lmdp", counted, {"service": prefix}, "Minimum", minutes=60), "<", least,
                    missing_is_bad=True)
          for name, severity, section, about, counted, least in days),
        AlarmRule("canary-old", "warn", "canary",
                  f"For {settings.watch.canary_hours} h no canary row landed, or a dynamic table is late or suspended.",
                  metric("lmdp", "CanaryAgeHours", {"service": prefix}, "Maximum", minutes=60), ">",
                  settings.watch.canary_hours, missing_is_bad=True),
        AlarmRule("watcher-errors", "warn", "watcher", "The watcher fails, so nobody looks.", errors, ">", 0,
                  bad=2, periods=3),
    ]  # fmt: skip
