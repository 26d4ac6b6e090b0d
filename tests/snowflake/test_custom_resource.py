"""The custom resource against a local response endpoint: one answer, whatever happens."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lmdp.errors import LmdpError
from lmdp.snowflake.connection import ask
from lmdp.snowflake.custom_resource import MARGIN_SECONDS, handler, respond, run_sql
from lmdp.snowflake.keypair import make_pair
from lmdp.sql.settings import SnowflakeSettings
from snowflake_double import Account

pytestmark = [
    pytest.mark.filterwarnings("ignore:Arrow output on a DB-API"),  # fakesnow's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(boto|moto)"),
    pytest.mark.timeout(60),
]

OLD, NEW = "a" * 64, "b" * 64
SETTINGS = {"SNOWFLAKE_DATABASE": "LM_METRICS", "RETENTION_DAYS": "30"}


class Lambda:
    """What Lambda hands over; `seconds` are left."""

    def __init__(self, seconds: float = 840) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's."""
        return int(self.seconds * 1000)


class Answers:
    """Where CloudFormation waits: keeps each answer, and refuses the first `refusals` with 503."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[dict[str, Any]] = []
        self.types: list[str | None] = []
        self.refusals = 0


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A response endpoint on this machine."""
    found: list[Answers] = []

    class Take(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            """Take an answer."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = found[0].refusals > 0
            found[0].refusals -= 1
            if not refused:
                found[0].got.append(body)
                found[0].types.append(self.headers["Content-Type"])
            self.send_response(503 if refused else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    found.append(Answers(f"http://127.0.0.1:{server.server_port}/answer"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found[0]
    server.shutdown()
    thread.join()
    server.server_close()


def _request(answers: Answers, kind: str, *, wanted: str = NEW, physical: str | None = None) -> dict[str, Any]:
    made = {"PhysicalResourceId": physical} if physical else {}
    return {
        "RequestType": kind,
        "ResponseURL": answers.url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Sql",
        "ResourceProperties": {"ServiceToken": "arn", "Hash": wanted, "Settings": SETTINGS},
        **made,
    }


class Runs:
    """Stands where the SQL runs: notes the settings of each run, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.settings: list[Mapping[str, str]] = []

    def __call__(self, settings: Mapping[str, str]) -> str:
        """As the real one is called."""
        self.settings.append(settings)
        if self.error:
            raise self.error
        return "ran 020_row_events.sql; 0 changes to the table"


def test_create_runs_the_sql_and_says_so(answers: Answers) -> None:
    """One answer, which repeats what CloudFormation asked with, and no content type that was not signed."""
    runs = Runs()
    respond(_request(answers, "Create"), Lambda(), runs)
    assert runs.settings == [SETTINGS]
    assert answers.got == [
        {
            "Status": "SUCCESS",
            "PhysicalResourceId": "lmdp-snowflake/bbbbbbbbbbbb",
            "Data": {"Outcome": "ran 020_row_events.sql; 0 changes to the table"},
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "Sql",
        }
    ]
    assert answers.types == [""]


def test_update_runs_the_sql_of_a_new_hash(answers: Answers) -> None:
    """The physical id gets longer by what was run."""
    runs = Runs()
    respond(_request(answers, "Update", physical="lmdp-snowflake/aaaaaaaaaaaa"), Lambda(), runs)
    assert len(runs.settings) == 1
    assert answers.got[0]["PhysicalResourceId"] == "lmdp-snowflake/aaaaaaaaaaaa.bbbbbbbbbbbb"


def test_a_rollback_to_an_older_hash_succeeds_and_runs_nothing(answers: Answers) -> None:
    """What is newer in Snowflake stays."""
    runs = Runs(LmdpError("never"))
    physical = "lmdp-snowflake/aaaaaaaaaaaa.bbbbbbbbbbbb"
    respond(_request(answers, "Update", wanted=OLD, physical=physical), Lambda(), runs)
    assert runs.settings == []
    assert (answers.got[0]["Status"], answers.got[0]["PhysicalResourceId"]) == ("SUCCESS", physical)
    assert "nothing was run" in answers.got[0]["Data"]["Outcome"]


def test_an_update_that_failed_rolls_back_to_the_hash_before_it(answers: Answers) -> None:
    """A failure keeps the physical id, so the rollback after it finds its hash, and is answered well."""
    before = "lmdp-snowflake/aaaaaaaaaaaa"
    respond(_request(answers, "Update", physical=before), Lambda(), Runs(LmdpError("SQL compilation error")))
    respond(_request(answers, "Update", wanted=OLD, physical=before), Lambda(), Runs(LmdpError("never")))
    assert [(one["Status"], one["PhysicalResourceId"]) for one in answers.got] == [
        ("FAILED", before),
        ("SUCCESS", before),
    ]


def test_delete_connects_to_nothing(answers: Answers) -> None:
    """Tables and rows stay; also after a create that failed."""
    runs = Runs(LmdpError("never"))
    respond(_request(answers, "Delete", physical="lmdp-snowflake/never-made"), Lambda(), runs)
    assert (runs.settings, answers.got[0]["Status"]) == ([], "SUCCESS")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LmdpError("Snowflake refused: CREATE VIEW\nSQL compilation error"), "Snowflake refused: CREATE VIEW"),
        (
            ValueError("user=x key=SECRET"),
            "ValueError inside the setup function; its log (",
        ),
        (SystemExit(3), "SystemExit inside the setup function"),
        (LmdpError("x" * 9000), "x" * 1500),
    ],
    ids=["sql", "unexpected", "exit", "long"],
)
def test_what_fails_is_told(answers: Answers, error: BaseException, reason: str) -> None:
    """The reason is the error's own text where we wrote it, else its kind alone; an answer has 4,096 bytes at most."""
    respond(_request(answers, "Create"), Lambda(), Runs(error))
    (answer,) = answers.got
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith(reason)
    assert "SECRET" not in json.dumps(answer)
    assert len(json.dumps(answer)) < 4096


