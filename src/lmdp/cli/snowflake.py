"""`lmdp snowflake ddl | setup | verify | errors | try | keypair`: set up and check the Snowflake side."""

import contextlib
import dataclasses
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lmdp.cli.command import Command, group, is_on_command_line
from lmdp.cli.options import Environment, Json, option
from lmdp.errors import SettingsError
from lmdp.sql.settings import PROD, SnowflakeSettings
from lmdp.sql.settings import environment as whose
from lmdp.support.opening import read_bytes
from lmdp.support.program import program
from lmdp.support.specification_file import configured_spec

if TYPE_CHECKING:
    from lmdp.snowflake.canary import Arrival, Canary
    from lmdp.snowflake.keypair import KeyPair
    from lmdp.snowflake.reconcile import Hour
    from lmdp.snowflake.verify import Check, Installation

app = group("The Snowflake side: its SQL, setup, checks, and keys.")

Secret = Annotated[str | None, option("--secret", "Name or ARN in Secrets Manager.", env="SNOWFLAKE_FIREHOSE_SECRET")]
Stream = Annotated[str | None, option("--stream", "The Firehose stream, for the canary.", env="LMDP_DELIVERY_STREAM")]
Bucket = Annotated[str | None, option("--bucket", "Where Firehose leaves failed records.", env="LMDP_REJECTS_BUCKET")]
OrgId = Annotated[str, option("--org-id", "The tenant of the canary's row.", env="LMDP_ORG_ID")]


@app.command(cls=Command)
def ddl(
    *,
    bootstrap: Annotated[
        bool, option("--bootstrap", "Print what an ACCOUNTADMIN runs once: roles, warehouse, database, users.")
    ] = False,
    environment: Environment = None,
) -> None:
    """Print the SQL for these settings; nothing is run, and no account is needed.

    Settings: SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA, SNOWFLAKE_WAREHOUSE, SNOWFLAKE_IDENTIFIERS, RETENTION_DAYS.

    Example: lmdp snowflake ddl --bootstrap --environment dev > bootstrap.sql
    """
    from lmdp.snowflake.ddl import script  # noqa: PLC0415 - loaded when needed

    typer.echo(script(_settings(environment), configured_spec(), bootstrap=bootstrap), nl=False)


@app.command(cls=Command)
def setup(*, environment: Environment = None, as_json: Json = False) -> None:
    """Create or migrate table, views and roll-ups as the setup user; running it again changes nothing.

    SNOWFLAKE_ACCOUNT_URL is the account (xy12345.snowflakecomputing.com); SNOWFLAKE_PRIVATE_KEY_FILE or
    SNOWFLAKE_PRIVATE_KEY_SECRET holds the key. First run what `ddl --bootstrap` prints.

    Example: lmdp snowflake setup --json
    """
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - the connector takes a second
    from lmdp.snowflake.setup import migrate  # noqa: PLC0415 - as above

    settings = _settings(environment)
    with connected(access_from_env(os.environ, settings)) as connection:
        done = migrate(connection, settings, configured_spec())
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(done), indent=2))
        return
    for sql in done.altered:
        typer.echo(f"changed  {sql}")
    for file in done.applied:
        typer.echo(f"ran      {file}")
    for table in done.resumed:
        typer.echo(f"resumed  {table}")
    for statement in done.refused:
        typer.echo(f"refused  {statement}")
    typer.echo(f"{len(done.applied)} files run, {done.unchanged} unchanged: {settings.place} is up to date.")


