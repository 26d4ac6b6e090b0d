"""What `lmdp doctor` says of Snowflake, through the real connector."""

from __future__ import annotations

import gzip
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.doctor import snowflake
from lmdp.doctor.result import Context
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.snowflake.setup import account_statements, migrate
from lmdp.sql.settings import SnowflakeSettings
from lmdp.testing.snowpipe import Fault, snowpipe_double
from snowflake_double import Account

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own


@pytest.fixture
def place(tmp_path: Path, account: Account, settings: SnowflakeSettings) -> Context:
    """The settings of a person who set the account up."""
    key = tmp_path / "setup.p8"
    key.write_bytes(pem(make_pair(2048)))
    env = {
        "SNOWFLAKE_ACCOUNT_URL": account.url,
        "SNOWFLAKE_PRIVATE_KEY_FILE": str(key),
        "SNOWFLAKE_DATABASE": settings.database,
        "RETENTION_DAYS": "forever",
    }
    return Context(tmp_path, tmp_path / "w", env, "t")


def test_a_login_that_works_says_what_stands(
    place: Context, account: Account, connection: Any, settings: SnowflakeSettings
) -> None:
    """Role, privileges and table in one line; a right that is missing is wrong."""
    for statement in account_statements(settings, load_spec()):
        account.rewrite(statement.sql)
    migrate(connection, settings, load_spec())
    for table in account.dynamic.tables.values():
        table["data_timestamp"] = datetime.now(UTC)
    found = snowflake.login(place)
    assert (found.state, "14 columns, as the specification says" in found.text) == ("ok", True)
    account.dynamic.tables[f"{settings.place}.POINTS"]["scheduling_state"] = "SUSPENDED"
    assert "refreshes: POINTS is suspended" in snowflake.login(place).text
    account.grants.clear()
    spoilt = snowflake.login(place)
    assert (spoilt.state, spoilt.fix) == ("wrong", "lmdp snowflake setup, then lmdp snowflake verify")
    assert "privileges: INSERT on" in spoilt.text


@pytest.mark.parametrize(
    ("changed", "look", "state", "told"),
    [
        ({"SNOWFLAKE_ACCOUNT_URL": ""}, snowflake.login, "not tried", "SNOWFLAKE_ACCOUNT_URL is not set"),
        ({"SNOWFLAKE_PRIVATE_KEY_FILE": "none.p8"}, snowflake.login, "wrong", "none.p8 cannot be read"),
        ({"SNOWFLAKE_IDENTIFIERS": "lower", "RETENTION_DAYS": "1"}, snowflake.settings, "wrong", "RETENTION_DAYS is 1"),
        ({}, snowflake.settings, "ok", "quoted identifiers, rows kept for ever"),
        ({"SNOWFLAKE_ACCOUNT_URL": ""}, snowflake.settings, "not tried", "SNOWFLAKE_ACCOUNT_URL is not set"),
    ],
)
def test_settings_are_told_before_anyone_is_asked(
    tmp_path: Path, changed: dict[str, str], look: Any, state: str, told: str
) -> None:
    """What is not set is not tried; what is set wrongly is told with every fault."""
    env = {"SNOWFLAKE_ACCOUNT_URL": "x.snowflakecomputing.com", "RETENTION_DAYS": "forever", **changed}
    found = look(Context(tmp_path, tmp_path / "w", env, "t"))
    assert (found.state, told in found.text) == (state, True)


class NoSuchKey(BaseHTTPRequestHandler):
    """An account that knows no key; `server` gets what the login asks for."""

    def do_POST(self) -> None:
        """Refuse the login."""
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            asked = gzip.decompress(asked)
        vars(self.server)["asked"] = json.loads(asked)
        body = json.dumps({"success": False, "code": "390144", "message": "JWT token is invalid.", "data": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("changed", "fix"),
    [
        ({}, "lmdp snowflake keypair --user setup --file {key} --show"),
        ({"SNOWFLAKE_PRIVATE_KEY_FILE": ""}, "correct it in .env; see docs/snowflake-marketplace-setup.md"),
    ],
)
def test_no_command_replaces_the_key_of_the_setup_user(place: Context, changed: dict[str, str], fix: str) -> None:
    """Another cause than the key is common, and the setup function may sign in with the key that Snowflake has."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NoSuchKey) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        env = {**place.env, "SNOWFLAKE_ACCOUNT_URL": f"http://127.0.0.1:{server.server_port}", **changed}
        found = snowflake.login(Context(place.home, place.warehouse, env, "t"))
        server.shutdown()
        thread.join()
    assert found.state == "wrong"
    assert found.fix.endswith(fix.format(key=place.env["SNOWFLAKE_PRIVATE_KEY_FILE"]))
    if not changed:
        session = vars(server)["asked"]["data"]["SESSION_PARAMETERS"]
        assert session["QUOTED_IDENTIFIERS_IGNORE_CASE"] is False  # whatever the account says of quoted names


def test_an_account_that_does_not_answer_is_told(place: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address, and where to look."""
    monkeypatch.setattr(snowflake, "_LOGIN_S", 2)
    env = {**place.env, "SNOWFLAKE_ACCOUNT_URL": "http://127.0.0.1:1"}
    found = snowflake.login(Context(place.home, place.warehouse, env, "t"))
    assert (found.state, "127.0.0.1:1" in found.text, "docs/troubleshooting.md" in found.fix) == ("wrong", True, True)


@pytest.mark.parametrize(
    ("changed", "faults", "state", "text"),
    [
        ({}, [], "ok", "LM_FIREHOSE_SVC may use LM_METRICS.PIPELINE.ROW_EVENTS_STREAM"),
        ({}, [Fault("status", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED")], "wrong", "ERR_PIPE_DOES_NOT_EXIST"),
        ({"SNOWFLAKE_WRITER_KEY_FILE": "none.p8"}, [], "wrong", "the writer's private key"),
        ({"SNOWFLAKE_WRITER_KEY_FILE": ""}, [], "not tried", "SNOWFLAKE_WRITER_KEY_FILE is not set"),
        (
            {"SNOWFLAKE_WRITER_KEY_FILE": "", "LMDP_SINK": "snowflake"},
            [],
            "wrong",
            "the writer's private key is not set",
        ),
    ],
)
def test_the_direct_writer_signs_in_and_sends_nothing(
    tmp_path: Path, changed: dict[str, str], faults: list[Fault], state: str, text: str
) -> None:
    """Key, pipe and rights by one question for a channel that is not there."""
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    with snowpipe_double(script=faults) as double:
        env = {
            "SNOWFLAKE_ACCOUNT_URL": double.url,
            "SNOWFLAKE_WRITER_KEY_FILE": str(tmp_path / "writer.p8"),
            **changed,
        }
        found = snowflake.direct_writer(Context(tmp_path, tmp_path / "w", env, "t"))
    assert (found.state, text in found.text) == (state, True), found.text
    assert {request.operation for request in double.requests} <= {"hostname", "token", "status"}