def test_what_takes_too_long_is_told_in_time(answers: Answers) -> None:
    """With the margin left, the answer goes out, and the late end of the work answers nothing."""
    let_go = threading.Event()

    def run(_: Mapping[str, str]) -> str:
        let_go.wait(30)
        return "too late"

    respond(_request(answers, "Create"), Lambda(MARGIN_SECONDS + 0.3), run)
    let_go.set()
    assert [one["Status"] for one in answers.got] == ["FAILED"]
    assert "did not end the setup within 0 s" in answers.got[0]["Reason"]


def test_a_request_without_properties_is_answered(answers: Answers) -> None:
    """Whatever comes, there is one answer."""
    respond({"RequestType": "Create", "ResponseURL": answers.url}, Lambda(), Runs())
    assert [one["Status"] for one in answers.got] == ["FAILED"]


def test_an_answer_that_nobody_took_is_sent_again(answers: Answers) -> None:
    """A 503 of the endpoint is no answer."""
    answers.refusals = 1
    respond(_request(answers, "Create"), Lambda(), Runs())
    assert [one["Status"] for one in answers.got] == ["SUCCESS"]


def _aws(monkeypatch: pytest.MonkeyPatch, endpoint: str = "") -> None:
    given = {
        "LMDP_SETUP_SECRET": "lmdp-example/snowflake-setup",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_MAX_ATTEMPTS": "1",
        **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def test_a_secret_out_of_reach_fails_the_request(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real entry, with nobody where Secrets Manager is: one answer, which says what to look at."""
    _aws(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", "http://127.0.0.1:1")
    handler(_request(answers, "Create"), Lambda())
    assert [one["Status"] for one in answers.got] == ["FAILED"]
    assert "Secrets Manager cannot be reached" in answers.got[0]["Reason"]


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setup owner's secret, in moto."""
    import boto3  # noqa: PLC0415 - beside moto
    from moto import mock_aws  # noqa: PLC0415 - takes a second

    _aws(monkeypatch)
    held = json.dumps({"user": "LM_SETUP_SVC", "private_key": make_pair(2048).private})
    with mock_aws(config={"core": {"mock_credentials": True, "passthrough": {"urls": [r"http://127\.0\.0\.1.*"]}}}):
        boto3.client("secretsmanager").create_secret(Name="lmdp-example/snowflake-setup", SecretString=held)
        yield


@pytest.mark.usefixtures("secret")
def test_the_real_sql_runs_in_an_account(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, account: Account, settings: SnowflakeSettings, connection: Any
) -> None:
    """From event to table: through Secrets Manager, connector and migrations; the answer has what is refused."""
    account.denied = re.compile("CREATE PIPE")
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", account.url)
    event = _request(answers, "Create")
    event["ResourceProperties"]["Settings"] = {"SNOWFLAKE_DATABASE": settings.database, "RETENTION_DAYS": "forever"}
    handler(event, Lambda())
    assert [(one["Status"], one.get("Reason")) for one in answers.got] == [("SUCCESS", None)]
    outcome = answers.got[0]["Data"]["Outcome"]
    assert "020_row_events.sql" in outcome
    assert "; refused 960_direct_writer.sql: a privilege is missing for: CREATE PIPE" in outcome
    assert ask(connection, f"SELECT COUNT(*) AS N FROM {settings.place}.ROW_EVENTS") == [{"n": 0}]


@pytest.mark.usefixtures("secret", "account")
def test_a_schema_that_is_not_there_is_told(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    """The reason names what an ACCOUNTADMIN runs first."""
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", account.url)
    event = _request(answers, "Create")
    event["ResourceProperties"]["Settings"] = {"SNOWFLAKE_DATABASE": "LM_NOT_THERE"}
    handler(event, Lambda())
    assert [one["Status"] for one in answers.got] == ["FAILED"]
    assert "lmdp snowflake ddl --bootstrap" in answers.got[0]["Reason"]


@pytest.mark.usefixtures("secret")
def test_snowflake_out_of_reach_fails_the_request(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers at the account's address: one answer, before Lambda's time is over."""
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", "http://127.0.0.1:1")
    run = partial(run_sql, login_seconds=3)
    respond(_request(answers, "Create"), Lambda(MARGIN_SECONDS + 1), run)
    assert [one["Status"] for one in answers.got] == ["FAILED"]
    # The connector goes on trying, and draws lots meanwhile, which a property test in this process would stumble over.
    for left in threading.enumerate():
        if left.name == "setup":
            left.join()