@app.command(cls=Command)
def verify(  # noqa: PLR0913 - each is an option
    *,
    reconcile: Annotated[
        tuple[str, str] | None, option("--reconcile FROM TO", "Whole hours (UTC): delivered = rows + failed records?")
    ] = None,
    canary: Annotated[
        bool, option("--canary", "Send one marked row along the path of all rows, and check that it arrives.")
    ] = False,
    fresh: Annotated[float, option("--fresh MIN", "Maximum age of the newest row.", min=1)] = 15,
    wait: Annotated[float, option("--wait S", "Maximum time for a canary.", min=1)] = 180,
    stream: Stream = None,
    bucket: Bucket = None,
    org_id: OrgId = "lmdp",
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Check the installation: connection, role, privileges, table, views, refreshes, tasks, freshness, repeats.

    Exits 1 if a check fails.

    Example: lmdp snowflake verify --reconcile 2026-11-23T10:00 2026-11-23T14:00
    """
    from lmdp.snowflake import verify as checks  # noqa: PLC0415 - the connector takes a second
    from lmdp.snowflake.canary import canary_of, send_canary, summary  # noqa: PLC0415 - as above
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - as above

    settings = _settings(environment)
    flight = canary_of(os.environ, settings, stream, bucket, wait) if canary else None
    with connected(access_from_env(os.environ, settings)) as connection:
        scope = checks.Installation(
            connection, settings, configured_spec(), datetime.now(UTC), timedelta(minutes=fresh)
        )
        found = checks.verify(scope)
        rows = checks.samples(scope) if all(check.ok is not False for check in found) else []
        landings = send_canary(scope, flight, org_id) if flight else []
        hours = _hours(scope, reconcile, bucket, environment or PROD) if reconcile else []
    if landings:
        found.append(checks.Check("canary", landings[0].landed, summary(landings, settings.identifiers, wait)))
    if hours:
        missing, delivered = sum(hour.missing for hour in hours), sum(hour.delivered for hour in hours)
        found.append(checks.Check("reconcile", missing == 0, f"{missing:,} of {delivered:,} rows missing"))
    typer.echo(_as_json(found, rows, landings, hours) if as_json else _as_text(found, rows, hours))
    raise typer.Exit(1 if any(check.ok is False for check in found) else 0)


@app.command("try", cls=Command)
def try_(*, environment: Environment = None, as_json: Json = False) -> None:
    """Try on a live account what the direct writer relies on: sign-in, tokens, values, fencing, refusals, elastic mode.

    Use a trial account. It writes about ten rows of the datasource `lmdp.try` through the writer's pipe. With the
    setup user's key as well, it looks for them in the table, and removes them. Each answer is a line, in the order of
    docs/direct-writer.md. Exits 1 if one is not what the writer relies on.

    Example: lmdp snowflake try --json > answers.json
    """
    from lmdp.snowflake import trial  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.session import Session  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.settings import WriterSettings  # noqa: PLC0415 - as above
    from lmdp.snowflake.verify import Installation  # noqa: PLC0415 - as above

    settings = _settings(environment)
    writer = WriterSettings.from_env(_env(environment), settings)
    with contextlib.ExitStack() as open_:
        session = open_.enter_context(contextlib.closing(Session(writer.account)))
        scope = None
        if os.environ.get("SNOWFLAKE_PRIVATE_KEY_FILE") or os.environ.get("SNOWFLAKE_PRIVATE_KEY_SECRET"):
            connection = open_.enter_context(connected(access_from_env(os.environ, settings)))
            scope = Installation(connection, settings, configured_spec(), datetime.now(UTC))
        found = list(trial.run_trials(trial.of(session, writer, configured_spec(), scope)))
        if scope:
            trial.remove_rows(scope)
    typer.echo(_as_json(found, [], [], []) if as_json else _as_text(found, [], []))
    raise typer.Exit(1 if any(check.ok is False for check in found) else 0)


@app.command(cls=Command)
def errors(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")],
    *,
    environment: Environment = None,
) -> None:
    """Fetch the rows that Snowflake accepted from the direct writer and then refused, for a replay.

    Those that are in FOLDER, or were replayed from there, are left out. Needs the setup user's key, as `setup` does.
    Snowflake keeps the rows: a TRUNCATE that this command prints removes them, and all that were refused since.

    Example: lmdp snowflake errors refused && lmdp replay refused --to snowflake
    """
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - the connector takes a second
    from lmdp.snowflake.refused import fetch_refused  # noqa: PLC0415 - as above
    from lmdp.snowflake.verify import Installation, refused_table  # noqa: PLC0415 - as above

    settings = _settings(environment)
    with connected(access_from_env(os.environ, settings)) as connection:
        scope = Installation(connection, settings, configured_spec(), datetime.now(UTC))
        found = fetch_refused(scope, folder)
    typer.echo(f"{found:,} rows that Snowflake refused were written to {folder}.")
    if found:
        typer.echo(
            f"Fix the cause, then: {program()} replay {folder} --to snowflake\n"
            "Snowflake keeps them. To empty its error table, stop the writer, repeat this command until it writes "
            "0 rows, and replay them.\n"
            f"Only then: TRUNCATE {refused_table(scope)}; it also removes the rows that were refused since."
        )


@app.command(cls=Command)
def keypair(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    *,
    rotate: Annotated[
        bool, option("--rotate", "Replace Firehose's key through the second slot; repeat it to resume.")
    ] = False,
    replace: Annotated[
        bool,
        option("--replace", "Replace the setup user's key; it cannot sign in until the ALTER USER has run."),
    ] = False,
    user: Annotated[Literal["firehose", "setup"], option("--user", "The user of the key.")] = "firehose",
    secret: Secret = None,
    file: Annotated[
        Path | None, option("--file", "Write the private key to this file instead (mode 0600), as PEM.")
    ] = None,
    bits: Annotated[int, option("--bits", "Size of the RSA key.", min=2048, max=8192)] = 4096,
    show: Annotated[bool, option("--show", "Create nothing: print the ALTER USER for the key in use.")] = False,
    stream: Stream = None,
    bucket: Bucket = None,
    org_id: OrgId = "lmdp",
    environment: Environment = None,
) -> None:
    """Create a key pair, store its private half, and print the ALTER USER that registers the public half.

    The private half is written to the secret in the format that Firehose reads, or to a file; it is never printed. A
    rotation needs the setup user's access, waits for Firehose's cache and for a canary to arrive, and can be stopped at
    any time: the same command resumes it.

    Example: lmdp snowflake keypair --environment dev --secret lmdp-dev/snowflake-loader
    """
    settings = _settings(environment)
    name = settings.firehose_user if user == "firehose" else settings.setup_user
    if file is not None and not is_on_command_line(context, "secret"):
        secret = None  # what is given beats SNOWFLAKE_FIREHOSE_SECRET
    if (secret is None) == (file is None):
        raise SettingsError("the private key needs one place: --secret NAME or --file FILE")
    if secret is not None:
        _refuse_another_environments(name, secret, whose(_env(environment)))
    if replace and (secret is None or user != "setup" or rotate or show):
        raise SettingsError("--replace is for the setup user's key in a secret: --user setup --secret NAME")
    if rotate:
        if secret is None or user != "firehose":
            raise SettingsError("--rotate is for Firehose's user, whose key is in a secret: --secret NAME")
        from lmdp.snowflake.canary import canary_of  # noqa: PLC0415 - loaded when needed

        _rotate(settings, secret, canary_of(os.environ, settings, stream, bucket, 180), org_id)
    elif show:
        _show(name, secret, file)
    else:
        _make(
            name,
            secret,
            file,
            bits,
            instead="--rotate" if user == "firehose" else "--replace --user setup",
            new=replace,
        )


def _env(environment: str | None) -> dict[str, str]:
    return {**os.environ, "LMDP_ENVIRONMENT": environment or ""}


def _settings(environment: str | None) -> SnowflakeSettings:
    return SnowflakeSettings.from_env(_env(environment))


def _refuse_another_environments(name: str, secret: str, owner: str) -> None:
    """Refuse a key of one environment's user in the secret of another: it would shut the first one's Firehose out."""
    found = re.search(r"(?:^|:secret:)lmdp-([a-z0-9]{1,12})/", secret)
    if found and found[1] != owner:
        raise SettingsError(
            f"the secret {secret} is of the environment {found[1]}, and {name} is the user of {owner}: another key "
            f"would shut {owner} out of Snowflake. No key was made. Name the environment: --environment {found[1]}; "
            f"where it shares {owner}'s user on purpose, give it {owner}'s secrets (LMDP_LOADER_SECRET_ARN, "
            "LMDP_SETUP_SECRET_ARN)"
        )


def _make(name: str, secret: str | None, file: Path | None, bits: int, *, instead: str, new: bool) -> None:
    from lmdp.deployment.checks import snowflake_fault  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake import keypair as keys  # noqa: PLC0415 - as above
    from lmdp.snowflake import secrets  # noqa: PLC0415 - as above
    from lmdp.support.atomic_files import replace_files  # noqa: PLC0415 - as above

    pair = keys.make_pair(bits)
    if file is not None:
        if file.exists():
            raise SettingsError(f"{file} exists, and is left as it is; name another, or move it away")
        replace_files((file, keys.pem(pair), 0o600))
    elif secret is not None:
        client = secrets.secrets_client()
        held = secrets.read_versions(secret, client).current
        # What neither Firehose nor the deployment can use is replaced; Secrets Manager keeps it as AWSPREVIOUS.
        fault = snowflake_fault(secrets.read_text(secret, held, client)) if held else "is empty"
        if not fault and not new:
            raise SettingsError(
                f"the secret {secret} holds a key already, and is left as it is. Replace it: "
                f"{program()} snowflake keypair {instead} --secret {secret}"
            )
        secrets.write_current(secret, secrets.KeySecret(name, pair.private), client)
        if held:
            why = f" {fault}: it" if fault else ""
            typer.echo(f"-- The previous value{why} was replaced, and is kept as the version AWSPREVIOUS.")
    typer.echo(f"-- {file or f'secret {secret}'}: the private key of {name}. Run this as an ACCOUNTADMIN:")
    _print_registration(name, pair, ends_old=new)


def _show(name: str, secret: str | None, file: Path | None) -> None:
    from lmdp.snowflake import keypair as keys  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake import secrets  # noqa: PLC0415 - as above

    if file is not None:
        held = secrets.KeySecret(name, read_bytes(file).decode(), os.environ.get("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"))
    else:
        held = secrets.read_secret(secret or "")
    _print_registration(name, keys.pair_of(held))


def _print_registration(name: str, pair: "KeyPair", *, ends_old: bool = False) -> None:
    from lmdp.snowflake.keypair import register  # noqa: PLC0415 - loaded when needed

    slot = "RSA_PUBLIC_KEY"
    if ends_old:
        advice = f"It ends the old key. If DESCRIBE USER {name} has one in {slot}_2: ALTER USER {name} UNSET {slot}_2;"
    else:
        advice = (
            f"It replaces the key in slot {slot}. If DESCRIBE USER {name} shows one there that is in use (by Firehose, "
            f"the setup function or another run), write {slot}_2."
        )
    typer.echo(f"-- {advice}")
    typer.echo(f"{register(name, pair)};")


def _rotate(settings: SnowflakeSettings, secret: str, flight: "Canary", org_id: str) -> None:
    from lmdp.snowflake import keypair as keys  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake.canary import send_canary  # noqa: PLC0415 - as above
    from lmdp.snowflake.connection import access_from_env, connected  # noqa: PLC0415 - as above
    from lmdp.snowflake.secrets import secrets_client  # noqa: PLC0415 - as above
    from lmdp.snowflake.verify import Installation  # noqa: PLC0415 - as above

    with connected(access_from_env(os.environ, settings)) as connection:
        scope = Installation(connection, settings, configured_spec(), datetime.now(UTC))
        keys.rotate(
            keys.Rotation(
                user=settings.firehose_user,
                secret=secret,
                client=secrets_client(),
                connection=connection,
                now=time.time,
                sleep=time.sleep,
                landed=lambda: send_canary(scope, flight, org_id)[0].landed,
                report=typer.echo,
            )
        )


def _hours(scope: "Installation", stretch: tuple[str, str], bucket: str | None, environment: str) -> "list[Hour]":
    from lmdp.deployment.naming import Names  # noqa: PLC0415 - loaded when needed
    from lmdp.snowflake import reconcile as sums  # noqa: PLC0415 - as above

    begin, end = sums.whole_hour(stretch[0]), sums.whole_hour(stretch[1])
    if begin >= end:
        raise SettingsError("--reconcile FROM TO: FROM has to be before TO")
    if not bucket:
        raise SettingsError("--reconcile needs the bucket of failed records: --bucket NAME, or LMDP_REJECTS_BUCKET")
    return sums.reconcile(
        begin,
        end,
        sums.delivered_by_hour(Names(environment, "", "").prefix, begin, end),
        sums.rows_by_hour(scope, begin, end),
        sums.failed_by_hour(bucket, begin, end),
    )


def _as_json(found: "list[Check]", rows: list[dict[str, Any]], landings: "list[Arrival]", hours: "list[Hour]") -> str:
    report = {
        "checks": [dataclasses.asdict(check) for check in found],
        "samples": rows,
        "canary": [dataclasses.asdict(landing) for landing in landings],
        "hours": [{**dataclasses.asdict(hour), "missing": hour.missing} for hour in hours],
    }
    return json.dumps(report, indent=2, default=str)


def _as_text(found: "list[Check]", rows: list[dict[str, Any]], hours: "list[Hour]") -> str:
    signs = {True: "ok   ", False: "WRONG", None: "-    "}
    lines = [f"{signs[check.ok]} {check.name:12} {check.said}" for check in found]
    lines += [
        f"    {hour.hour:%Y-%m-%d %H:00}  delivered {hour.delivered:>12,}  rows {hour.rows:>12,}"
        f"  failed {hour.failed:>8,}  missing {hour.missing:>8,}"
        for hour in hours
    ]
    lines += ["    " + "  ".join(str(value) for value in row.values()) for row in rows]
    return "\n".join(lines)
