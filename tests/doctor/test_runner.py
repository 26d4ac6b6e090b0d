"""All checks together, and the command: order, patience, exit codes, and that each fault has its fix."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from lmdp.doctor.result import Context, Result, not_tried, ok, wrong
from lmdp.doctor.runner import CHECKS, Check, run_checks
from lmdp.errors import SettingsError
from running import call, environment

SECRET = "hunter2-hidden"
AWAY = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none"}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Somewhere."""
    return Context(tmp_path, tmp_path / "w", {}, "t")


def _fails(_context: Context) -> Result:
    raise SettingsError("2 settings are wrong:\n  - a\n  - b")


def _cannot_read(_context: Context) -> Result:
    raise PermissionError(13, "Permission denied", "/there")


def test_findings_come_in_the_order_of_the_checks(context: Context) -> None:
    """Side by side they are made: the slow first one takes no time from the others."""
    gate = threading.Event()

    def slow(_context: Context) -> Result:
        return ok("came") if gate.wait(30) else not_tried("alone")

    def quick(_context: Context) -> Result:
        gate.set()
        return wrong("off", "fix")

    checks = [Check("local", "slow", slow), Check("aws", "quick", quick), Check("aws", "failing", _fails)]
    checks.append(Check("local", "closed", _cannot_read))
    found = run_checks(context, checks)
    assert [(one.area, one.name, one.state, one.text) for one in found] == [
        ("local", "slow", "ok", "came"),
        ("aws", "quick", "wrong", "off"),
        ("aws", "failing", "wrong", "2 settings are wrong: - a - b"),
        ("local", "closed", "wrong", "Permission denied: /there"),
    ]
    assert all(one.fix for one in found if one.state == "wrong")


def test_a_check_that_does_not_end_is_reported(context: Context) -> None:
    """Nothing waits for it for ever."""
    gate = threading.Event()

    def never(_context: Context) -> Result:
        gate.wait(60)
        return ok("late")

    begun = time.monotonic()
    (found,) = run_checks(context, [Check("local", "never", never)], seconds=0.3)
    gate.set()
    assert (found.state, found.text) == ("wrong", "no answer within 0.3 s")
    assert time.monotonic() - begun < 30


def test_a_new_machine_is_told_nothing_is_wrong(tmp_path: Path) -> None:
    """Exit code 0, twenty lines, and nothing is made."""
    ended = call("doctor", "--json", folder=tmp_path, given=b"", **AWAY)
    found = json.loads(ended.out)
    assert [one["name"] for one in found["findings"]] == [check.name for check in CHECKS]
    assert {tuple(one) for one in found["findings"]} == {("area", "name", "state", "text", "fix")}
    assert found["counts"].get("wrong", 0) == 0, found
    assert ended.code == 0
    assert list(tmp_path.iterdir()) == []


def test_faults_have_their_fix_and_no_secret_shows(tmp_path: Path) -> None:
    """Everything is set, and all of it wrongly: exit code 1, every fault with an arrow, and no value of a secret."""
    (tmp_path / "client.key").write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n")
    (tmp_path / "setup.p8").write_text(SECRET)
    wrongly = {
        "LMDP_ORGID": SECRET,
        "LMDP_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "LMDP_KAFKA_CERT": "none.pem",
        "LMDP_KAFKA_KEY": "client.key",
        "LMDP_ENVIRONMENT": "dev",
        "SNOWFLAKE_ACCOUNT_URL": "127.0.0.1",
        "SNOWFLAKE_PRIVATE_KEY_FILE": "setup.p8",
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": SECRET,
    }
    ended = call("doctor", folder=tmp_path, given=b"", **AWAY, **wrongly)
    assert ended.code == 1
    lines = ended.out.splitlines()
    faults = [at for at, line in enumerate(lines) if line.startswith("  wrong ")]
    assert [lines[at].split()[1] for at in faults] == ["settings", "client", "topic", "credentials", "region", "login"]
    # A text may go on over lines; its fix stands before the next finding.
    blocks = [lines[at:following] for at, following in pairwise([*faults, len(lines)])]
    assert all(any("→ " in line for line in block) for block in blocks)
    assert SECRET not in ended.out + ended.err
    assert lines[-1].startswith(f"{sum(line.startswith('  ok ') for line in lines)} ok, 6 wrong, ")


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("kafka", ["client certificate", "topic"]),
        ("aws", ["credentials", "region", "stacks", "secrets", "network", "pipe", "alarms", "log groups"]),
        ("snowflake", ["settings", "login", "direct writer"]),
    ],
)
def test_only_a_part(tmp_path: Path, only: str, names: list[str]) -> None:
    """Nothing else is looked at."""
    found = json.loads(call("doctor", "--only", only, "--json", folder=tmp_path).out)
    assert [one["name"] for one in found["findings"]] == names
    assert {one["state"] for one in found["findings"]} == {"not tried"}


def test_vendors_are_loaded_only_where_they_are_set_up(tmp_path: Path) -> None:
    """A first look needs neither boto3 nor Snowflake's connector."""
    import subprocess  # noqa: PLC0415 - this test alone starts a process
    import sys  # noqa: PLC0415 - as above

    code = (
        "import sys; from lmdp.cli.main import app\n"
        "try: app(['doctor', '--only', 'aws'])\nexcept SystemExit: pass\n"
        "try: app(['doctor', '--only', 'snowflake'])\nexcept SystemExit: pass\n"
        "print([name for name in ('boto3', 'snowflake.connector') if name in sys.modules])"
    )
    clean = {name: value for name, value in environment().items() if not name.startswith(("AWS_", "SNOWFLAKE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
