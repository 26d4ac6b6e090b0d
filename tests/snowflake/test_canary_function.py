"""The canary's function: an answer whatever happens, and a note of when a row landed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.errors import SettingsError, UnreachableError
from lmdp.snowflake.canary import Arrival, canary_of
from lmdp.snowflake.canary_function import answer, record, send_in_aws
from lmdp.snowflake.keypair import make_pair
from lmdp.snowflake.setup import migrate
from lmdp.snowflake.verify import Check
from lmdp.sql.settings import SnowflakeSettings
from snowflake_double import Account

pytestmark = [
    pytest.mark.filterwarnings("ignore:Arrow output on a DB-API"),  # fakesnow's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(boto|moto)"),
    pytest.mark.timeout(120),
]

LANDED = {"style": "quoted", "landed": True, "error": ""}
LOST = {"style": "quoted", "landed": False, "error": "Snowflake.ExtraColumns: orgId"}
ENV = {"LMDP_DELIVERY_STREAM": "rows"}


class Flies:
    """A flight that comes to this; notes the time that each canary has."""

    def __init__(self, outcome: tuple[list[dict[str, Any]], str] | Exception) -> None:
        self.outcome = outcome
        self.waits: list[float] = []

    def __call__(self, env: Mapping[str, str], wait: float) -> tuple[list[dict[str, Any]], str]:
        """Fly."""
        assert env == ENV
        self.waits.append(wait)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


OUTCOMES: list[tuple[Any, dict[str, Any]]] = [
    (([LANDED], "a canary landed"), {"landed": True, "error": "", "canary": [LANDED]}),
    (
        ([LOST], "no canary landed: why"),
        {"landed": False, "error": "no canary landed: why", "canary": [LOST]},
    ),
    (
        UnreachableError("Snowflake cannot be reached"),
        {"landed": False, "error": "Snowflake cannot be reached", "canary": []},
    ),
    (
        ValueError("user=x key=SECRET"),
        {"landed": False, "error": "ValueError inside the canary function; its log has the place.", "canary": []},
    ),
]


@pytest.mark.parametrize(("outcome", "expected"), OUTCOMES)
def test_an_answer_says_what_became_of_it(
    outcome: Any, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It landed, or why not: our own words as they are, others' not at all; the log has the same."""
    assert answer(ENV, 700, Flies(outcome)) == expected
    lines = capsys.readouterr().out
    assert json.loads(lines.splitlines()[-1]) == {"service": "lmdp-canary", **expected}
    assert "SECRET" not in lines


@pytest.mark.parametrize(
    ("writer", "fault"),
    [
        ("snowflake", "SNOWFLAKE_WRITER_KEY_FILE"),
        (" snowflake", "SNOWFLAKE_WRITER_KEY_FILE"),
        ("firehose", "a canary needs the Firehose stream"),
        ("", "a canary needs the Firehose stream"),
    ],
)
def test_the_writer_decides_the_canarys_path(writer: str, fault: str) -> None:
    """Each path asks for its own settings; space around the writer's name changes nothing."""
    with pytest.raises(SettingsError, match=fault):
        canary_of({"LMDP_WRITER": writer}, SnowflakeSettings(), None, None, 1)


@pytest.mark.parametrize(("seconds", "wait"), [(720, 180), (360, 100), (30, 1)])
def test_three_flights_fit_into_the_time(seconds: float, wait: float) -> None:
    """One for each style of keys, and a minute for the sign-in and the answer."""
    flies = Flies(([LANDED], ""))
    answer(ENV, seconds, flies)
    assert flies.waits == [wait]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, account: Account, settings: SnowflakeSettings) -> Iterator[dict[str, str]]:
    """Secret, stream and bucket in moto, and the account on this machine."""
    import boto3  # noqa: PLC0415 - beside moto
    from moto import mock_aws  # noqa: PLC0415 - takes a second

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    held = json.dumps({"user": "LM_SETUP_SVC", "private_key": make_pair(2048).private})
    with mock_aws(config={"core": {"mock_credentials": True, "passthrough": {"urls": [r"http://127\.0\.0\.1.*"]}}}):
        boto3.client("secretsmanager").create_secret(Name="lmdp-dev/snowflake-setup", SecretString=held)
        boto3.client("s3").create_bucket(Bucket="errors")
        to = {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": "arn:aws:s3:::errors"}
        boto3.client("firehose").create_delivery_stream(
            DeliveryStreamName="rows", ExtendedS3DestinationConfiguration=to
        )
        yield {
            "LMDP_SETUP_SECRET": "lmdp-dev/snowflake-setup",
            "SNOWFLAKE_ACCOUNT_URL": account.url,
            "SNOWFLAKE_DATABASE": settings.database,
            "RETENTION_DAYS": "forever",
            "LMDP_DELIVERY_STREAM": "rows",
            "LMDP_REJECTS_BUCKET": "errors",
            "LMDP_CANARY_PARAMETER": "/lmdp/dev/state/canary-landed",
        }


def test_a_real_flight(env: dict[str, str], settings: SnowflakeSettings, connection: Any) -> None:
    """Sign in by the secret, send, look: a stream that keeps its records to itself is said, and nothing is noted."""
    import boto3  # noqa: PLC0415 - beside moto

    migrate(connection, settings, load_spec())
    landings, said = send_in_aws(env, 1)
    assert [(one["style"], one["landed"]) for one in landings] == [
        ("quoted", False), ("wrapped", False), ("upper", False),
    ]  # fmt: skip
    assert "no canary landed in any style of keys (nothing came within 1 s" in said
    assert boto3.client("ssm").describe_parameters()["Parameters"] == []


@pytest.mark.parametrize(
    ("landed", "oks", "written"),
    [
        (True, [True], 1),
        (True, [False], 0),
        (False, [True], 0),
        (True, [None], 0),
        (True, [True, True], 1),
        (True, [True, None], 1),
        (True, [True, False], 0),
    ],
)
def test_the_time_is_written_when_all_is_well(
    env: dict[str, str], *, landed: bool, oks: list[bool | None], written: int
) -> None:
    """A table that is late or suspended withholds it, as a row that did not land or was refused does."""
    import boto3  # noqa: PLC0415 - alongside moto

    checks = [Check(name, ok, "…") for name, ok in zip(("refreshes", "refused"), oks, strict=False)]
    record([Arrival("quoted", landed=landed)], checks, env["LMDP_CANARY_PARAMETER"])
    assert len(boto3.client("ssm").describe_parameters()["Parameters"]) == written
