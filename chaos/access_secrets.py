"""Secrets of the environment and of key files, which must not be in whatever a run leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import psutil

from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.certificates import development_ca
from running import call, lmdp, rows, started, until

MARK = "S3CR3T-5b1d"
SECRETS = {
    name: f"{MARK}-{name.lower()}"
    for name in (
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "DATABASE_PASSWORD"),
        *("GITHUB_TOKEN", "HTTPS_PROXY_PASSWORD"),
    )
}
_KEY = re.compile(rb"-----BEGIN (?:EC |RSA |ENCRYPTED )?PRIVATE KEY-----")


def holds_secret(content: bytes) -> bool:
    """Return whether there is a secret in it."""
    return MARK.encode() in content or bool(_KEY.search(content))


def leaks(folder: Path) -> list[str]:
    """Files below a folder that hold a secret; keys are for key files, which their owner alone may read."""
    found = []
    for at, _, names in os.walk(folder):
        for path in (Path(at, name) for name in names):
            if path.is_socket():
                continue
            content = path.read_bytes()
            is_key = path.suffix == ".key" or path.name == "server.store.pem"
            if MARK.encode() in content or (_KEY.search(content) and not is_key):
                found.append(str(path.relative_to(folder)))
            if is_key and path.stat().st_mode & 0o077:
                found.append(f"{path.name} is for others, too")
    return found


def process_leaks(process: psutil.Process) -> list[str]:
    """Secrets in what `ps` shows of a run and of its children, and in what its children were given."""
    found, children = [], process.children(recursive=True)
    for one in (process, *children):
        words = " ".join(one.cmdline())
        found += [f"an argument: {words[:200]}"] if holds_secret(words.encode()) else []
    for one in children:
        given = Path(f"/proc/{one.pid}/environ").read_bytes() if Path("/proc").exists() else b""
        found += [f"the environment of {one.name()}"] if holds_secret(given) else []
    return found


def run_and_crash(site: Site) -> Outcome:
    """A run with a Kafka of its own, whose Java crashes meanwhile; then everything that it wrote is searched."""
    folder = site.folder()
    (folder / ".env").write_text(f"LMDP_UNUSED={MARK}-env\n")
    (folder / ".env").chmod(0o600)
    words = ("run", "--simulate", "5", "--interval", "1", "--json")
    with started(*words, folder=folder, **SECRETS) as run:
        home = folder / ".lmdp"
        until(lambda: (home / "run.sock").exists() and rows(home, "select count(*) as n from metrics")[0]["n"], 240)
        process = psutil.Process(run.pid)
        faults = process_leaks(process)
        java = next(one for one in process.children(recursive=True) if "java" in one.name())
        status = call("status", "--json", folder=folder, **SECRETS).out  # type: ignore[arg-type]  # names of settings alone
        java.send_signal(signal.SIGSEGV)
        until((home / "broker" / "crash.log").exists, 120)
        run.terminate()
        out, _ = run.communicate(timeout=120)
    report = json.loads(out)
    (folder / ".env").unlink()
    faults += leaks(folder)
    faults += broken(
        {
            "the report has a secret": not holds_secret(out),
            "the status has a secret": not holds_secret(status.encode()),
            f"it ended with {run.returncode}": run.returncode == 0,
            "a core was left": not [*folder.rglob("core*"), *folder.rglob("hs_err*")],
        }
    )
    found = rows(home, "select count(*) as n from row_events")[0]["n"]
    return Outcome(
        times=1,
        messages=report["messages"],
        expected_rows=report["rows"],
        found_rows=found,
        repeats=report["duplicates"],
        rejects=report["rejectedMessages"],
        measured=f"{sum(1 for _ in folder.rglob('*'))} files searched",
        broken=tuple(faults),
    )


def errors_without_secrets(site: Site) -> Outcome:
    """Commands that fail over a secret say which one it is, and not what it holds."""
    folder = site.folder()
    made = development_ca.make(folder / "certs")
    secret_file = folder / "secret.key"
    head, foot = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
    secret_file.write_text(f"{head}\n{MARK}\n{foot}\n")
    encrypted = folder / "encrypted.key"
    encrypted.write_text(secret_file.read_text().replace("PRIVATE", "ENCRYPTED PRIVATE"))
    for file in (secret_file, encrypted):
        file.chmod(0o600)
    aws = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    snowflake = {"SNOWFLAKE_ACCOUNT_URL": "http://127.0.0.1:1", "SNOWFLAKE_PRIVATE_KEY_FILE": str(secret_file)}
    kafka = ("--bootstrap-servers", "127.0.0.1:1", "--ca", str(made.ca.cert), "--cert", str(made.client.cert), "--key")
    arn = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/1"
    tried = [
        (("topic", "check", *kafka, str(secret_file)), {}),
        (("topic", "check", *kafka, str(encrypted)), {}),
        (("run", *kafka, str(secret_file)), {}),
        (("snowflake", "verify"), snowflake),
        (("snowflake", "setup"), snowflake),
        (("snowflake", "verify"), {**aws, "SNOWFLAKE_PRIVATE_KEY_SECRET": "a", "SNOWFLAKE_ACCOUNT_URL": "x"}),
        (("certs", "--private-ca", arn, "--client", "x", "--secret", "y"), aws),
        (("replay", "s3://a-bucket/x"), {**aws, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}),
        (("status",), {"LMDP_HOME": "/nonexistent"}),
    ]
    faults = []
    for words, env in tried:
        ended = lmdp(*words, folder=folder, seconds=180, **{**SECRETS, **env})  # type: ignore[arg-type]  # as above
        said = ended.stdout + ended.stderr
        if ended.returncode == 0 or holds_secret(said) or b"Traceback" in said:
            faults.append(f"{words[:2]}: ended with {ended.returncode} and said {said.decode()[-500:]!r}")
    return Outcome(len(tried), 0, 0, 0, 0, 0, broken=tuple(faults))


SCENARIOS = (
    Scenario("secrets of a run", "No secret is in logs, reports, files, `ps` or a crash's log.", run_and_crash),
    Scenario("secrets in errors", "An error names the secret, never what is in it.", errors_without_secrets),
)
