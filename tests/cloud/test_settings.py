"""The function's settings."""

from __future__ import annotations

import pytest

from lmdp.cloud.settings import Settings
from lmdp.errors import SettingsError

ENV = {"AWS_REGION": "eu-west-1", "LMDP_DELIVERY_STREAM": "metrics", "LMDP_REJECTS_BUCKET": "lmdp-errors"}


def test_defaults() -> None:
    """Three settings are enough; the rest has defaults."""
    settings = Settings.from_env(ENV)
    assert (settings.prefix, settings.kms_key, settings.concurrency, settings.margin) == ("rejects/", None, 8, 3.0)
    assert (settings.transform.org_id, settings.transform.tenant_header) == (None, None)
    assert settings.transform.max_row_bytes == 1_024_000
    assert settings.transform.max_message_memory + 3 * settings.transform.max_message_row_bytes <= 640 * 2**20
    assert settings.row_spec.fields[0].name == "orgId"


def test_every_setting_is_read() -> None:
    """Each setting arrives where it belongs."""
    settings = Settings.from_env(
        {
            **ENV,
            "LMDP_ORG_ID": "acme",
            "LMDP_REJECTS_PREFIX": "/team/rejects",
            "LMDP_REJECTS_KMS_KEY": "arn:aws:kms:eu-west-1:123456789012:key/0",
            "LMDP_FIREHOSE_CONCURRENCY": "2",
            "LMDP_MARGIN_SECONDS": "7.5",
            "LMDP_MAX_DECOMPRESSED_BYTES": "1000",
            "LMDP_MAX_MESSAGE_MEMORY": "3000",
            "LMDP_MAX_MESSAGE_ROW_BYTES": "2000",
            "LMDP_TENANT_HEADER": "lmdp-tenant",
            "SNOWFLAKE_IDENTIFIERS": "upper",
        }
    )
    assert settings.prefix == "team/rejects/"
    assert settings.kms_key == "arn:aws:kms:eu-west-1:123456789012:key/0"
    assert (settings.concurrency, settings.margin) == (2, 7.5)
    assert (settings.transform.org_id, settings.transform.tenant_header) == ("acme", "lmdp-tenant")
    assert (settings.transform.max_decompressed_bytes, settings.transform.max_message_row_bytes) == (1000, 2000)
    assert settings.transform.max_message_memory == 3000
    assert settings.row_spec.fields[0].name == "ORGID"


def test_space_around_a_value_is_no_part_of_it() -> None:
    """Tenant, header and prefix are taken without it; a header that has it would be that of no message."""
    spaced = {"LMDP_ORG_ID": " acme ", "LMDP_TENANT_HEADER": "lmdp-tenant ", "LMDP_REJECTS_PREFIX": " team/rejects "}
    settings = Settings.from_env({**ENV, **spaced})
    assert (settings.transform.org_id, settings.transform.tenant_header) == ("acme", "lmdp-tenant")
    assert settings.prefix == "team/rejects/"


def test_wrapped_keys_leave_room_for_their_quotes() -> None:
    """A row that is as large as allowed still fits into a record when its keys carry quotes."""
    assert Settings.from_env({**ENV, "SNOWFLAKE_IDENTIFIERS": "wrapped"}).transform.max_row_bytes == 1_024_000 - 14 * 4


def test_every_fault_is_in_one_message() -> None:
    """Somebody who deploys sees all that is wrong at once."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(
            {
                "AWS_REGION": "Dublin",
                "LMDP_REJECTS_BUCKET": "Not A Bucket",
                "LMDP_REJECTS_KMS_KEY": "a key",
                "LMDP_FIREHOSE_CONCURRENCY": "8.5",
                "LMDP_MARGIN_SECONDS": "soon",
                "LMDP_MAX_DECOMPRESSED_BYTES": "nan",
                "LMDP_MAX_MESSAGE_ROW_BYTES": "0",
                "SNOWFLAKE_IDENTIFIERS": "lower",
                "LMDP_SPEC": "/nonexistent/spec.md",
            }
        )
    for name in (
        "AWS_REGION is 'Dublin'",
        "LMDP_DELIVERY_STREAM is not set",
        "LMDP_REJECTS_BUCKET is",
        "LMDP_REJECTS_KMS_KEY is",
        "LMDP_FIREHOSE_CONCURRENCY is '8.5'; it is a whole number from 1 to 32",
        "LMDP_MARGIN_SECONDS is 'soon'",
        "LMDP_MAX_DECOMPRESSED_BYTES is 'nan'; it is a whole number",
        "LMDP_MAX_MESSAGE_ROW_BYTES is",
        "SNOWFLAKE_IDENTIFIERS is 'lower'; it is one of quoted, wrapped, upper",
        "LMDP_SPEC",
    ):
        assert name in str(caught.value)
    assert caught.value.exit_code == 2
