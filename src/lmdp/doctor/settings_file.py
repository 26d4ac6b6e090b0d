"""The settings: names that nothing reads, which are mostly typing errors, and a file that others can read."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable
from typing import Final

from dotenv import dotenv_values

from lmdp.doctor.context import Place
from lmdp.doctor.result import Verdict, not_tried, ok, wrong

OURS: Final = re.compile(r"LMDP_|SNOWFLAKE_|RETENTION_")

KNOWN: Final = frozenset(
    """
    LMDP_ALERT_CHATBOT_ARN LMDP_ALERT_EMAILS LMDP_ALERT_URLS LMDP_CLUSTER_ARN LMDP_RETENTION_PARAMETER
    LMDP_SNOWFLAKE_SECURITY_GROUP_ID LMDP_SNOWFLAKE_SUBNET_IDS SNOWFLAKE_PRIVATE_HOST
    LMDP_AWS_ACCOUNT LMDP_AWS_REGION LMDP_BATCH_SIZE LMDP_BATCH_WINDOW_SECONDS
    LMDP_BOOTSTRAP_SERVERS LMDP_BUFFER_MIB LMDP_BUFFER_SECONDS LMDP_CACHE LMDP_CANARY_MAX_AGE_HOURS
    LMDP_CANARY_PARAMETER LMDP_CLUSTER_RULES LMDP_COLLECTOR_CIDRS LMDP_COLLECTOR_SECURITY_GROUP_ID
    LMDP_CONSUMER_GROUP LMDP_DELIVERY_STREAM LMDP_ENVIRONMENT LMDP_ERROR_RETENTION_DAYS LMDP_FIREHOSE_CONCURRENCY
    LMDP_FUNCTION_MEMORY_MIB LMDP_FUNCTION_TIMEOUT_SECONDS LMDP_HOME LMDP_IAM_PATH LMDP_KAFKA_CA LMDP_KAFKA_CERT
    LMDP_KAFKA_GROUP LMDP_KAFKA_KEY LMDP_KAFKA_PLAINTEXT LMDP_KAFKA_SECRET LMDP_KAFKA_SECRET_ARN
    LMDP_KEY_MAX_AGE_DAYS LMDP_LOADER_SECRET LMDP_LOADER_SECRET_ARN LMDP_LOG_RETENTION_DAYS LMDP_MARGIN_SECONDS
    LMDP_MAX_DECOMPRESSED_BYTES LMDP_MAX_MESSAGE_MEMORY LMDP_MAX_MESSAGE_ROW_BYTES LMDP_MONTHLY_BUDGET_USD
    LMDP_MSK_BROKERS LMDP_MSK_CLUSTER_ARN LMDP_MSK_CREATE LMDP_MSK_INSTANCE_TYPE LMDP_MSK_STORAGE_GIB
    LMDP_MSK_VERSION LMDP_ORG_ID LMDP_ORG_ID_FROM_RESOURCE LMDP_PAGE LMDP_PAGE_PORT LMDP_PERMISSIONS_BOUNDARY_ARN
    LMDP_PIPE LMDP_PIPE_REVISION LMDP_PLANNED_DATAPOINTS LMDP_PLANNED_DEVICES LMDP_PLANNED_INTERVAL_SECONDS
    LMDP_PLANNED_MESSAGE_BYTES LMDP_PLANNED_MESSAGE_DATAPOINTS LMDP_PLANNED_ROW_BYTES LMDP_PREFIX LMDP_PRIVATE_CA
    LMDP_PRIVATE_CA_ARN LMDP_REJECTS_BUCKET LMDP_REJECTS_KMS_KEY LMDP_REJECTS_PREFIX LMDP_RESERVED_CONCURRENCY
    LMDP_ROLE_NAME_PREFIX LMDP_SECRETS_KMS_KEY_ARN LMDP_SECURITY_GROUP_ID LMDP_SETUP_SECRET LMDP_SETUP_SECRET_ARN
    LMDP_SNOWFLAKE_RETRY_SECONDS LMDP_SPEC LMDP_STREAM_REVISION LMDP_SUBNET_IDS LMDP_TAGS
    LMDP_TERMINATION_PROTECTION LMDP_TOPIC LMDP_TOPIC_CREATE LMDP_TOPIC_MAX_MESSAGE_BYTES LMDP_TOPIC_PARTITIONS
    LMDP_TOPIC_RETENTION_HOURS LMDP_VPC_ENDPOINTS LMDP_VPC_ID LMDP_WAREHOUSE RETENTION_DAYS SNOWFLAKE_ACCOUNT_URL
    SNOWFLAKE_ALLOWED_IPS SNOWFLAKE_CREDIT_QUOTA SNOWFLAKE_DATABASE SNOWFLAKE_ENVIRONMENT SNOWFLAKE_FIREHOSE_ROLE
    SNOWFLAKE_FIREHOSE_SECRET SNOWFLAKE_FIREHOSE_USER SNOWFLAKE_IDENTIFIERS SNOWFLAKE_PRIVATELINK_VPCE_ID
    SNOWFLAKE_PRIVATE_KEY_FILE SNOWFLAKE_PRIVATE_KEY_PASSPHRASE SNOWFLAKE_PRIVATE_KEY_SECRET SNOWFLAKE_READER_ROLE
    SNOWFLAKE_SCHEMA SNOWFLAKE_SETUP_ROLE SNOWFLAKE_SETUP_USER SNOWFLAKE_TARGET_LAG_MINUTES SNOWFLAKE_WAREHOUSE
    """.split()  # noqa: SIM905 - as a list it has a hundred lines
)
"""Every name that something here reads."""


def settings_file(place: Place) -> Verdict:
    """Names in the environment and in `.env`, which of them nothing reads, and who can read the file."""
    file = place.env_file
    named = set(dotenv_values(file)) if file.is_file() else set()
    given = {name for name in {*named, *place.env} if OURS.match(name)}
    unknown = unread(given)
    if unknown:
        return wrong(
            f"nothing reads {', '.join(unknown)}", f"correct it in {file} or the environment; see .env.example"
        )
    if file.is_file() and "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" in named and _is_open(file.stat().st_mode):
        return wrong(f"{file} holds a passphrase, and others can read it", f"chmod 600 {file}")
    if not given:
        return not_tried("nothing is set; everything has a default for a first look")
    return ok(f"{len(given)} names are set" + (f", {len(named & given)} of them in {file}" if named else ""))


def unread(names: Iterable[str]) -> list[str]:
    """Which of these settings nothing reads, each with the nearest name that is read; other programs' are left out."""
    return [_guessed(name) for name in sorted(_unknown(name for name in names if OURS.match(name)))]


def _unknown(names: Iterable[str]) -> set[str]:
    # SNOWFLAKE_ and RETENTION_ are also prefixes of other programs: theirs is a name that is like none of ours.
    return {
        name
        for name in names
        if name not in KNOWN and (name.startswith("LMDP_") or difflib.get_close_matches(name, KNOWN, 1, 0.85))
    }


def _guessed(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, 1)
    return f"{name} (did you mean {near[0]}?)" if near else name


def _is_open(mode: int) -> bool:
    return os.name == "posix" and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
