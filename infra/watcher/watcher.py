"""Watcher, every five minutes, of what has no metric of its own: pipe, certificates, keys, canary, retention.

It uses what Lambda's runtime brings, and reads no secret's value: versions, dates and tags are enough. What is
unknown is left out, and its alarm treats missing data as bad.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import boto3

NAMESPACE: Final = "lmdp"
# Who writes the Kafka client's secret says here which version holds a certificate, and when that ends.
CERTIFICATE_TAG: Final = "lmdp:certificate"
_DAY: Final = 86_400
# What a topic that keeps everything counts as: ten years.
_FOREVER_HOURS: Final = 87_600.0
_RETENTION: Final = re.compile(r"""(?<![.\w])retention\.ms["']?\s*[=:]\s*["']?(-?\d+)""")

Clients: TypeAlias = Callable[[str], Any]
"""Makes a boto3 client of a service."""


def handler(_event: object, _context: object) -> dict[str, float]:
    """Look at everything, and print one object of metrics."""
    env = os.environ
    found, faults = look(env, boto3.client, dt.datetime.now(dt.UTC))
    print(json.dumps(metrics(found, faults, env["LMDP_PREFIX"], int(time.time() * 1000))))
    return found


def look(env: Mapping[str, str], clients: Clients, now: dt.datetime) -> tuple[dict[str, float], dict[str, str]]:
    """Numbers by name, and for those that could not be had the kind of the fault."""
    looks: dict[str, Callable[[], float | None]] = {
        "PipeRunning": lambda: _pipe_running(clients("pipes"), env["LMDP_PIPE"]),
        "CertificateDaysLeft": lambda: _soonest(clients("secretsmanager"), env["LMDP_KAFKA_SECRETS"].split(","), now),
        "CanaryAgeHours": lambda: _canary(clients("ssm"), env["LMDP_CANARY_PARAMETER"], now),
        "TopicRetentionHours": lambda: _retention(clients, env),
        "LoaderKeyDaysLeft": lambda: _key(clients("secretsmanager"), env, "LMDP_LOADER_SECRET", now),
        "SetupKeyDaysLeft": lambda: _key(clients("secretsmanager"), env, "LMDP_SETUP_SECRET", now),
    }
    if env.get("LMDP_PRIVATE_CA"):
        looks["CaDaysLeft"] = lambda: _authority(clients("acm-pca"), env["LMDP_PRIVATE_CA"], now)
    found: dict[str, float] = {}
    faults: dict[str, str] = {}
    for name, one in looks.items():
        try:
            number = one()
        except Exception as error:  # noqa: BLE001 - one value that is unknown leaves the others
            faults[name] = type(error).__name__
            continue
        if number is None:
            faults[name] = "unknown"
        else:
            found[name] = number
    return found, faults


def metrics(found: Mapping[str, float], faults: Mapping[str, str], service: str, now_ms: int) -> dict[str, Any]:
    """The numbers in CloudWatch's embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    return {
        "_aws": {
            "Timestamp": now_ms,
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["service"]],
                    "Metrics": [{"Name": name, "Unit": "None"} for name in sorted(found)],
                }
            ],
        },
        "service": service,
        "unknown": dict(faults),
        **found,
    }


def _pipe_running(pipes: Any, name: str) -> float:
    return float(pipes.describe_pipe(Name=name)["CurrentState"] == "RUNNING")


def _soonest(secrets: Any, names: list[str], now: dt.datetime) -> float | None:
    """Days left of the certificate that expires first; None when one of them is unknown."""
    days = [_certificate(secrets, name, now) for name in names]
    known = [one for one in days if one is not None]
    return min(known) if len(known) == len(days) else None


def _certificate(secrets: Any, secret: str, now: dt.datetime) -> float | None:
    """Days left of the certificate in the current version; None when a tag does not speak of that version."""
    described = secrets.describe_secret(SecretId=secret)
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}
    version, _, ends = tags.get(CERTIFICATE_TAG, "").partition(" ")
    if "AWSCURRENT" not in described.get("VersionIdsToStages", {}).get(version, ()):
        return None
    days: float = (dt.datetime.fromisoformat(ends) - now).total_seconds() / _DAY
    return days


def _key(secrets: Any, env: Mapping[str, str], secret: str, now: dt.datetime) -> float | None:
    """Days until the current version is older than a key may be."""
    versions = secrets.list_secret_version_ids(SecretId=env[secret])["Versions"]
    current = [version["CreatedDate"] for version in versions if "AWSCURRENT" in version.get("VersionStages", ())]
    if not current:
        return None
    made: dt.datetime = current[0]
    return float(env["LMDP_KEY_MAX_AGE_DAYS"]) - (now - made).total_seconds() / _DAY


def _retention(clients: Clients, env: Mapping[str, str]) -> float:
    """Hours that the topic keeps: as MSK says now, else as the last deployment found it."""
    try:
        topic = clients("kafka").describe_topic(ClusterArn=env["LMDP_CLUSTER_ARN"], TopicName=env["LMDP_TOPIC"])
        found = _RETENTION.search(base64.b64decode(topic["Configs"]).decode())
        kept = int(found[1]) if found else None
    except Exception:  # noqa: BLE001 - an older runtime has no such call, and a cluster may not allow it
        kept = None
    if kept is None:
        return float(clients("ssm").get_parameter(Name=env["LMDP_RETENTION_PARAMETER"])["Parameter"]["Value"])
    return _FOREVER_HOURS if kept < 0 else kept / 3_600_000


def _authority(acm_pca: Any, arn: str, now: dt.datetime) -> float:
    described = acm_pca.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"]
    ends: dt.datetime = described["NotAfter"]
    return (ends - now).total_seconds() / _DAY


def _canary(ssm: Any, parameter: str, now: dt.datetime) -> float:
    landed: dt.datetime = dt.datetime.fromisoformat(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
    return (now - landed).total_seconds() / 3600
